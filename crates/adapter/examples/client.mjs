// A client of the example two_nodes, which says how to run it. What is typed goes to everyone in the room.
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

// The packages are those of the directory it is started in.
const { io } = createRequire(join(process.cwd(), "package.json"))("socket.io-client");

const [url, room = "lobby"] = process.argv.slice(2);
if (!url) fail("usage: client.mjs URL [ROOM]");
const socket = io(url);
// After every reconnect too: a new connection is in no room.
socket.on("connect", async () => {
  const joined = await socket.timeout(5000).emitWithAck("join", room).catch(() => false);
  if (!joined) fail(`${url} did not let us into ${room}: is its Redis there?`);
  console.log(`in ${room} of ${url}`);
});
socket.on("connect_error", (error) => console.error(`${url}: ${error.message}, trying again`));
socket.on("said", ({ text }) => console.log(text));

for await (const text of createInterface({ input: process.stdin })) {
  await socket.timeout(5000).emitWithAck("say", { room, text }).catch(() => fail(`${url} does not answer`));
}
socket.close();

function fail(why) {
  console.error(why);
  process.exit(1);
}
