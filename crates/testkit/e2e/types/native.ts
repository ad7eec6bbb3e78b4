import { Conversations, Refused, type NativeSocket } from "@trunkline/client";
import type { Ack, ClientToServerEvents, Message, Sent, ServerToClientEvents } from "@trunkline/client/native";
import { io, type Socket } from "socket.io-client";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io({ auth: { token: "…" } });

socket.on("connected", ({ userId, socketId, expiresAt }) => void [userId.length, socketId.length, expiresAt?.length]);
socket.on("message:new", (message: Message) => void [message.id, message.seq + 1, message.content.trim(), message.fileUrl?.length]);
socket.on("user:offline", ({ lastSeen }) => void lastSeen.length);
socket.on("error", ({ code, retryable }) => void (code === "slow_consumer" && retryable));

socket.emit("conversation:join", "chat-123");
socket.emit("conversation:join", { conversationId: "chat-123", after: { epoch: "e", seq: 7 }, limit: 100 }, (answer) => {
  if (answer.success) answer.messages.forEach(({ seq }) => seq.toFixed());
  else answer.error === "forbidden" && answer.message.trim();
});
socket.emit("message:send", { conversationId: "chat-123", content: "Hello everyone!" });
socket.emit("message:send", { conversationId: "chat-123", content: "Hi" }, (answer: Ack<Sent>) => void (answer.success && answer.messageId));
socket.emit("get:online:count", (answer) => void (answer.success && answer.count + 1));
socket.emit("presence:list");
socket.emit("document:edit", { documentId: "plan", content: "", cursorPosition: { line: 1 } });

const conversations = new Conversations(socket satisfies NativeSocket, { message: ({ content }) => void content, cursors: { general: { epoch: "e", seq: 1 } } });
conversations.send({ conversationId: "general", content: "hi" }).then(({ seq }) => seq + 1, (error: unknown) => error instanceof Refused && error.code === "too_large");

export const wrong = () => {
  socket.emit("message:sent", {}); // wrong
  socket.emit("message:send", { conversationId: 7, content: "Hi" }); // wrong
  socket.emit("message:send", { content: "Hi" }); // wrong
  socket.on("message:now", () => undefined); // wrong
  socket.on("user:online", ({ name }) => name); // wrong
  socket.emit("get:online:count", (answer) => answer.count); // wrong
  socket.emit("typing:start", "chat-123"); // wrong
  conversations.send({ conversationId: "general", text: "hi" }); // wrong
};
