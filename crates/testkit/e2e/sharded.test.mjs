/** Node.js servers with the sharded adapter and our nodes in one cluster, over one Redis and over a Redis Cluster. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { TRANSPORTS } from "./client.mjs";
import { sharedCluster } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";
import { nodeServer } from "./node-server.mjs";
import { RedisCluster } from "./topologies.mjs";

/** Node's adapter gives up on a cluster request after 5 s; an answer well before means that every node answered. */
const PROMPT_MS = 2_500;
const TEST = { timeout: 30_000 };

const REDIS = { "one Redis": undefined, "a Redis Cluster": RedisCluster };

for (const [kind, redis] of Object.entries(REDIS)) {
  for (const mode of ["dynamic", "static"]) {
    describe(`sharded (${mode}) beside Node.js servers over ${kind}`, { timeout: 180_000 }, () => {
      let it;
      let servers;
      let ours;
      let theirs;
      const all = () => [...ours, ...theirs];
      before(async () => {
        it = await sharedCluster({ nodes: 2, redis, flags: ["--adapter", "sharded", "--adapter-subscriptions", mode] });
        servers = [await nodeServer(it, mode), await nodeServer(it, mode)];
        ours = [];
        for (const [at, via] of [...Object.keys(TRANSPORTS).entries()]) ours.push(await it.connect(`our-${via}`, { at: at % 2, via }));
        for (const each of ours) await each.join("shared");
        theirs = [await servers[0].connect("shared"), await servers[1].connect("shared")];
        for (const { io } of servers) {
          await eventually(async () => assert.equal(await io.of("/").adapter.serverCount(), 4), 15_000);
        }
        // Node.js subscribes to a room without telling when it has: until both hear the other, and us, nothing is promised.
        for (const { io } of servers) await heardByAll(() => io.to("shared").emit("ready", 1), "ready");
      });
      after(async () => {
        for (const each of servers ?? []) await each.close();
        await it?.stop();
      });

      /** Repeats what `send` does until everyone has heard of it. */
      async function heardByAll(send, event) {
        await eventually(async () => {
          send();
          for (const each of all()) await each.next(event, undefined, 250);
        }, 15_000);
        for (const each of all()) each.events.length = 0;
      }

      /** What every member has received of `event`, once `count` have come and a marker from everywhere behind them. */
      async function received(event, members, count, pick) {
        for (const each of members) {
          await eventually(() => assert.ok(each.received(event).length >= count, `${each.received(event).length} of ${count}`), 10_000);
        }
        const marker = `${event}-marker`;
        for (const { io } of servers) io.emit(marker, "node");
        await ours[0].request("message:send", { conversationId: "shared", content: marker });
        for (const each of members) await eventually(() => assert.equal(each.received(marker).length, 2), 10_000);
        for (const each of members.filter((member) => member !== ours[0])) await each.next("message:new", ({ content }) => content === marker);
        return members.map((each) => each.received(event).filter(({ content }) => content !== marker).map(pick));
      }

      test("messages, edits and deletions reach everyone once", TEST, async () => {
        const [sender, ...others] = ours;
        const sent = [];
        for (let n = 0; n < 10; n += 1) sent.push(await sender.request("message:send", { conversationId: "shared", content: `${n}` }));
        const ids = sent.map(({ messageId }) => messageId);
        const edit = await sender.request("message:edit", { conversationId: "shared", messageId: ids[3], content: "better" });
        const deletion = await sender.request("message:delete", { conversationId: "shared", messageId: ids[4] });
        const hearers = [...others, ...theirs];
        for (const each of hearers) {
          await each.next("message:edited");
          await each.next("message:deleted");
        }
        const messages = await received("message:new", hearers, 10, ({ id, seq, content }) => ({ id, seq, content }));
        const expected = sent.map(({ messageId, seq }, n) => ({ id: messageId, seq, content: `${n}` }));
        for (const [at, each] of hearers.entries()) {
          assert.deepEqual(messages[at].toSorted((a, b) => a.seq - b.seq), expected);
          const edited = each.received("message:edited").map(({ messageId, content, seq }) => [messageId, content, seq]);
          assert.deepEqual(edited, [[ids[3], "better", edit.seq]]);
          assert.deepEqual(each.received("message:deleted").map(({ messageId, seq }) => [messageId, seq]), [[ids[4], deletion.seq]]);
        }
      });

      test("a direct message reaches the recipient's sockets on a Node.js server", TEST, async () => {
        await theirs[0].request("enter", "user:elsewhere");
        await eventually(async () => {
          await ours[1].request("private:message", { recipientUserId: "elsewhere", content: "hello" });
          await theirs[0].next("message:new", ({ recipientUserId }) => recipientUserId === "elsewhere", 250);
        }, 10_000);
      });

      test("what is not stored, and documents, reach Node.js too", TEST, async () => {
        ours[2].socket.emit("typing:start", { conversationId: "shared" });
        await theirs[1].request("enter", "doc:plan");
        const [editor, reader] = ours;
        for (const each of [editor, reader]) await each.request("document:join", { documentId: "plan" });
        let version = 0;
        await eventually(async () => {
          ({ version } = await editor.request("document:edit", { documentId: "plan", content: `draft ${version}`, baseVersion: version }));
          for (const each of [reader, theirs[1]]) await each.next("document:edited", (edited) => edited.version === version, 250);
        }, 10_000);
        for (const each of theirs) assert.equal((await each.next("typing:start")).userId, "our-upgrade");
      });

      test("a Node.js server reaches rooms, users, sockets and everyone, once", TEST, async () => {
        const bytes = Buffer.from([0, 1, 254, 255]);
        servers[0].io.emit("to-all", 1, bytes);
        servers[1].io.to("shared").except("user:our-polling").emit("to-room", 1);
        for (const each of ours) {
          servers[0].io.to(`user:${each.userId}`).emit("to-user", each.userId);
          servers[1].io.to(each.socket.id).emit("to-socket", each.socket.id);
        }
        for (const each of ours) {
          assert.equal(await each.next("to-user"), each.userId);
          assert.equal(await each.next("to-socket"), each.socket.id);
        }
        for (const each of all()) {
          assert.equal(await each.next("to-all"), 1);
          assert.deepEqual(Buffer.from(each.events.find(({ name }) => name === "to-all").args[1]), bytes);
          if (each.userId !== "our-polling") await each.next("to-room");
        }
        await received("to-all", all().slice(1), 1, (n) => n);
        for (const each of all()) {
          const once = ["to-all", ...(theirs.includes(each) ? [] : ["to-user", "to-socket"])];
          for (const name of once) assert.equal(each.received(name).length, 1, `${name} of ${each.userId}`);
          assert.equal(each.received("to-room").length, each.userId === "our-polling" ? 0 : 1);
        }
      });

      test("requests of Node.js are answered promptly", TEST, async () => {
        const { io } = servers[0];
        servers[1].io.on("anyone?", (answer) => answer("node"));
        const begun = performance.now();
        const found = (await io.in("shared").fetchSockets()).map(({ id }) => id);
        assert.deepEqual(found.sort(), all().map(({ socket }) => socket.id).sort());
        const answers = await io.serverSideEmitWithAck("anyone?");
        assert.deepEqual([answers.length, answers.filter((answer) => answer === "node").length], [3, 1]);
        assert.ok(performance.now() - begun < PROMPT_MS, "no node was waited for in vain");
      });

      test("our clients answer when Node.js asks for acks", TEST, async () => {
        for (const each of ours) each.socket.once("question", (n, answer) => answer(`${each.userId} ${n}`));
        const answers = await servers[1].io.timeout(4_000).to(ours.map(({ socket }) => socket.id)).emitWithAck("question", 7);
        assert.deepEqual(answers.flat().sort(), ours.map(({ userId }) => `${userId} 7`).sort());
      });

      test("Node.js moves our sockets between rooms and disconnects them", TEST, async () => {
        const passer = await it.connect("passer", { at: 1 });
        const { io } = servers[0];
        io.in("user:passer").socketsJoin("vip");
        assert.equal((await io.in("vip").fetchSockets()).length, 1);
        io.to("vip").emit("vip", 1);
        await passer.next("vip");
        io.in("user:passer").socketsLeave("vip");
        await eventually(async () => assert.equal((await io.in("vip").fetchSockets()).length, 0), PROMPT_MS);
        io.in("user:passer").disconnectSockets();
        assert.equal(await passer.disconnected, "io server disconnect");
      });
    });
  }
}
