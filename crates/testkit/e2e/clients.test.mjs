/** Clients of other versions and other languages work as they are, over every transport, each with the others. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, before, describe, test } from "node:test";

import { io as version4_8 } from "socket.io-client";
import { io as version3 } from "socket.io-client-3";
import { io as version4_0 } from "socket.io-client-4-0";

import { client, TRANSPORTS } from "./client.mjs";
import { sharedCluster, token } from "./cluster.mjs";
import { within } from "./eventually.mjs";
import { nodeServer } from "./node-server.mjs";
import { NAMESPACE_IDS } from "./pending.mjs";
import * as python from "./python.mjs";
import * as rust from "./rust.mjs";

/** All that speak version 5 of the protocol, which came with 3.0. */
const VERSIONS = { "3.1": version3, "4.0": version4_0, 4.8: version4_8 };

/** What socketioxide can't do: data beside the message of a refusal, and socket ids as on Node. */
const onOwnLane = (via) => via === "websocket" && process.env.TRUNKLINE_WEBSOCKET_LANE !== "off";

const FLAGS = ["--namespaces", "/=native,/chat=native", "--drain-window", "100ms"];
const BYTES = Buffer.from([0, 1, 2, 127, 128, 253, 254, 255]);
const REFUSAL = { message: "Authentication error: Invalid token", data: { code: "unauthenticated" } };

