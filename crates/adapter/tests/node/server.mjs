// A stock Socket.IO server on the Redis adapter.
//   node server.mjs REDIS_URL
// Prints its port, then runs the code it reads: one JSON line `{id, code}` in, one `{id, value}` or `{id, error}` out.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { createAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { Server } from "socket.io";

const redis = createClient({ url: process.argv[2] });
const subscriber = redis.duplicate();
await Promise.all([redis.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, { adapter: createAdapter(redis, subscriber) });
const emitter = new Emitter(redis);
http.listen(0, "127.0.0.1", () => print({ port: http.address().port }));

const AsyncFunction = (async () => {}).constructor;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, code } = JSON.parse(line);
  new AsyncFunction("io", "emitter", "redis", code)(io, emitter, redis).then(
    (value) => print({ id, value: value ?? null }),
    (error) => print({ id, error: String(error) }),
  );
}
process.exit(0);

function print(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}
