/** Connection state recovery as the stock client has it built in: same id, same rooms, what was missed in order and once. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

import { cluster, sharedCluster, token } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";

const ON = ["--connection-state-recovery", "on"];
const WAIT_MS = 15_000;

describe("with connection state recovery", { timeout: 300_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ON });
    await proving(it);
  });
  after(() => it?.stop());

  /** Ada writes on the first node, bob reads on it and has got the first message. */
  async function talk(name) {
    const [ada, bob] = [await it.connect(`ada-${name}`, { at: 0 }), await it.connect(`bob-${name}`, { at: 0 })];
    for (const each of [ada, bob]) await each.join(name);
    await say(ada, name, 1);
    await heard(bob, 1);
    return { ada, bob };
  }

  for (const [where, at] of [["another node", 1], ["the same node", 0]]) {
    test(`a client that was cut off is on ${where} what it was, with what it missed`, { timeout: 60_000 }, async () => {
      const name = `cut-${at}`;
      const { ada, bob } = await talk(name);
      const { id } = bob.socket;
      await cut(bob);
      for (const n of [2, 3, 4]) await say(ada, name, n);
      await comeBack(bob, it.nodes[at]);
      assert.equal(bob.socket.recovered, true);
      assert.equal(bob.socket.id, id);
      await heard(bob, 1, 2, 3, 4);
      await say(ada, name, 5);
      await heard(bob, 1, 2, 3, 4, 5);
      await bob.request("message:send", { conversationId: name, content: "thanks" });
      await ada.next("message:new", ({ content }) => content === "thanks");
      await withRedis(it, async (redis) => {
        new Emitter(redis, { key: it.prefix }).in(id).emit("direct", { to: id });
        assert.deepEqual(await bob.next("direct"), { to: id });
      });
      const { members } = await ada.request("conversation:members", { conversationId: name });
      assert.deepEqual(members.map(({ userId }) => userId).sort(), [`ada-${name}`, `bob-${name}`]);
      assert.equal(members.find(({ userId }) => userId === `bob-${name}`).sockets, 1);
    });
  }

  test("cut off again and again, with and without news in between, it misses nothing", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("again");
    const { id } = bob.socket;
    let said = 1;
    for (const [round, messages] of [0, 2, 0, 0, 1, 3].entries()) {
      await cut(bob);
      for (let n = 0; n < messages; n += 1) await say(ada, "again", (said += 1));
      await comeBack(bob, it.nodes[round % 2]);
      assert.deepEqual([bob.socket.recovered, bob.socket.id], [true, id], `round ${round}`);
      await heard(bob, ...upTo(said));
    }
  });

  test("messages of several conversations, direct ones too, come in the order in which they were sent", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("several-a");
    for (const each of [ada, bob]) await each.join("several-b");
    await cut(bob);
    const stranger = await it.connect("stranger", { at: 1 });
    await say(ada, "several-b", 2);
    await say(ada, "several-a", 3);
    await stranger.request("private:message", { recipientUserId: bob.userId, content: "4" });
    await say(ada, "several-a", 5);
    await ada.request("private:message", { recipientUserId: bob.userId, content: "6" });
    await say(ada, "several-b", 7);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, ...upTo(7));
  });

  test("a client that brings cursors too gets what it missed once, of direct conversations that it never joined as well", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("with-cursors");
    const write = (content) => ada.request("private:message", { recipientUserId: bob.userId, content });
    await write("2");
    await heard(bob, 1, 2);
    const { conversationId, epoch, seq } = bob.received("message:new").at(-1);
    bob.socket.auth = { ...bob.socket.auth, cursors: { [conversationId]: { epoch, seq } } };
    await cut(bob);
    await write("3");
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await write("4");
    await heard(bob, 1, 2, 3, 4);
  });

  test("a client that had got no message yet is recovered too", { timeout: 60_000 }, async () => {
    const ada = await it.connect("ada-early", { at: 0 });
    await ada.join("early");
    await say(ada, "early", 0);
    const bob = await it.connect("bob-early", { at: 0 });
    await bob.join("early");
    await noted(it, bob, "early");
    await cut(bob);
    await say(ada, "early", 1);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, 1);
  });

  test("what a client sent itself, and was acknowledged, does not come back to it", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("own");
    await bob.request("message:send", { conversationId: "own", content: "mine" });
    await cut(bob);
    await say(ada, "own", 2);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, 1, 2);
  });

  test("a connection that its node still believes in gives way", { timeout: 60_000 }, async () => {
    for (const at of [0, 1]) {
      const { ada, bob } = await talk(`half-open-${at}`);
      const { id, _pid, _lastOffset } = bob.socket;
      const twin = it.client(bob.userId, { at });
      Object.assign(twin.socket, { _pid, _lastOffset });
      await twin.open();
      assert.deepEqual([twin.socket.recovered, twin.socket.id], [true, id]);
      await eventually(() => assert.equal(bob.socket.connected, false), WAIT_MS);
      await say(ada, `half-open-${at}`, 2);
      await heard(twin, 2);
      await heard(bob, 1);
      const { users } = await ada.request("presence:get", { userIds: [bob.userId] });
      assert.equal(users[0].online, true);
    }
  });

  test("a session is recovered once", { timeout: 60_000 }, async () => {
    const { bob } = await talk("once");
    const { id, _pid, _lastOffset } = bob.socket;
    await cut(bob);
    const twins = [it.client(bob.userId, { at: 0 }), it.client(bob.userId, { at: 1 })];
    for (const { socket } of twins) Object.assign(socket, { _pid, _lastOffset });
    await Promise.all(twins.map((twin) => twin.open()));
    // The later one finds the earlier one's session, unless that is not written yet.
    assert.ok(twins.some(({ socket }) => socket.recovered));
    await eventually(() => {
      const same = twins.filter(({ socket }) => socket.connected && socket.id === id);
      assert.ok(same.length <= 1, "two connections are the same socket");
    }, WAIT_MS);
  });

  test("who left a room, or was taken out of it, is not put back into it", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("stays");
    for (const room of ["left", "thrown-out"]) await bob.join(room);
    await bob.request("conversation:leave", { conversationId: "left" });
    await withRedis(it, async (redis) => {
      new Emitter(redis, { key: it.prefix }).in(`user:${bob.userId}`).socketsLeave("thrown-out");
      await eventually(async () => assert.deepEqual(await roomsOf(redis, bob), ["stays"]), WAIT_MS);
    });
    await cut(bob);
    for (const [n, room] of ["left", "thrown-out", "stays"].entries()) await say(ada, room, n + 2);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, 1, 4);
    for (const [n, room] of ["left", "thrown-out", "stays"].entries()) await say(ada, room, n + 5);
    await heard(bob, 1, 4, 7);
  });

  test("events of servers, with a text at the end or bare, are no offsets", { timeout: 60_000 }, async () => {
    const { ada, bob } = await talk("texts");
    await withRedis(it, async (redis) => {
      const emitter = new Emitter(redis, { key: it.prefix });
      emitter.in(`user:${bob.userId}`).emit("note", "a text");
      emitter.in(`user:${bob.userId}`).emit("tick");
      await eventually(() => assert.equal(bob.events.filter(({ name }) => name === "tick").length, 1), WAIT_MS);
    });
    assert.deepEqual(bob.events.find(({ name }) => name === "note").args, ["a text", null]);
    assert.deepEqual(bob.events.find(({ name }) => name === "tick").args, [null]);
    await cut(bob);
    await say(ada, "texts", 2);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, 1, 2);
  });

  test("an offset or a session that is none lets the client in as a new one", { timeout: 60_000 }, async () => {
    const offsets = ["-", "", "x", "abc.1", "0.0", 7, null, {}, "a".repeat(100_000)];
    for (const offset of offsets) {
      const { bob } = await talk(`wrong-${offsets.indexOf(offset)}`);
      const { id } = bob.socket;
      await cut(bob);
      bob.socket._lastOffset = offset;
      await comeBack(bob, it.nodes[1]);
      // Without any offset it has got nothing, which is as good.
      const expected = offset === null;
      assert.deepEqual([Boolean(bob.socket.recovered), bob.socket.id === id], [expected, expected], JSON.stringify(offset)?.slice(0, 20));
    }
    const carol = it.client("carol-wrong", { at: 0 });
    Object.assign(carol.socket, { _pid: "f".repeat(32), _lastOffset: "0af3.1" });
    await carol.open();
    assert.equal(carol.socket.recovered, false);
    assert.ok(carol.socket._pid && carol.socket._pid !== "f".repeat(32));
  });

  test("another user's session is nobody's", { timeout: 60_000 }, async () => {
    const { bob } = await talk("stolen");
    await cut(bob);
    const mallory = it.client("mallory", { at: 1 });
    Object.assign(mallory.socket, { _pid: bob.socket._pid, _lastOffset: bob.socket._lastOffset });
    await mallory.open();
    assert.equal(mallory.socket.recovered, false);
    assert.notEqual(mallory.socket.id, bob.socket.id);
  });

  test("a client with an open document comes in as a new one: edits are no messages", { timeout: 60_000 }, async () => {
    const { bob } = await talk("document");
    await bob.request("document:join", { documentId: "plan" });
    await cut(bob);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, false);
  });

  test("cursors work when there is nothing to recover, and are not needed when there is", { timeout: 60_000 }, async () => {
    const ada = await it.connect("ada-cursors", { at: 0 });
    const { epoch, seq } = await ada.join("cursors");
    await say(ada, "cursors", 1);
    const bob = await it.connect("bob-cursors", { at: 0, auth: { cursors: { cursors: { epoch, seq } } } });
    await heard(bob, 1);
    await bob.next("conversation:synced");
    await say(ada, "cursors", 2);
    await heard(bob, 1, 2);
    await cut(bob);
    await say(ada, "cursors", 3);
    await comeBack(bob, it.nodes[1]);
    assert.equal(bob.socket.recovered, true);
    await heard(bob, 1, 2, 3);
  });

  test("a client that begins with polling is not told how to come back, and gets no offsets", { timeout: 60_000 }, async () => {
    const ada = await it.connect("ada-polling", { at: 0 });
    await ada.join("polling");
    for (const via of ["polling", "upgrade"]) {
      const bob = await it.connect(`bob-${via}`, { at: 0, via });
      await bob.join("polling");
      await say(ada, "polling", 1);
      await heard(bob, 1);
      assert.equal(bob.events.find(({ name }) => name === "message:new").args.length, 1);
      assert.equal(bob.socket._pid, undefined);
      bob.socket.disconnect();
    }
  });

  test("who says farewell has left for good", { timeout: 60_000 }, async () => {
    const { bob } = await talk("farewell");
    const { id } = bob.socket;
    bob.socket.disconnect();
    await withRedis(it, (redis) => eventually(async () => assert.equal(await roomsOf(redis, bob), undefined), WAIT_MS));
    await comeBack(bob, it.nodes[0]);
    assert.deepEqual([bob.socket.recovered, bob.socket.id === id], [false, false]);
  });

  test("cut off over and over while others talk, a client gets everything once and in order", { timeout: 120_000 }, async () => {
    const { ada, bob } = await talk("storm");
    let talking = true;
    let said = 1;
    const talker = (async () => {
      while (talking) await say(ada, "storm", (said += 1));
    })();
    let recovered = 0;
    const rounds = 40;
    for (let round = 0; round < rounds; round += 1) {
      const before = contents(bob).length;
      await eventually(() => assert.ok(contents(bob).length > before + 5), WAIT_MS);
      await cut(bob);
      await comeBack(bob, it.nodes[round % 2]);
      recovered += bob.socket.recovered ? 1 : 0;
      if (!bob.socket.recovered) break;
    }
    talking = false;
    await talker;
    assert.equal(recovered, rounds);
    await heard(bob, ...upTo(said));
  });
});