for (const [version, io] of Object.entries(VERSIONS)) {
  describe(`socket.io-client ${version}`, { timeout: 180_000 }, () => {
    let it;
    let node;
    before(async () => {
      it = await sharedCluster({ nodes: 2, auth: "jwt", flags: FLAGS });
      node = await nodeServer(it);
    });
    after(async () => {
      await node?.close();
      await it?.stop();
    });

    const come = async (userId, options) => it.connect(undefined, { io, auth: { token: await token(userId) }, ...options });

    for (const via of Object.keys(TRANSPORTS)) {
      test(`over ${via}, it talks with the current version on another node`, { timeout: 30_000 }, async () => {
        const old = await come(`old-${via}`, { at: 0, via });
        const current = await come(`current-${via}`, { at: 1, io: version4_8 });
        assert.deepEqual([old.userId, old.nodeId], [`old-${via}`, "node-1"]);
        await talk(old, current, `talk-${via}`);
      });

      test(`over ${via}, a refusal is a connect_error with the server's words`, { timeout: 15_000 }, async () => {
        const stranger = it.client(undefined, { io, via, auth: { token: "nonsense" } });
        const { message, data } = await stranger.refused();
        assert.equal(message, REFUSAL.message);
        if (onOwnLane(via)) assert.deepEqual(data, REFUSAL.data);
        assert.equal(stranger.socket.connected, false);
      });

      test(`over ${via}, one connection serves two namespaces, and refuses a third`, { timeout: 20_000 }, async () => {
        const main = await come(`spaces-${via}`, { via });
        const chat = main.socket.io.socket("/chat", { auth: main.socket.auth });
        const greeting = once(chat, "connected");
        chat.connect();
        const [{ userId, socketId }] = await within(greeting, 8_000, "entering /chat");
        assert.deepEqual([userId, socketId], [`spaces-${via}`, chat.id]);
        if (onOwnLane(via)) {
          assert.deepEqual([main.socket.id.length, chat.id.length], [20, 20]);
          assert.notEqual(main.socket.id, chat.id);
        }
        const reader = await come(`spaces-reader-${via}`, { at: 1 });
        await reader.join(`spaces-${via}`);
        const sent = { conversationId: `spaces-${via}`, content: "from /chat" };
        const ack = await within(answer(chat, "message:send", sent), 8_000, "the ack in /chat");
        assert.equal((await reader.next("message:new")).id, ack.messageId);

        const nowhere = main.socket.io.socket("/nowhere", { auth: main.socket.auth });
        const refusal = once(nowhere, "connect_error");
        nowhere.connect();
        const [{ message }] = await within(refusal, 8_000, "being refused");
        assert.equal(message, "Invalid namespace");

        chat.disconnect();
        await main.request("get:online:count");
      });

      const oneId = !onOwnLane(via) && NAMESPACE_IDS;
      test(`over ${via}, what one namespace of a connection sends reaches the other`, { timeout: 20_000, skip: oneId }, async () => {
        const main = await come(`both-${via}`, { via });
        const chat = main.socket.io.socket("/chat", { auth: main.socket.auth });
        const conversationId = `both-${via}`;
        await main.join(conversationId);
        chat.connect();
        const ack = await within(answer(chat, "message:send", { conversationId, content: "from /chat" }), 8_000, "the ack in /chat");
        assert.equal((await main.next("message:new")).id, ack.messageId);
      });

      test(`over ${via}, it comes back by itself after a node has left`, { timeout: 40_000 }, async (t) => {
        const leaving = await it.startNode(`leaving-${via}`);
        t.after(() => leaving.process.kill());
        const door = await doorTo(t, leaving);
        const auth = { token: await token(`moved-${via}`) };
        const moved = client(door.url, { io, via, auth, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
        t.after(() => moved.close());
        assert.equal((await moved.connected()).nodeId, leaving.id);
        const before = moved.socket.id;
        moved.socket.once("disconnect", () => door.leadTo(it.nodes[1]));
        leaving.process.signal("SIGTERM");
        await moved.next("connected", ({ nodeId }) => nodeId === "node-2", 15_000);
        // A poll that comes when the node listens no more is an error: a stock client comes back all the same.
        assert.match(await moved.disconnected, via === "polling" ? /^transport (close|error)$/ : /^transport close$/);
        assert.notEqual(moved.socket.id, before);
        await moved.join(`moved-${via}`);
      });

      test(`over ${via}, it stays away when the server disconnects it`, { timeout: 20_000 }, async () => {
        const unwanted = await come(`unwanted-${via}`, { via, reconnection: true });
        node.io.in(unwanted.socket.id).disconnectSockets();
        assert.equal(await within(unwanted.disconnected, 8_000, "being disconnected"), "io server disconnect");
        assert.equal(unwanted.socket.active, false, "a stock client would connect again");
      });

      test(`over ${via}, binary arrives byte by byte, and goes back in an answer`, { timeout: 20_000 }, async () => {
        const reader = await come(`binary-${via}`, { via });
        reader.socket.on("question", (given, done) => done({ back: Buffer.from(given), empty: Buffer.alloc(0) }));
        node.io.to(reader.socket.id).emit("binary", { bytes: BYTES, deep: [{ empty: Buffer.alloc(0) }] }, BYTES);
        await reader.next("binary");
        const [first, second] = reader.events.find(({ name }) => name === "binary").args;
        assert.deepEqual(
          [first.bytes, first.deep[0].empty, second].map((bytes) => Buffer.from(bytes)),
          [BYTES, Buffer.alloc(0), BYTES],
        );
        const answers = await node.io.timeout(4_000).to(reader.socket.id).emitWithAck("question", BYTES);
        assert.deepEqual(answers, [{ back: BYTES, empty: Buffer.alloc(0) }]);
      });
    }

    test("a volatile event arrives on the other node", { timeout: 20_000 }, async () => {
      const [writer, reader] = [await come("volatile-a", { at: 0 }), await come("volatile-b", { at: 1 })];
      for (const each of [writer, reader]) await each.join("volatile");
      writer.socket.volatile.emit("typing:start", { conversationId: "volatile" });
      assert.equal((await reader.next("typing:start")).userId, "volatile-a");
    });
  });
}

describe("socket.io-client 4.8, what is new in it", { timeout: 60_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2 });
  });
  after(() => it?.stop());

  for (const via of Object.keys(TRANSPORTS)) {
    test(`over ${via}, an ack comes within its timeout, a late one is no answer`, { timeout: 20_000 }, async () => {
      const ada = it.client("ada", { via });
      // Not connected yet, so nobody can answer in time; it is sent all the same, and answered when nobody waits any more.
      await assert.rejects(ada.socket.timeout(20).emitWithAck("get:online:count"), /timed out/);
      await ada.connected();
      const { success } = await ada.socket.timeout(8_000).emitWithAck("get:online:count");
      assert.equal(success, true);
    });

    test(`over ${via}, events that are sent again until they are acknowledged arrive once and in order`, { timeout: 30_000 }, async () => {
      const reader = await it.connect(`retry-reader-${via}`, { at: 1 });
      const conversationId = `retries-${via}`;
      await reader.join(conversationId);
      const writer = await it.connect(`retry-writer-${via}`, { via, retries: 3, ackTimeout: 4_000 });
      const sent = Array.from({ length: 20 }, (_, n) => ({ conversationId, content: `${n}`, clientMessageId: `m-${n}` }));
      for (const message of sent) writer.socket.emit("message:send", message);
      await reader.next("message:new", ({ content }) => content === "19");
      assert.deepEqual(reader.received("message:new").map(({ content }) => content), sent.map(({ content }) => content));
    });
  }
});

