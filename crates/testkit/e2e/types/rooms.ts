import type { ClientToServerEvents, ServerToClientEvents } from "@trunkline/client/rooms";
import { io, type Socket } from "socket.io-client";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

socket.on("response", ({ message, data }) => void [message.trim(), data]);
socket.on("user_joined", ({ socketId, roomId }) => void [socketId.trim(), roomId]);
socket.on("error", ({ message }) => message.trim());
socket.on("message", (data) => data.whatever);
socket.emit("message", { any: "thing" });
socket.emit("chat", { message: "hi" });
socket.emit("join_room", 7);
socket.emit("room_message", { roomId: "r", message: ["any"] });

export const wrong = () => {
  socket.emit("room_message", { message: "nowhere" }); // wrong
  socket.on("user_joined", ({ userName }) => userName); // wrong
  socket.emit("joinRoom", "r"); // wrong
};