describe("connection state recovery in other dialects", { timeout: 300_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: [...ON, "--namespaces", "/=native,/show=showcase,/talks=conversations"] });
    await proving(it);
  });
  after(() => it?.stop());

  const open = (user, options) => it.client(user, { at: 0, ...options }).open();
  const texts = (client) => client.received("new-message").map(({ text }) => text);

  /** Ada speaks in the lobby until bob has got something, and something that proves where he is, if he is told such. */
  async function showcase(name, prepare) {
    const [ada, bob] = [await open(`ada-${name}`, { to: "/show" }), await open(name === "guest" ? undefined : `bob-${name}`, { to: "/show" })];
    await prepare?.(bob);
    let said = 0;
    const speak = async (text = `${name} ${(said += 1)}`) => {
      await ada.request("send-message", { text });
      return text;
    };
    await eventually(async () => {
      const text = await speak();
      await bob.next("new-message", (message) => message.text === text, 1_000);
      assert.match(bob.socket._lastOffset ?? "", /^[0-9a-f]+\.\d+$/);
    }, WAIT_MS);
    return { ada, bob, speak };
  }

  test("in showcase a user is put back into the lobby, with what was said", { timeout: 60_000 }, async () => {
    const { bob, speak } = await showcase("user");
    for (const at of [1, 0]) {
      const { id } = bob.socket;
      const before = texts(bob);
      await cut(bob);
      const missed = [await speak(), await speak(), await speak()];
      await comeBack(bob, it.nodes[at]);
      assert.deepEqual([bob.socket.recovered, bob.socket.id], [true, id]);
      const later = await speak();
      await bob.next("new-message", ({ text }) => text === later);
      assert.deepEqual(texts(bob), [...before, ...missed, later]);
    }
  });

  for (const [who, prepare] of [
    ["guest", undefined],
    ["named", (bob) => bob.ask("join", "Bob")],
  ]) {
    test(`in showcase who is a guest or gave itself a name comes in as a new one: ${who}`, { timeout: 60_000 }, async () => {
      const { bob, speak } = await showcase(who, prepare);
      const { id } = bob.socket;
      await cut(bob);
      const missed = await speak();
      await comeBack(bob, it.nodes[1]);
      assert.equal(bob.socket.recovered, false);
      assert.notEqual(bob.socket.id, id);
      await eventually(async () => {
        const later = await speak();
        await bob.next("new-message", ({ text }) => text === later, 1_000);
      }, WAIT_MS);
      assert.ok(!texts(bob).includes(missed), "what it missed is in the history");
      assert.deepEqual(texts(bob), [...new Set(texts(bob))], "nothing twice");
    });
  }

  test("who asks for batches is not told how to come back, and comes back with its cursors", { timeout: 60_000 }, async () => {
    const auth = { batch: true };
    const [ada, bob, plain] = [await open("ada-batch", { to: "/talks" }), await open("bob-batch", { to: "/talks", auth }), await open("carol-batch", { to: "/talks" })];
    for (const each of [ada, bob, plain]) each.socket.emit("joinRoom", "batched");
    await eventually(async () => {
      const { viewers } = await ada.request("getViewers", "batched");
      assert.deepEqual(viewers.sort(), ["ada-batch", "bob-batch", "carol-batch"]);
    }, WAIT_MS);
    assert.equal(typeof plain.socket._pid, "string", "who asks for none is");
    assert.equal(bob.socket._pid, undefined);
    const speak = async (...contents) => {
      for (const content of contents) await ada.request("sendMessage", { conversationId: "batched", content });
    };
    const batched = () => bob.received("messagesBatch").flat().map(({ message }) => message);
    const heardBatched = (...contents) => eventually(() => assert.deepEqual(batched().map(({ content }) => content), contents), WAIT_MS);
    await speak("1", "2", "3");
    await heardBatched("1", "2", "3");
    await cut(bob);
    await speak("4", "5");
    const { epoch, seq } = batched().at(-1);
    bob.socket.auth = { ...auth, cursors: { batched: { epoch, seq } } };
    await comeBack(bob, it.nodes[1]);
    assert.ok(!bob.socket.recovered);
    await heardBatched("1", "2", "3", "4", "5");
    await speak("6");
    await heardBatched("1", "2", "3", "4", "5", "6");
    assert.ok(bob.events.every(({ name, args }) => name !== "messagesBatch" || args.length === 1), "no batch has an offset");
    assert.equal(bob.received("receiveMessage").length, 0);
  });
});