describe("python-socketio", { timeout: 300_000, skip: python.missing() }, () => {
  let it;
  let node;
  let interpreter;
  before(async () => {
    interpreter = await python.pythonWithPackages();
    it = await sharedCluster({ nodes: 2, auth: "jwt", flags: FLAGS });
    node = await nodeServer(it);
  }, { timeout: 240_000 });
  after(async () => {
    await node?.close();
    await it?.stop();
  });

  const made = (t, via) => python.pythonClient(t, interpreter, TRANSPORTS[via]);
  const come = async (t, userId, via, at = 0) => {
    const snake = made(t, via);
    await snake.connect(it.nodes[at].url, { token: await token(userId) });
    return snake;
  };

  for (const via of Object.keys(TRANSPORTS)) {
    test(`over ${via}, it talks with a JavaScript client on another node`, { timeout: 40_000 }, async (t) => {
      const snake = await come(t, `snake-${via}`, via);
      const { userId, nodeId } = await snake.next("connected");
      assert.deepEqual([userId, nodeId], [`snake-${via}`, "node-1"]);
      const script = await it.connect(undefined, { at: 1, auth: { token: await token(`script-${via}`) } });
      await talk(snake, script, `talk-${via}`);
      await script.request("message:send", { conversationId: `talk-${via}`, content: "ü".repeat(4_000) });
      assert.equal((await snake.next("message:new", ({ seq }) => seq === 3)).content, "ü".repeat(4_000));
      assert.equal((await snake.ask("message:send", { conversationId: `talk-${via}` })).error, "invalid");
    });

    test(`over ${via}, a refusal tells why`, { timeout: 30_000 }, async (t) => {
      const stranger = made(t, via);
      const refusal = await stranger.refused(it.nodes[0].url, { token: "nonsense" });
      assert.equal(refusal.message, REFUSAL.message);
      if (onOwnLane(via)) assert.deepEqual(refusal.data, REFUSAL.data);
    });

    test(`over ${via}, one connection serves two namespaces`, { timeout: 30_000 }, async (t) => {
      const snake = made(t, via);
      await snake.connect(it.nodes[0].url, { token: await token(`spaces-py-${via}`) }, ["/", "/chat"]);
      const conversationId = `spaces-py-${via}`;
      for (const namespace of ["/", "/chat"]) await snake.next("connected", () => true, namespace);
      const reader = await it.connect(undefined, { at: 1, auth: { token: await token(`spaces-reader-${via}`) } });
      await reader.join(conversationId);
      for (const namespace of ["/", "/chat"]) {
        const { messageId } = await snake.request("message:send", { conversationId, content: namespace }, namespace);
        assert.equal((await reader.next("message:new", ({ content }) => content === namespace)).id, messageId);
      }
    });

    test(`over ${via}, binary arrives byte by byte, and goes back in an answer`, { timeout: 30_000 }, async (t) => {
      const snake = await come(t, `binary-py-${via}`, via);
      const { socketId } = await snake.next("connected");
      node.io.to(socketId).emit("binary", { bytes: BYTES, deep: [{ empty: Buffer.alloc(0) }] });
      assert.deepEqual(await snake.next("binary"), { bytes: BYTES, deep: [{ empty: Buffer.alloc(0) }] });
      const answers = await node.io.timeout(4_000).to(socketId).emitWithAck("echo", { bytes: BYTES });
      assert.deepEqual(answers, [{ bytes: BYTES }]);
    });

    test(`over ${via}, it comes back by itself after a node has left`, { timeout: 40_000 }, async (t) => {
      const leaving = await it.startNode(`leaving-py-${via}`);
      t.after(() => leaving.process.kill());
      const door = await doorTo(t, leaving);
      const snake = made(t, via);
      await snake.connect(door.url, { token: await token(`moved-py-${via}`) });
      await snake.next("connected", ({ nodeId }) => nodeId === leaving.id);
      leaving.process.signal("SIGTERM");
      await snake.said("disconnected");
      door.leadTo(it.nodes[1]);
      await snake.next("connected", ({ nodeId }) => nodeId === "node-2", "/", 15_000);
      await snake.request("conversation:join", { conversationId: `moved-py-${via}` });
    });

    test(`over ${via}, it stays away when the server disconnects it`, { timeout: 30_000 }, async (t) => {
      const snake = await come(t, `unwanted-py-${via}`, via);
      const { socketId } = await snake.next("connected");
      node.io.in(socketId).disconnectSockets();
      assert.equal((await snake.said("disconnected")).reason, "server disconnect");
      await snake.said("gave up");
    });
  }
});

