// The Node server of the example two_nodes, which says how to run it.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages are those of the directory it is started in.
const require = createRequire(join(process.cwd(), "package.json"));
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

const [url, port = "3003"] = process.argv.slice(2);
if (!url) fail("usage: node-server.mjs REDIS_URL [PORT]");
const publisher = createClient({ url });
const subscriber = publisher.duplicate();
// They connect again by themselves, but without somebody who hears of it Node ends.
for (const client of [publisher, subscriber]) client.on("error", (error) => console.error(`Redis: ${error.message}`));
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, subscriber) });
io.on("connection", (socket) => {
  socket.on("join", (room, done) => (socket.join(room), done?.(true)));
  socket.on("say", (said, done) => (io.to(said.room).emit("said", said), done?.(true)));
});
http.on("error", (error) => fail(`can't serve: ${error.message}`));
http.listen(Number(port), "127.0.0.1", () => console.log(`a Node server on http://127.0.0.1:${http.address().port}`));

function fail(why) {
  console.error(why);
  process.exit(1);
}
