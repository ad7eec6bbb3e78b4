/** A message reaches everyone in its conversation, on every node, whatever they are connected by. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { TRANSPORTS } from "./client.mjs";
import { sharedCluster } from "./cluster.mjs";

const BURST = 2_000;
/** More than an inbox holds, but no more refusals than an outbox holds: the sender reads only after it has sent. */
const FLOOD = 6_000;

describe("behind a balancer without sticky sessions", { timeout: 240_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 3, balancer: true });
  });
  after(() => it?.stop());

  for (const via of Object.keys(TRANSPORTS)) {
    test(`a message over ${via} reaches the other nodes and is acknowledged`, { timeout: 60_000 }, async () => {
      await isDelivered(await it.connectApart([`ada-${via}`, `grace-${via}`, `alan-${via}`], { via }));
    });

    test(`${BURST} messages in a burst over ${via} arrive in order on another node`, { timeout: 90_000 }, async () => {
      await keepsOrder(await it.connectApart([`sender-${via}`, `reader-${via}`], { via }));
    });
  }

  test("what is sent while polling gives way to a websocket keeps its order", { timeout: 60_000 }, async () => {
    await keepsOrderWhileUpgrading(it.client("changing", { via: "upgrade" }), await it.connect("watching"));
  });

  test("messages of several senders on several nodes have one order for everyone", { timeout: 60_000 }, async () => {
    const everyone = await it.connectApart(["one-a", "one-b", "one-c"]);
    const watcher = await it.connect("one-watcher");
    for (const each of [...everyone, watcher]) await each.join("one-order");
    const sends = everyone.flatMap((sender) =>
      Array.from({ length: 100 }, (_, n) => sender.request("message:send", { conversationId: "one-order", content: `${sender.userId} ${n}` })),
    );
    await Promise.all(sends);
    await watcher.next("message:new", ({ seq }) => seq === 300);
    assert.deepEqual(watcher.received("message:new").map(({ seq }) => seq), range(1, 300));
    for (const each of everyone) {
      await each.next("message:new", ({ senderId, content }) => content === last(watcher, each.userId) && senderId !== each.userId);
      const others = watcher.received("message:new").filter(({ senderId }) => senderId !== each.userId);
      assert.deepEqual(each.received("message:new").map(({ id }) => id), others.map(({ id }) => id));
    }
  });
});

describe("on two nodes", { timeout: 240_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2 });
  });
  after(() => it?.stop());

  for (const via of Object.keys(TRANSPORTS)) {
    test(`a message over ${via} from one node reaches the other and is acknowledged`, { timeout: 60_000 }, async () => {
      await isDelivered([await it.connect(`ada-${via}`, { at: 0, via }), await it.connect(`grace-${via}`, { at: 1, via })]);
    });

    test(`${BURST} messages in a burst over ${via} on one node arrive in order on the other`, { timeout: 90_000 }, async () => {
      await keepsOrder([await it.connect(`sender-${via}`, { at: 0, via }), await it.connect(`reader-${via}`, { at: 1, via })]);
    });
  }

  test("what is sent while polling gives way to a websocket on one node keeps its order", { timeout: 60_000 }, async () => {
    await keepsOrderWhileUpgrading(it.client("changing", { at: 0, via: "upgrade" }), await it.connect("watching", { at: 1 }));
  });

  test("a flood is refused beyond what can be served: every event is answered, what was accepted is in order", { timeout: 90_000 }, async () => {
    const [flooder, reader] = [await it.connect("flooder", { at: 0 }), await it.connect("dam", { at: 1 })];
    await reader.join("flood");
    const acks = await Promise.all(
      range(1, FLOOD).map((n) => flooder.socket.timeout(60_000).emitWithAck("message:send", { conversationId: "flood", content: `${n}` })),
    );
    const accepted = acks.flatMap(({ success }, index) => (success ? [index + 1] : []));
    const refused = acks.filter(({ success }) => !success);
    assert.ok(accepted.length > 0 && refused.length > 0, `${accepted.length} accepted, ${refused.length} refused`);
    for (const { error, retryable } of refused) assert.deepEqual([error, retryable], ["rate_limited", true]);
    await reader.next("message:new", ({ seq }) => seq === accepted.length, 30_000);
    assert.deepEqual(reader.received("message:new").map(({ content }) => Number(content)), accepted);
    assert.equal(flooder.socket.connected, true);
  });

  test("a message sent twice with one clientMessageId is stored and delivered once", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("ada", { at: 0 }), await it.connect("grace", { at: 1 })];
    for (const each of [ada, grace]) await each.join("twice");
    const message = { conversationId: "twice", content: "once", clientMessageId: "same" };
    const first = await ada.request("message:send", message);
    const again = await ada.request("message:send", message);
    assert.deepEqual([again.messageId, again.seq, again.duplicate], [first.messageId, first.seq, true]);
    const elsewhere = await it.connect("ada", { at: 1 });
    assert.equal((await elsewhere.request("message:send", message)).duplicate, true, "through another node too");
    await ada.request("message:send", { conversationId: "twice", content: "marker" });
    await grace.next("message:new", ({ content }) => content === "marker");
    assert.deepEqual(grace.received("message:new").map(({ content }) => content), ["once", "marker"]);
  });

  test("the sender's other sockets receive what one of them sent", { timeout: 20_000 }, async () => {
    const [desk, phone] = [await it.connect("tabs", { at: 0 }), await it.connect("tabs", { at: 1 })];
    for (const each of [desk, phone]) await each.join("own-tabs");
    const { messageId } = await desk.request("message:send", { conversationId: "own-tabs", content: "from the desk" });
    assert.equal((await phone.next("message:new")).id, messageId);
  });

  test("whoever joins later is given the last messages, and can page to the earlier ones", { timeout: 20_000 }, async () => {
    const writer = await it.connect("writer", { at: 0 });
    await writer.join("archive");
    for (let n = 1; n <= 60; n += 1) void writer.request("message:send", { conversationId: "archive", content: `${n}` });
    await writer.request("message:send", { conversationId: "archive", content: "61" });
    const reader = await it.connect("reader", { at: 1 });
    const joined = await reader.join("archive");
    assert.deepEqual(joined.messages.map(({ seq }) => seq), range(12, 61));
    assert.deepEqual([joined.seq, joined.conversationId], [61, "archive"]);
    assert.deepEqual(joined.members.map(({ userId }) => userId).sort(), ["reader", "writer"]);
    const earlier = await reader.request("message:history", { conversationId: "archive", before: 12 });
    assert.deepEqual(earlier.messages.map(({ seq }) => seq), range(1, 11));
    const missed = await reader.request("message:history", { conversationId: "archive", after: 20, limit: 5 });
    assert.deepEqual([missed.messages.map(({ seq }) => seq), missed.complete], [range(21, 25), false]);
  });

  test("a join with a position brings exactly what was missed", { timeout: 20_000 }, async () => {
    const [writer, reader] = [await it.connect("w2", { at: 0 }), await it.connect("r2", { at: 1 })];
    await writer.join("missed");
    await reader.join("missed");
    const { epoch, seq } = await writer.request("message:send", { conversationId: "missed", content: "seen" });
    await reader.next("message:new");
    await reader.close();
    for (const content of ["a", "b", "c"]) await writer.request("message:send", { conversationId: "missed", content });
    const back = await it.connect("r2", { at: 0 });
    const joined = await back.request("conversation:join", { conversationId: "missed", after: { epoch, seq } });
    assert.deepEqual([joined.messages.map(({ content }) => content), joined.complete], [["a", "b", "c"], true]);
  });

  test("joining and leaving are announced, and whoever left receives nothing more", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("ada-l", { at: 0 }), await it.connect("grace-l", { at: 1 })];
    await ada.join("door");
    await grace.join("door");
    assert.equal((await ada.next("member:joined")).userId, "grace-l");
    await grace.request("conversation:leave", { conversationId: "door" });
    const left = await ada.next("member:left");
    assert.deepEqual([left.conversationId, left.userId], ["door", "grace-l"]);
    const { members } = await ada.request("conversation:members", { conversationId: "door" });
    assert.deepEqual(members, [{ userId: "ada-l", sockets: 1 }]);
    await ada.request("message:send", { conversationId: "door", content: "gone?" });
    await ada.request("private:message", { recipientUserId: "grace-l", content: "marker" });
    await grace.next("message:new", ({ content }) => content === "marker");
    assert.deepEqual(grace.received("message:new").map(({ content }) => content), ["marker"]);
  });
});

