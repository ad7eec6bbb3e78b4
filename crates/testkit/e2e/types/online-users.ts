import type { ClientToServerEvents, ServerToClientEvents } from "@trunkline/client/online-users";
import { io, type Socket } from "socket.io-client";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:5000", { query: { userId: "7" } });

socket.on("getOnlineUsers", (users) => users.includes("7"));
socket.on("newMessage", ({ id, senderId, text, timestamp }) => void [id, senderId, text, timestamp]);
socket.on("userTyping", ({ userId, isTyping }) => void (isTyping && userId));
socket.on("newRoomMessage", ({ userId, message, timestamp }) => void [userId, message.anything, timestamp]);
socket.on("ping", () => socket.emit("pong"));
socket.on("missedMessages", (messages) => messages.map(({ text }) => text));
socket.emit("typing", { receiverId: 8, isTyping: true });
socket.emit("joinRoom", "room_123");
socket.emit("sendMessage", { receiverId: "8", text: "hi" });
socket.emit("sendMessage", { roomId: "room_123", message: { any: 1 } });
socket.emit("requestMissedMessages");

export const wrong = () => {
  socket.emit("sendMessage", { text: "hi" }); // wrong
  socket.emit("typing", { isTyping: true }); // wrong
  socket.on("getOnlineUsers", (users: number) => users); // wrong
  socket.emit("join_room", "room_123"); // wrong
};
