/** A Node.js server and an emitter that share Redis with the cluster: each reaches the clients of the other. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";

import { TRANSPORTS } from "./client.mjs";
import { sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { nodeServer } from "./node-server.mjs";

/** Node's adapter gives up on a cluster request after 5 s; an answer well before means that every node answered. */
const PROMPT_MS = 2_500;

describe("beside a Node.js server on the same Redis", { timeout: 120_000 }, () => {
  let it;
  let node;
  let emitter;
  let ours;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--namespaces", "/=native,/dynamic-{name}=native"] });
    node = await nodeServer(it);
    emitter = new Emitter(node.publisher, { key: it.prefix });
    ours = [
      await it.connect("ada", { at: 0, via: "websocket" }),
      await it.connect("grace", { at: 1, via: "polling" }),
      await it.connect("alan", { at: 1, via: "upgrade" }),
    ];
    for (const each of ours) await each.join("shared");
  });
  after(async () => {
    await node?.close();
    await it?.stop();
  });

  const bytes = Buffer.from([0, 1, 2, 253, 254, 255]);
  const sources = {
    "a Node.js server": () => node.io,
    "an emitter": () => emitter,
  };
  for (const [source, io] of Object.entries(sources)) {
    test(`${source} reaches our clients in a room, and only them`, { timeout: 20_000 }, async () => {
      const [ada, ...others] = ours;
      await ada.request("conversation:leave", { conversationId: "shared" });
      io().to("shared").emit("news", { from: source, n: 1.5, none: null, list: [true, "ü"] });
      for (const each of others) {
        const news = await each.next("news", (payload) => payload.from === source);
        assert.deepEqual(news, { from: source, n: 1.5, none: null, list: [true, "ü"] });
      }
      io().emit("marker", source);
      await ada.next("marker", (payload) => payload === source);
      assert.equal(ada.received("news").filter(({ from }) => from === source).length, 0);
      await ada.join("shared");
    });

    test(`${source} reaches all our clients`, { timeout: 20_000 }, async () => {
      io().emit("to-all", { from: source });
      for (const each of ours) await each.next("to-all", ({ from }) => from === source);
    });

    test(`${source} reaches all sockets of one of our users`, { timeout: 20_000 }, async () => {
      const tab = await it.connect("ada", { at: 1 });
      io().to("user:ada").emit("to-ada", { from: source });
      for (const each of [ours[0], tab]) await each.next("to-ada", ({ from }) => from === source);
      await tab.close();
    });

    test(`binary of ${source} arrives as binary`, { timeout: 20_000 }, async () => {
      io().to("shared").emit("binary", { from: source, bytes }, bytes);
      for (const each of ours) {
        await each.next("binary", ({ from }) => from === source);
        const [first, second] = each.events.find(({ name, args }) => name === "binary" && args[0].from === source).args;
        assert.deepEqual([Buffer.from(first.bytes), Buffer.from(second)], [bytes, bytes]);
      }
    });

    test(`what ${source} sends in one go arrives in order, less what is not for somebody`, { timeout: 20_000 }, async () => {
      const numbers = Array.from({ length: 60 }, (_, number) => number);
      for (const number of numbers) {
        const target = number % 5 === 4 ? io().to("shared").except("user:ada") : io().to("shared");
        target.emit("burst", { from: source, number, bytes: number % 7 === 6 ? bytes : null });
      }
      for (const each of ours) {
        const expected = numbers.filter((number) => each !== ours[0] || number % 5 !== 4);
        await each.next("burst", (payload) => payload.from === source && payload.number === expected.at(-1));
        const burst = each.received("burst").filter(({ from }) => from === source);
        assert.deepEqual(burst.map(({ number }) => number), expected);
        for (const { number, bytes: sent } of burst) assert.deepEqual(sent && Buffer.from(sent), number % 7 === 6 ? bytes : null);
      }
    });

    test(`${source} leaves out whom it excepts`, { timeout: 20_000 }, async () => {
      const [ada, grace] = ours;
      io().to("shared").except("user:ada").emit("but-ada", { from: source });
      io().emit("marker", `${source} except`);
      await grace.next("but-ada", ({ from }) => from === source);
      await ada.next("marker", (payload) => payload === `${source} except`);
      assert.equal(ada.received("but-ada").filter(({ from }) => from === source).length, 0);
    });

    test(`${source} moves our sockets between rooms and disconnects them`, { timeout: 20_000 }, async () => {
      const passer = await it.connect(`passer-${source.replaceAll(" ", "-")}`, { at: 1 });
      const room = `user:${passer.userId}`;
      io().in(room).socketsJoin("vip");
      // Nobody confirms a join from afar, and a node hears a room once it has subscribed to it: an answer to what was asked
      // after the join says that it has.
      assert.equal((await node.io.in("vip").fetchSockets()).length, 1);
      io().to("vip").emit("vip-1", {});
      await passer.next("vip-1");
      io().in(room).socketsLeave("vip");
      io().to("vip").emit("vip-2", {});
      io().to(room).emit("marker", "left");
      await passer.next("marker", (payload) => payload === "left");
      assert.equal(passer.received("vip-2").length, 0);
      io().in(room).disconnectSockets();
      assert.equal(await passer.disconnected, "io server disconnect");
    });
  }

  test("Node.js closes whole connections of our clients", { timeout: 20_000 }, async () => {
    for (const [via, at] of [["websocket", 0], ["polling", 1]]) {
      const client = await it.connect(`closed-${via}`, { at, via, reconnection: false });
      await client.join(`closed-${via}`);
      const closed = new Promise((resolve) => client.socket.io.engine.once("close", resolve));
      node.io.in(`closed-${via}`).disconnectSockets(true);
      await within(Promise.all([client.disconnected, closed]), 10_000, `the end of a ${via} connection`);
      assert.equal(client.socket.io.engine.readyState, "closed");
    }
  });

  test("our messages, typing and presence reach the clients of the Node.js server", { timeout: 20_000 }, async () => {
    const theirs = await node.connect("shared");
    const { messageId } = await ours[0].request("message:send", { conversationId: "shared", content: "to Node" });
    const message = await theirs.next("message:new");
    assert.deepEqual([message.id, message.senderId, message.content], [messageId, "ada", "to Node"]);
    ours[1].socket.emit("typing:start", { conversationId: "shared" });
    assert.equal((await theirs.next("typing:start")).userId, "grace");
    await it.connect("newcomer", { at: 1 });
    await theirs.next("user:online", ({ userId }) => userId === "newcomer");
    assert.equal(theirs.received("message:new").length, 1);
  });

  test("fetchSockets on Node.js sees our sockets, promptly", { timeout: 20_000 }, async () => {
    const begun = performance.now();
    const sockets = await node.io.in("shared").fetchSockets();
    assert.ok(performance.now() - begun < PROMPT_MS, "no node was waited for in vain");
    const ids = sockets.map(({ id }) => id);
    for (const each of ours) {
      assert.ok(ids.includes(each.socket.id), `${each.userId} is missing`);
      const found = sockets.find(({ id }) => id === each.socket.id);
      assert.ok(found.rooms.has("shared") && found.rooms.has(`user:${each.userId}`));
      assert.ok(found.handshake !== undefined && found.data !== undefined);
    }
  });

  test("the rooms of the cluster are known on Node.js, promptly", { timeout: 20_000 }, async () => {
    const begun = performance.now();
    const rooms = await node.io.of("/").adapter.allRooms();
    assert.ok(performance.now() - begun < PROMPT_MS);
    for (const room of ["shared", "user:ada", "user:grace"]) assert.ok(rooms.has(room), `${room} is missing`);
  });

  test("our clients answer when Node.js asks for acks", { timeout: 20_000 }, async () => {
    for (const each of ours) each.socket.once("question", (n, answer) => answer?.(`${each.userId} ${n}`));
    const answers = await node.io.timeout(4_000).to(ours.map(({ socket }) => socket.id)).emitWithAck("question", 7);
    assert.deepEqual(answers.flat().sort(), ["ada 7", "alan 7", "grace 7"]);
  });

  test("a dynamic namespace is shared with Node.js, and leaves nothing behind when all have left", { timeout: 40_000 }, async () => {
    // By name: Node.js listens by pattern.
    const listenedFor = () => node.publisher.sendCommand(["PUBSUB", "CHANNELS", `${it.prefix}#/dynamic-1#*`]);
    for (const via of ["websocket", "polling"]) {
      const visitor = await it.connect("visitor", { at: 0, via, to: "/dynamic-1" });
      await visitor.join("inside");
      node.io.of("/dynamic-1").to("inside").emit("in-there", via);
      await visitor.next("in-there", (payload) => payload === via);
      assert.equal((await node.io.of("/dynamic-1").fetchSockets()).length, 1);
      assert.ok((await listenedFor()).includes(`${it.prefix}#/dynamic-1#inside#`));
      await visitor.close();
      await eventually(async () => assert.deepEqual(await listenedFor(), []), 20_000);
      assert.equal((await node.io.of("/dynamic-1").fetchSockets()).length, 0);
    }
    assert.equal(ours[0].received("in-there").length, 0);
  });

  test("one packet addressed by socket id reaches that socket, over each transport", { timeout: 20_000 }, async () => {
    assert.deepEqual(ours.map(({ via }) => via), Object.keys(TRANSPORTS));
    for (const each of ours) node.io.to(each.socket.id).emit("for-you", each.userId);
    for (const each of ours) assert.equal(await each.next("for-you"), each.userId);
  });
});
