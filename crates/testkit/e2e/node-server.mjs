/** A Socket.IO server on Node.js with the Redis adapter, beside our nodes. */
import { once } from "node:events";
import { createServer } from "node:http";

import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";

import { client } from "./client.mjs";

/**
 * @param it the cluster whose Redis and channel prefix it shares
 * @param {"classic" | "dynamic" | "static" | "dynamic-private"} mode of the adapter: classic, or how the sharded one subscribes
 */
export async function nodeServer(it, mode = "classic") {
  const urls = it.redis.url.split(",");
  const publisher = urls.length > 1 ? createCluster({ rootNodes: urls.map((url) => ({ url })) }) : createClient({ url: urls[0] });
  const subscriber = publisher.duplicate();
  for (const connection of [publisher, subscriber]) connection.on("error", () => undefined);
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const http = createServer().listen(0, "127.0.0.1");
  await once(http, "listening");
  const adapter =
    mode === "classic"
      ? createAdapter(publisher, subscriber, { key: it.prefix })
      : createShardedAdapter(publisher, subscriber, { channelPrefix: it.prefix, subscriptionMode: mode });
  const io = new Server(http, { adapter });
  io.on("connection", (socket) => socket.on("enter", (room, done) => (socket.join(room), done({ success: true }))));
  const clients = [];
  const close = async () => {
    for (const each of clients) await each.close();
    await io.close();
    for (const connection of [publisher, subscriber]) await connection.close();
  };
  const connect = async (room) => {
    const made = client(`http://127.0.0.1:${http.address().port}`);
    clients.push(made);
    made.socket.connect();
    await made.request("enter", room);
    return made;
  };
  return { io, publisher, connect, close };
}