test("a client of a node that was killed is on another what it was", { timeout: 120_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, flags: ON });
  const ada = await it.connect("ada", { at: 1 });
  const readers = [];
  for (let n = 0; n < 20; n += 1) readers.push(await it.connect(`reader-${n}`, { at: 0 }));
  await ada.join("general");
  for (const reader of readers) await reader.join("general");
  await say(ada, "general", 1);
  const ids = readers.map(({ socket }) => socket.id);
  // It dies while messages are on their way: some have them, some have not.
  const last = 200;
  for (let n = 2; n <= last; n += 1) {
    await say(ada, "general", n);
    if (n === last / 2) it.nodes[0].process.signal("SIGKILL");
  }
  for (const reader of readers) {
    await reader.disconnected;
    await comeBack(reader, it.nodes[1]);
  }
  assert.deepEqual(readers.map(({ socket }) => socket.recovered), readers.map(() => true));
  assert.deepEqual(readers.map(({ socket }) => socket.id), ids);
  for (const reader of readers) await heard(reader, ...upTo(last));
});

test("a client that a draining node sends away is on another what it was", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, flags: [...ON, "--drain-window", "100ms"] });
  const ada = await it.connect("ada", { at: 1 });
  const bob = await it.connect("bob", { at: 0 });
  for (const each of [ada, bob]) await each.join("general");
  await say(ada, "general", 1);
  await heard(bob, 1);
  const { id } = bob.socket;
  it.nodes[0].process.signal("SIGTERM");
  await bob.disconnected;
  await say(ada, "general", 2);
  await comeBack(bob, it.nodes[1]);
  assert.deepEqual([bob.socket.recovered, bob.socket.id], [true, id]);
  await heard(bob, 1, 2);
});

