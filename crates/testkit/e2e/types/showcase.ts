import type { ClientToServerEvents, ServerToClientEvents } from "@trunkline/client/showcase";
import { io, type Socket } from "socket.io-client";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

socket.emit("join", "Alice");
socket.emit("send-message", { text: "hi" });
socket.emit("typing");
socket.emit("typing", { username: "Alice" });
socket.emit("message", { text: "hi", timestamp: Date.now() });
socket.emit("save-data", { name: "Alice" }, (response) => void (response.success || response.error.trim()));
socket.emit("edit", { docId: "plan", content: "…", cursorPosition: 3 });
socket.on("previous-messages", (messages) => messages.forEach(({ username, text, timestamp }) => void [username, text, timestamp + 1]));
socket.on("user-joined", ({ username, userCount }) => void [username, userCount + 1]);
socket.on("user-count", (count) => count + 1);
socket.on("rate-limit-exceeded", () => undefined);
socket.on("validation-error", ({ error }) => error.trim());

export const wrong = () => {
  socket.emit("send-message", "hi"); // wrong
  socket.emit("message", { text: "hi" }); // wrong
  socket.on("user-count", ({ count }) => count); // wrong
  socket.emit("cursor-move", { docId: "plan" }); // wrong
};
