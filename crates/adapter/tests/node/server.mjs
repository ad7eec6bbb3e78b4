// A stock Socket.IO server on the Redis adapter.
//   node server.mjs '{"urls": ["redis://..."], "mode": "classic", "package": "@socket.io/redis-adapter", "options": {}}'
// Several URLs are a Redis Cluster; the mode is classic or a subscription mode of the sharded adapter. Prints its port, then
// runs the code it reads: one JSON line `{id, code}` in, one `{id, value}` or `{id, error}` out.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";

const { urls, mode, package: adapterPackage, client, options = {}, server = {} } = JSON.parse(process.argv[2]);
const { createAdapter, createShardedAdapter } = await import(adapterPackage);
// 6.x has its clients among the options.
const createClassic = adapterPackage === "redis-adapter-6-1" ? (pubClient, subClient, rest) => createAdapter({ pubClient, subClient, ...rest }) : createAdapter;
if (options.parser === "json") {
  options.parser = { encode: (message) => JSON.stringify(message), decode: (payload) => JSON.parse(payload) };
}

const redis = client === "ioredis" ? new Redis(urls[0]) : urls.length > 1 ? createCluster({ rootNodes: urls.map((url) => ({ url })) }) : createClient({ url: urls[0] });
const subscriber = redis.duplicate();
// ioredis connects by itself.
if (client !== "ioredis") await Promise.all([redis.connect(), subscriber.connect()]);
const adapter =
  mode === "classic"
    ? createClassic(redis, subscriber, options)
    : createShardedAdapter(redis, subscriber, { subscriptionMode: mode, ...options });

const http = createServer();
const io = new Server(http, { adapter, ...server });
io.of(/^\/dynamic-/);
// The emitter takes a key that is there and undefined at its word.
const emitter = new Emitter(redis, options.key ? { key: options.key } : {});
// What the other servers said, for tests that ask.
const heard = [];
io.on("hello", (...args) => {
  const answer = args.at(-1);
  if (typeof answer === "function") answer("from node");
  heard.push(args.filter((arg) => typeof arg !== "function"));
});
http.listen(0, "127.0.0.1", () => print({ port: http.address().port }));

const AsyncFunction = (async () => {}).constructor;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, code } = JSON.parse(line);
  new AsyncFunction("io", "emitter", "redis", "heard", code)(io, emitter, redis, heard).then(
    (value) => print({ id, value: value ?? null }),
    (error) => print({ id, error: String(error) }),
  );
}
process.exit(0);

function print(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}