test("beyond the window a client comes in as a new one", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, flags: [...ON, "--recovery-window", "500ms"] });
  const { ada, bob } = await pair(it);
  await cut(bob);
  await withRedis(it, (redis) => eventually(async () => assert.equal(await roomsOf(redis, bob), undefined), WAIT_MS));
  await say(ada, "general", 2);
  const { id } = bob.socket;
  await comeBack(bob, it.nodes[1]);
  assert.deepEqual([bob.socket.recovered, bob.socket.id === id], [false, false]);
  await bob.join("general");
  await say(ada, "general", 3);
  await heard(bob, 1, 3);
});

test("what was trimmed can't be made up for: the client comes in as a new one", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, flags: [...ON, "--log-max-entries", "5"] });
  const { ada, bob } = await pair(it);
  await cut(bob);
  for (let n = 2; n <= 20; n += 1) await say(ada, "general", n);
  await comeBack(bob, it.nodes[1]);
  assert.equal(bob.socket.recovered, false);
  await heard(bob, 1);
});

test("after a restart of Redis an offset proves nothing", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, flags: ON, fsync: "always" });
  const { ada, bob } = await pair(it);
  await cut(bob);
  await it.redis.kill();
  await it.redis.restart();
  await eventually(() => say(ada, "general", 2), WAIT_MS);
  await comeBack(bob, it.nodes[1]);
  assert.equal(bob.socket.recovered, false);
  await eventually(() => bob.join("general"), WAIT_MS);
  await say(ada, "general", 3);
  await heard(bob, 1, 3);
  // With the new Redis it works as before.
  await eventually(async () => {
    await cut(bob);
    await comeBack(bob, it.nodes[0]);
    if (!bob.socket.recovered) await bob.join("general");
    await say(ada, "general", "more");
    assert.equal(bob.socket.recovered, true);
  }, WAIT_MS);
});