/**
 * The interfaces of rust_socketio 0.6 and their transports. Its async polling takes every piece of a response that it reads for
 * a whole one, so a long message breaks it, whatever the server.
 */
const RUST = { blocking: ["websocket", "polling", "upgrade"], async: ["websocket", "upgrade"] };
const RUST_BURST = 300;

/**
 * What the library can't do is not asked of it: answer an event, tell an event without arguments by its name, read or send
 * binary other than as the only argument, send binary with an ack, and wait for many acks at once (their ids are drawn from
 * 999). A connection has one namespace.
 */
describe("rust_socketio", { timeout: 600_000, skip: rust.missing() }, () => {
  let it;
  let node;
  let program;
  before(async () => {
    program = await rust.rustProgram();
    it = await sharedCluster({ nodes: 2, auth: "jwt", flags: FLAGS });
    node = await nodeServer(it);
  }, { timeout: 540_000 });
  after(async () => {
    await node?.close();
    await it?.stop();
  });

  for (const [api, via] of Object.entries(RUST).flatMap(([api, ways]) => ways.map((via) => [api, via]))) {
    const how = `${api}, over ${via}`;
    const name = `${api}-${via}`;
    const made = (t) => rust.rustClient(t, program, api, via);
    const come = async (t, userId, namespace) => {
      const crab = made(t);
      await crab.connect(it.nodes[0].url, { token: await token(userId) }, namespace);
      return crab;
    };
    const elsewhere = async (userId) => it.connect(undefined, { at: 1, auth: { token: await token(userId) } });

    test(`${how}, it talks with a JavaScript client on another node`, { timeout: 40_000 }, async (t) => {
      const crab = await come(t, `crab-${name}`);
      const { userId, nodeId } = await crab.next("connected");
      assert.deepEqual([userId, nodeId], [`crab-${name}`, "node-1"]);
      const script = await elsewhere(`script-${name}`);
      await talk(crab, script, `talk-${name}`);
      await script.request("message:send", { conversationId: `talk-${name}`, content: "ü".repeat(4_000) });
      assert.equal((await crab.next("message:new", ({ seq }) => seq === 3)).content, "ü".repeat(4_000));
      assert.equal((await crab.ask("message:send", { conversationId: `talk-${name}` })).error, "invalid");
    });

    test(`${how}, bursts arrive whole and in order, in both directions`, { timeout: 60_000 }, async (t) => {
      const crab = await come(t, `burst-crab-${name}`);
      const script = await elsewhere(`burst-script-${name}`);
      const conversationId = `burst-${name}`;
      for (const each of [crab, script]) await each.request("conversation:join", { conversationId });
      const contents = Array.from({ length: RUST_BURST }, (_, n) => `${n}`);
      await Promise.all(contents.map((content) => script.request("message:send", { conversationId, content })));
      await crab.next("message:new", ({ seq }) => seq === RUST_BURST, "/", 20_000);
      assert.deepEqual(crab.received("message:new").map(({ content }) => content), contents);
      for (const content of contents) crab.emit("message:send", { conversationId, content });
      await script.next("message:new", ({ seq }) => seq === 2 * RUST_BURST, 20_000);
      assert.deepEqual(script.received("message:new").map(({ content }) => content), contents);
    });

    test(`${how}, a refusal tells why`, { timeout: 30_000 }, async (t) => {
      const refusal = await made(t).refused(it.nodes[0].url, { token: "nonsense" });
      assert.equal(refusal.message, REFUSAL.message);
      if (onOwnLane(via)) assert.deepEqual(refusal.data, REFUSAL.data);
    });

    test(`${how}, another namespace is served`, { timeout: 30_000 }, async (t) => {
      const crab = await come(t, `spaces-rs-${name}`, "/chat");
      assert.equal((await crab.next("connected", () => true, "/chat")).userId, `spaces-rs-${name}`);
      const conversationId = `spaces-rs-${name}`;
      const reader = await elsewhere(`spaces-reader-${name}`);
      await reader.join(conversationId);
      const { messageId } = await crab.request("message:send", { conversationId, content: "from /chat" });
      assert.equal((await reader.next("message:new")).id, messageId);
    });

    test(`${how}, binary arrives byte by byte, and is understood`, { timeout: 30_000 }, async (t) => {
      const crab = await come(t, `binary-rs-${name}`);
      const { socketId } = await crab.next("connected");
      node.io.to(socketId).emit("binary", BYTES);
      assert.deepEqual(await crab.next("binary"), BYTES);
      // No event of the dialect takes bytes: that this one is answered by its name shows that it was read.
      crab.emit("message:send", BYTES);
      const { code, event } = (await crab.said("error")).error;
      assert.deepEqual([code, event], ["invalid", "message:send"]);
      await crab.request("get:online:count", {});
    });

    test(`${how}, it comes back by itself after a node has left`, { timeout: 40_000 }, async (t) => {
      const leaving = await it.startNode(`leaving-rs-${name}`);
      t.after(() => leaving.process.kill());
      const door = await doorTo(t, leaving);
      const crab = made(t);
      await crab.connect(door.url, { token: await token(`moved-rs-${name}`) });
      await crab.next("connected", ({ nodeId }) => nodeId === leaving.id);
      door.leadTo(it.nodes[1]);
      leaving.process.signal("SIGTERM");
      await crab.next("connected", ({ nodeId }) => nodeId === "node-2", "/", 15_000);
      await crab.request("conversation:join", { conversationId: `moved-rs-${name}` });
    });

    test(`${how}, it hears that the server disconnects it`, { timeout: 30_000 }, async (t) => {
      const crab = await come(t, `unwanted-rs-${name}`);
      const { socketId } = await crab.next("connected");
      node.io.in(socketId).disconnectSockets();
      await crab.said("disconnected");
    });
  }
});

