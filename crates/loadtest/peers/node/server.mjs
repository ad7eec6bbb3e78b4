// A Socket.IO server on Node with the Redis adapter that understands what the load generator says. It stores nothing and
// keeps no order across nodes: the comparison is in its favour.
//
//   REDIS_URL=redis://127.0.0.1:6379 node server.mjs      prints its port

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
// Redis cuts off a subscriber that falls behind by more than 32 MB. Without a listener the process would end, with one it goes on
// without what it missed.
for (const client of [publisher, subscriber]) client.on("error", (error) => console.error(error.message));
// It gives up on a publish that has waited for 5 s, and the adapter does not look: that too would end the process.
process.on("unhandledRejection", (error) => console.error(error.message));
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, subscriber) });
const places = new Map();

function place(conversation) {
  const seq = (places.get(conversation) ?? 0) + 1;
  places.set(conversation, seq);
  return seq;
}

io.on("connection", (socket) => {
  const { userId } = socket.handshake.query;
  socket.join(`user:${userId}`);
  socket.on("conversation:join", (conversationId, ack) => {
    socket.join(conversationId);
    ack({ success: true });
  });
  socket.on("message:send", (message, ack) => {
    const seq = place(message.conversationId);
    socket.to(message.conversationId).emit("message:new", { ...message, senderId: userId, seq });
    ack({ success: true, seq });
  });
  socket.on("private:message", (message, ack) => {
    const conversationId = `dm:${[userId, message.recipientUserId].sort().join(":")}`;
    const seq = place(`${conversationId} from ${userId}`);
    socket.to(`user:${message.recipientUserId}`).emit("message:new", { ...message, conversationId, senderId: userId, seq });
    ack({ success: true, seq });
  });
  socket.on("call:signal", ({ userId: recipient, data }, ack) => {
    socket.to(`user:${recipient}`).emit("call:signal", { from: userId, data });
    ack({ success: true });
  });
});

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
process.on("SIGTERM", () => process.exit(0));