test("who comes back is asked for a token again", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 2, auth: "jwt", flags: ON });
  const ada = await it.connect(undefined, { at: 0, auth: { token: await token("ada") } });
  const bob = await it.connect(undefined, { at: 0, auth: { token: await token("bob") } });
  for (const each of [ada, bob]) await each.join("general");
  await say(ada, "general", 1);
  await heard(bob, 1);
  await cut(bob);
  bob.socket.auth = { token: await token("bob", "some-other-secret-0123456789abcdef") };
  bob.socket.io.uri = it.nodes[1].url;
  assert.equal((await bob.refused()).message, "Authentication error: Invalid token");
  await say(ada, "general", 2);
  bob.socket.auth = { token: await token("bob") };
  await comeBack(bob, it.nodes[1]);
  assert.equal(bob.socket.recovered, true, "a refusal does not take the session away");
  await heard(bob, 1, 2);
});

test("a node by itself recovers too", { timeout: 60_000 }, async (t) => {
  const it = await recovering(t, { nodes: 1, flags: ON });
  const { ada, bob } = await pair(it);
  await cut(bob);
  await say(ada, "general", 2);
  await comeBack(bob, it.nodes[0]);
  assert.equal(bob.socket.recovered, true);
  await heard(bob, 1, 2);
});

