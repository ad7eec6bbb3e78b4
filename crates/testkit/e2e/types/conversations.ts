import type { ClientToServerEvents, ServerToClientEvents } from "@trunkline/client/conversations";
import { io, type Socket } from "socket.io-client";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:3001", { withCredentials: true });

interface MessageData {
  conversationId: string;
  senderId: string;
  content: string;
  type: "text" | "file" | "image";
  fileUrl?: string;
  fileName?: string;
}

const messageData: MessageData = { conversationId: "123", senderId: "user456", content: "Hello!", type: "text" };
socket.emit("sendMessage", messageData);
socket.emit("joinRoom", "123");
socket.emit("typing", { conversationId: "123", userId: "user456" });
socket.on("receiveMessage", ({ conversationId, message }) => void [conversationId, message.content.trim(), message.id]);
socket.on("messageError", ({ error }) => error.trim());
socket.on("userTyping", ({ userId }) => userId.trim());

export const wrong = () => {
  socket.emit("sendMessage", { conversationId: ["123"] }); // wrong
  socket.on("receiveMessage", ({ text }) => text); // wrong
  socket.emit("stop-typing"); // wrong
};