/** The first of `clients` sends, the others answer. */
async function isDelivered(clients) {
  const [ada, ...others] = clients;
  const room = `talk-${ada.userId}`;
  for (const each of clients) await each.join(room);

  const payload = { conversationId: room, content: "hello 👋 ü", type: "text", clientMessageId: "m-1" };
  const ack = await ada.request("message:send", payload);
  assert.deepEqual([ack.seq, ack.duplicate, typeof ack.messageId, typeof ack.epoch], [1, false, "string", "string"]);
  assert.match(ack.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

  for (const other of others) {
    const { id, conversationId, senderId, content, type, clientMessageId, seq, epoch, timestamp } = await other.next("message:new");
    assert.deepEqual(
      { id, conversationId, senderId, content, type, clientMessageId, seq, epoch, timestamp },
      { ...payload, id: ack.messageId, senderId: ada.userId, seq: 1, epoch: ack.epoch, timestamp: ack.timestamp },
    );
    await other.request("message:send", { conversationId: room, content: `from ${other.userId}` });
  }
  for (const other of others) await ada.next("message:new", ({ senderId }) => senderId === other.userId);
  assert.equal(ada.received("message:new").length, others.length, "the sender does not get its own");
}

async function keepsOrder([sender, reader]) {
  const room = `burst-${sender.userId}`;
  await reader.join(room);
  const acks = Array.from({ length: BURST }, (_, n) => sender.request("message:send", { conversationId: room, content: `${n}` }));
  const seqs = (await Promise.all(acks)).map(({ seq }) => seq);
  assert.deepEqual(seqs, range(1, BURST), "the acks follow the order of sending");
  await reader.next("message:new", ({ seq }) => seq === BURST, 30_000);
  assert.deepEqual(reader.received("message:new").map(({ seq }) => seq), seqs);
  assert.deepEqual(reader.received("message:new").map(({ content }) => Number(content)), range(0, BURST - 1));
}

/** Begins to send before it is connected, and goes on while the transport changes. */
async function keepsOrderWhileUpgrading(sender, reader) {
  const conversationId = `upgrade-${reader.nodeId}`;
  await reader.join(conversationId);
  const acks = range(0, 299).map((n) => sender.ask("message:send", { conversationId, content: `${n}` }));
  sender.socket.connect();
  await sender.upgraded();
  const seqs = (await Promise.all(acks)).map(({ seq }) => seq);
  assert.deepEqual(seqs, range(1, 300));
  await reader.next("message:new", ({ seq }) => seq === 300);
  assert.deepEqual(reader.received("message:new").map(({ content }) => Number(content)), range(0, 299));
}

function last(watcher, userId) {
  return watcher.received("message:new").findLast(({ senderId }) => senderId !== userId)?.content;
}

function range(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}