test("unless it is switched on, nobody is told how to come back and no event has an offset", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const { bob } = await pair(it);
  assert.equal(bob.socket._pid, undefined);
  assert.equal(bob.events.find(({ name }) => name === "message:new").args.length, 1);
});

async function recovering(t, options) {
  const it = await cluster(t, options);
  await proving(it);
  return it;
}

/** A node that has just joined the others knows of no message that it missed before, and proves nothing until it has looked. */
async function proving(it) {
  const ask = async (node, at) => {
    const auth = it.auth === "jwt" ? (userId) => token(userId).then((token) => ({ auth: { token } })) : () => ({});
    const [speaker, listener] = await Promise.all(["speaker", "listener"].map(async (role) => it.connect(`${role}-${node.id}`, { at, ...(await auth(`${role}-${node.id}`)) })));
    for (const each of [speaker, listener]) await each.join(`proof-${node.id}`);
    let said = 0;
    await eventually(async () => {
      await say(speaker, `proof-${node.id}`, (said += 1));
      await heard(listener, ...upTo(said));
      assert.notEqual(listener.socket._lastOffset, "-");
    }, WAIT_MS);
    for (const each of [speaker, listener]) await each.close();
  };
  await Promise.all(it.nodes.map(ask));
}

async function pair(it) {
  const [ada, bob] = [await it.connect("ada", { at: 0 }), await it.connect("bob", { at: 0 })];
  for (const each of [ada, bob]) await each.join("general");
  await say(ada, "general", 1);
  await heard(bob, 1);
  return { ada, bob };
}

async function say(client, conversationId, content) {
  return client.request("message:send", { conversationId, content: `${content}` });
}

function upTo(last) {
  return Array.from({ length: last }, (_, index) => index + 1);
}

function contents(client) {
  return client.received("message:new").map(({ content }) => content);
}

/** The client has got exactly these, or does so soon. */
async function heard(client, ...expected) {
  const texts = expected.map(String);
  await eventually(() => assert.ok(contents(client).length >= texts.length, `${contents(client).length} of ${texts.length}`), WAIT_MS);
  assert.deepEqual(contents(client), texts);
}

/** The connection ends as by a broken cable: nobody says anything. */
async function cut(client) {
  const closed = new Promise((resolve) => client.socket.once("disconnect", resolve));
  client.socket.io.engine.transport.ws._socket.destroy();
  await closed;
}

async function comeBack(client, node) {
  client.socket.io.uri = node.url;
  await client.open();
}

async function withRedis(it, work) {
  const redis = createClient({ url: it.redis.url });
  await redis.connect();
  try {
    return await work(redis);
  } finally {
    redis.destroy();
  }
}

/** The rooms that the store has of a session, but its user's own; `undefined` when there is no session. */
async function roomsOf(redis, client) {
  const session = await sessionOf(redis, client);
  return session && Object.keys(session).filter((room) => !room.startsWith("user:"));
}

/** Where a session is, and from where on it was owed what is stored there. */
async function sessionOf(redis, client) {
  const script = `
    for _, key in ipairs(redis.call('KEYS', 'trunkline:*:sessions:*')) do
      local found = redis.call('HGET', key, ARGV[1])
      if found then return cjson.encode(cmsgpack.unpack(found)[4]) end
    end
    for _, key in ipairs(redis.call('KEYS', 'trunkline:*:detached:' .. ARGV[1])) do
      return cjson.encode(cmsgpack.unpack(redis.call('GET', key))[4])
    end`;
  const found = await redis.eval(script, { arguments: [client.socket._pid] });
  return found ? JSON.parse(found) : undefined;
}

/** What a client was answered when it joined a room is written. */
async function noted(it, client, room) {
  await withRedis(it, (redis) =>
    eventually(async () => assert.match((await sessionOf(redis, client))?.[room]?.[0] ?? "?", /^[0-9a-f]+$/), WAIT_MS),
  );
}