/** Each sends to the other, and hears what the other sent. */
async function talk(first, second, conversationId) {
  for (const each of [first, second]) {
    const { success, conversationId: joined } = await each.request("conversation:join", { conversationId });
    assert.deepEqual([success, joined], [true, conversationId]);
  }
  const texts = [
    [first, second, "hello ü 👋"],
    [second, first, "hello to you"],
  ];
  for (const [index, [sender, reader, content]] of texts.entries()) {
    const ack = await sender.request("message:send", { conversationId, content });
    const { id, seq, senderId, content: read } = await reader.next("message:new");
    assert.deepEqual([id, seq, read, typeof senderId], [ack.messageId, index + 1, content, "string"]);
  }
}

/** As every version can: with a callback. */
function answer(socket, event, ...args) {
  return new Promise((resolve) => socket.emit(event, ...args, resolve));
}

/** An address that leads to one node, and then to another, as that of a balancer would. */
async function doorTo(t, node) {
  let { address } = node;
  const passing = new Set();
  const server = createServer((inside) => {
    const [host, port] = address.split(":");
    const outside = connect(Number(port), host);
    inside.pipe(outside).pipe(inside);
    for (const [socket, other] of [[inside, outside], [outside, inside]]) {
      passing.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => passing.delete(socket) && other.destroy());
    }
  }).listen(0, "127.0.0.1");
  t.after(() => {
    server.close();
    for (const socket of passing) socket.destroy();
  });
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, leadTo: (other) => ({ address } = other) };
}
