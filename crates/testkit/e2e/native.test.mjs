/** The native vocabulary beyond plain messages: receipts, edits, inboxes, documents, notifications, calls, tokens, realms. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { cluster, JWT_SECRET, sharedCluster } from "./cluster.mjs";
import { within } from "./eventually.mjs";

describe("native on two nodes", { timeout: 240_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--namespaces", "/=native,/dynamic-{name}=native,/notifications=native"] });
  });
  after(() => it?.stop());

  const pair = async (name) => {
    const [ada, bob] = [await it.connect(`${name}-ada`, { at: 0 }), await it.connect(`${name}-bob`, { at: 1 })];
    for (const each of [ada, bob]) await each.join(name);
    return [ada, bob];
  };

  test("an edit and a deletion by the sender reach the others, and history shows how things stand", { timeout: 30_000 }, async () => {
    const [ada, bob] = await pair("edits");
    const sent = await ada.request("message:send", { conversationId: "edits", content: "helo", type: "text" });
    const edited = await ada.request("message:edit", { conversationId: "edits", messageId: sent.messageId, content: "hello" });
    assert.equal(edited.seq, sent.seq + 1, "an edit has a place of its own");
    const heard = await bob.next("message:edited");
    assert.deepEqual([heard.messageId, heard.content, heard.seq, heard.senderId], [sent.messageId, "hello", edited.seq, "edits-ada"]);
    const shown = await bob.request("message:history", { conversationId: "edits" });
    assert.deepEqual(shown.messages.map(({ content, editedSeq }) => [content, editedSeq]), [["hello", edited.seq]]);
    assert.deepEqual(shown.changes.map(({ kind, seq }) => [kind, seq]), [["edited", edited.seq]]);

    const gone = await ada.request("message:delete", { conversationId: "edits", messageId: sent.messageId });
    assert.equal((await bob.next("message:deleted")).messageId, sent.messageId);
    const { messages, changes } = await bob.request("message:history", { conversationId: "edits" });
    assert.deepEqual([messages[0].content, messages[0].deleted], ["", true]);
    assert.ok(changes.every(({ content }) => !content), "what was taken back is not given out");
    assert.equal(changes.at(-1).seq, gone.seq);
    assert.equal(ada.received("message:edited").length + ada.received("message:deleted").length, 0);
  });

  test("nobody changes somebody else's message, nor one that is gone or never was", { timeout: 30_000 }, async () => {
    const [ada, bob] = await pair("foreign");
    const { messageId } = await ada.request("message:send", { conversationId: "foreign", content: "mine" });
    await bob.refusedRequest("forbidden", "message:edit", { conversationId: "foreign", messageId, content: "yours" });
    await bob.refusedRequest("forbidden", "message:delete", { conversationId: "foreign", messageId });
    for (const wrong of ["nonsense", "foreign:none:1", messageId.replace(/\d+$/, "999"), "elsewhere:abc:1"]) {
      await ada.refusedRequest("not_found", "message:edit", { conversationId: "foreign", messageId: wrong, content: "x" });
    }
    await ada.request("message:delete", { conversationId: "foreign", messageId });
    await ada.refusedRequest("not_found", "message:edit", { conversationId: "foreign", messageId, content: "again" });
    assert.equal(bob.received("message:edited").length, 0);
  });

  test("receipts go to the real sender and show in the status", { timeout: 30_000 }, async () => {
    const [ada, bob] = await pair("seen");
    const { messageId, seq } = await ada.request("message:send", { conversationId: "seen", content: "look" });
    const status = () => ada.request("message:status", { conversationId: "seen", messageId });
    assert.deepEqual([(await status()).status, (await status()).readBy], ["sent", []]);
    await bob.request("message:delivered", { conversationId: "seen", seq });
    assert.deepEqual(await ada.next("message:delivered"), { conversationId: "seen", seq, userId: "seen-bob" });
    assert.deepEqual([(await status()).status, (await status()).deliveredTo], ["delivered", ["seen-bob"]]);
    await bob.request("message:read", { messageId, senderId: "somebody-else" });
    const read = await ada.next("message:read");
    assert.deepEqual([read.messageId, read.readBy, read.conversationId], [messageId, "seen-bob", "seen"]);
    assert.deepEqual([(await status()).status, (await status()).readBy], ["read", ["seen-bob"]]);
    await bob.refusedRequest("not_found", "message:read", { messageId: messageId.replace(/\d+$/, "99") });
    await bob.refusedRequest("not_found", "message:delivered", { conversationId: "seen", seq: 99 });
  });

  test("conversations are listed with their last message and what is unread", { timeout: 30_000 }, async () => {
    const [ada, bob] = await pair("listed");
    for (const content of ["one", "two"]) await ada.request("message:send", { conversationId: "listed", content });
    const { conversations } = await bob.request("conversation:list", {});
    const entry = conversations.find(({ conversationId }) => conversationId === "listed");
    assert.deepEqual([entry.lastMessage.content, entry.unread], ["two", 2]);
    await bob.request("message:read", { messageId: entry.lastMessage.id });
    const again = await bob.request("conversation:list");
    assert.equal(again.conversations.find(({ conversationId }) => conversationId === "listed").unread, 0);
    await bob.refusedRequest("invalid", "conversation:list", { cursor: "not ours" });
  });

  test("what a user missed comes once, in order, and the sender hears that it came", { timeout: 40_000 }, async () => {
    const ada = await it.connect("missed-ada", { at: 0 });
    const sent = [];
    for (const content of ["first", "second"]) {
      sent.push(await ada.request("private:message", { recipientUserId: "missed-bob", content }));
    }
    const { id } = await ada.request("notification:send", { userId: "missed-bob", title: "hi", message: "there", data: { n: 1 } });
    const bob = await it.connect("missed-bob", { at: 1 });
    const { messages, complete } = await bob.request("messages:missed", {});
    assert.deepEqual(messages.map((item) => item.id), [sent[0].messageId, sent[1].messageId, id]);
    assert.deepEqual(messages.map(({ kind }) => kind), ["message", "message", "notification"]);
    assert.deepEqual([messages[0].content, messages[2].data, complete], ["first", { n: 1 }, true]);
    await ada.next("message:delivered", ({ seq }) => seq === sent[1].seq);
    const status = await ada.request("message:status", { conversationId: "dm:missed-ada:missed-bob", messageId: sent[0].messageId });
    assert.deepEqual(status.deliveredTo, ["missed-bob"]);
    assert.deepEqual((await bob.request("messages:missed", {})).messages, []);
  });

  test("a notification reaches all devices of its user and nobody else", { timeout: 30_000 }, async () => {
    const [ada, eve] = [await it.connect("n-ada", { at: 0 }), await it.connect("n-eve", { at: 1 })];
    const bobs = [await it.connect("n-bob", { at: 0 }), await it.connect("n-bob", { at: 1 })];
    const { id } = await ada.request("notification:send", { userId: "n-bob", title: "t", message: "m", type: "alert" });
    for (const bob of bobs) {
      const { timestamp, ...rest } = await bob.next("notification");
      assert.deepEqual(rest, { id, senderId: "n-ada", type: "alert", title: "t", message: "m" });
    }
    await ada.request("notification:send", { userId: "n-eve", title: "marker", message: "" });
    await eve.next("notification", ({ title }) => title === "marker");
    assert.equal(eve.received("notification").length, 1);
  });

  test("edits of a document on two nodes end with the same content everywhere", { timeout: 40_000 }, async () => {
    const [ada, bob] = [await it.connect("d-ada", { at: 0 }), await it.connect("d-bob", { at: 1 })];
    for (const each of [ada, bob]) {
      assert.deepEqual(await each.request("document:join", { documentId: "plan" }), { success: true, content: "", version: 0 });
    }
    assert.equal((await ada.request("document:edit", { documentId: "plan", content: "a", cursorPosition: { line: 1 } })).version, 1);
    const edit = await bob.next("document:edited");
    assert.deepEqual(edit, { documentId: "plan", content: "a", version: 1, cursorPosition: { line: 1 }, userId: "d-ada" });
    assert.equal(ada.received("document:edited").length, 0, "the editor knows what it wrote");

    // A naive editor: it shows what it wrote or heard last.
    const shown = new Map([[ada, "a"], [bob, "a"]]);
    for (const each of [ada, bob]) each.socket.on("document:edited", ({ content }) => shown.set(each, content));
    const writes = Array.from({ length: 40 }, (_, n) => [ada, bob][n % 2]).map((each, n) => {
      shown.set(each, `text ${n}`);
      return each.request("document:edit", { documentId: "plan", content: `text ${n}` });
    });
    const versions = (await Promise.all(writes)).map(({ version }) => version);
    assert.deepEqual([...versions].sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n + 2), "each write has a version of its own");
    const third = await it.connect("d-eve", { at: 0 });
    const { content, version } = await third.request("document:join", { documentId: "plan" });
    assert.equal(version, 41);
    await ada.request("document:cursor", { documentId: "plan", position: 7 });
    await within((async () => {
      while (shown.get(ada) !== content || shown.get(bob) !== content) await new Promise((r) => setTimeout(r, 20));
    })(), 8_000, `ada shows ${shown.get(ada)}, bob ${shown.get(bob)}, stored is ${content}`);
    assert.deepEqual(await third.next("document:cursor"), { documentId: "plan", userId: "d-ada", position: 7 });
  });

  test("an edit based on an old version is told what the document holds", { timeout: 30_000 }, async () => {
    const ada = await it.connect("base-ada", { at: 0 });
    await ada.request("document:edit", { documentId: "based", content: "one", baseVersion: 0 });
    const ack = await ada.refusedRequest("conflict", "document:edit", { documentId: "based", content: "two", baseVersion: 0 });
    assert.deepEqual([ack.content, ack.version, ack.retryable], ["one", 1, false]);
    assert.equal((await ada.request("document:edit", { documentId: "based", content: "two", baseVersion: 1 })).version, 2);
    await ada.refusedRequest("forbidden", "document:cursor", { documentId: "never-joined", position: 1 });
  });

  test("watching someone tells when they come and go", { timeout: 40_000 }, async () => {
    const watcher = await it.connect("watching", { at: 0 });
    const { users } = await watcher.request("presence:watch", { userIds: ["watched"] });
    assert.deepEqual([users[0].userId, users[0].online], ["watched", false]);
    const watched = await it.connect("watched", { at: 1 });
    await watcher.next("user:online", ({ userId }) => userId === "watched");
    await watched.close();
    await watcher.next("user:offline", ({ userId }) => userId === "watched", 15_000);
    await watcher.request("presence:unwatch", { userIds: ["watched"] });
    await watcher.refusedRequest("too_large", "presence:watch", { userIds: Array.from({ length: 1001 }, (_, n) => `u${n}`) });
  });

  test("calls and uploads pass between clients", { timeout: 30_000 }, async () => {
    const [ada, bob] = await pair("passing");
    await ada.request("call:signal", { userId: "passing-bob", data: { sdp: "offer" } });
    assert.deepEqual(await bob.next("call:signal"), { from: "passing-ada", data: { sdp: "offer" } });
    await ada.request("upload:progress", { conversationId: "passing", uploadId: "u", fileName: "a.png", percent: 50 });
    assert.deepEqual(await bob.next("upload:progress"), { conversationId: "passing", uploadId: "u", fileName: "a.png", percent: 50, userId: "passing-ada" });
    await ada.refusedRequest("invalid", "upload:progress", { conversationId: "passing", uploadId: "u", fileName: "a.png", percent: 101 });
  });

  test("a dynamic namespace has users, conversations and messages of its own", { timeout: 40_000 }, async () => {
    const namespaced = async (userId, at, name) => {
      const made = it.client(userId, { at });
      made.socket.io.opts.query = { userId };
      const socket = made.socket.io.socket(name);
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject).connect());
      return socket;
    };
    const [ada, bob, other] = [await namespaced("r-ada", 0, "/dynamic-one"), await namespaced("r-bob", 1, "/dynamic-one"), await namespaced("r-eve", 1, "/dynamic-two")];
    const inbox = new Map([ada, bob, other].map((socket) => [socket, []]));
    for (const [socket, heard] of inbox) {
      socket.on("message:new", (message) => heard.push(message.content));
      assert.equal((await socket.timeout(8_000).emitWithAck("conversation:join", "general")).success, true);
    }
    await ada.timeout(8_000).emitWithAck("message:send", { conversationId: "general", content: "one" });
    await other.timeout(8_000).emitWithAck("message:send", { conversationId: "general", content: "two" });
    const history = async (socket) => (await socket.timeout(8_000).emitWithAck("message:history", { conversationId: "general" })).messages.map(({ content }) => content);
    assert.deepEqual([await history(bob), await history(other)], [["one"], ["two"]]);
    await within((async () => {
      while (inbox.get(bob).length === 0) await new Promise((r) => setTimeout(r, 20));
    })(), 8_000, "hearing within the realm");
    assert.deepEqual([inbox.get(bob), inbox.get(other)], [["one"], []]);
    const { count } = await other.timeout(8_000).emitWithAck("get:online:count");
    assert.equal(count, 1);
    await assert.rejects(namespaced("r-ada", 0, "/undynamic"), /Invalid namespace/);
    for (const socket of [ada, bob, other]) socket.io.engine.close();
  });

  test("in a namespace for pushes clients only listen", { timeout: 30_000 }, async () => {
    const ada = it.client("push-ada", { at: 0 });
    ada.socket.io.opts.query = { userId: "push-ada" };
    const socket = ada.socket.io.socket("/notifications");
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject).connect());
    const heard = new Promise((resolve) => socket.once("notification", resolve));
    const ack = await socket.timeout(8_000).emitWithAck("message:send", { conversationId: "x", content: "y" });
    assert.deepEqual([ack.success, ack.error], [false, "forbidden"]);
    const sender = await it.connect("push-sender", { at: 1 });
    await sender.request("notification:send", { userId: "push-ada", title: "t", message: "pushed" });
    assert.equal((await within(heard, 8_000, "the push")).message, "pushed");
    socket.io.engine.close();
  });

  const long = "x".repeat(10_000);
  const table = {
    "message:edit": [[{}], [{ conversationId: "x", messageId: "x:e:1" }], [{ conversationId: long, messageId: "x:e:1", content: "c" }], ["text"]],
    "message:delete": [[{}], [{ conversationId: 5, messageId: "x" }]],
    "message:delivered": [[{}], [{ conversationId: "x", seq: -1 }], [{ conversationId: "x", seq: "1" }], [{ conversationId: long, seq: 1 }]],
    "message:read": [[{}], [{ messageId: 5 }]],
    "message:status": [[{}], [{ conversationId: long, messageId: "m" }]],
    "messages:missed": [[{ limit: "many" }]],
    "conversation:list": [[{ limit: -1 }], [{ cursor: 5 }]],
    "presence:get": [[{}], [{ userIds: "x" }], [{ userIds: [1] }]],
    "presence:watch": [[{}], [{ userIds: [""] }], [{ userIds: [long] }]],
    "notification:send": [[{}], [{ userId: "u" }], [{ userId: long, title: "t", message: "m" }], [{ userId: "", title: "t", message: "m" }]],
    "document:join": [[{}], [{ documentId: "" }], [{ documentId: long }]],
    "document:edit": [[{ documentId: "d" }], [{ documentId: "d", content: 5 }], [{ documentId: long, content: "c" }], [{ documentId: "d", content: "c", baseVersion: -1 }]],
    "document:cursor": [[{ documentId: "d" }]],
    "call:signal": [[{}], [{ userId: "u" }], [{ userId: long, data: 1 }]],
    "upload:progress": [[{}], [{ conversationId: "x", uploadId: "", fileName: "f", percent: 1 }], [{ conversationId: "x", uploadId: "u", fileName: "f", percent: "half" }]],
    "typing:start": [[{}], [{ recipientUserId: long }]],
    "auth:refresh": [[{}], [{ token: 5 }], [{ token: "x" }]],
  };
  for (const [event, payloads] of Object.entries(table)) {
    test(`${event} explains what is wrong with its payload`, { timeout: 30_000 }, async () => {
      const ada = await it.connect("table-ada", { at: 0 });
      await ada.refusedRequest("invalid", event, ...(event === "messages:missed" || event === "conversation:list" ? [5] : []));
      for (const payload of payloads) await ada.refusedRequest("invalid", event, ...payload);
      await ada.request("get:online:count");
    });
  }

  test("what a client may not join it may not address, read or announce into", { timeout: 40_000 }, async () => {
    const [mallory, bob] = [await it.connect("mallory", { at: 0 }), await it.connect("guarded-bob", { at: 1 })];
    const rooms = ["user:guarded-bob", "doc:plan", "watch:guarded-bob", "dm:guarded-bob:zoe", bob.socket.id];
    for (const conversationId of rooms) {
      await mallory.refusedRequest("forbidden", "conversation:join", conversationId);
      await mallory.refusedRequest("forbidden", "conversation:members", { conversationId });
      await mallory.refusedRequest("forbidden", "message:send", { conversationId, content: "forged" });
      await mallory.refusedRequest("forbidden", "message:history", { conversationId });
      await mallory.refusedRequest("forbidden", "typing:start", { conversationId });
      await mallory.refusedRequest("forbidden", "upload:progress", { conversationId, uploadId: "u", fileName: "f", percent: 1 });
    }
    await mallory.request("private:message", { recipientUserId: "guarded-bob", content: "marker" });
    await bob.next("message:new", ({ content }) => content === "marker");
    assert.equal(bob.received("message:new").length, 1, "nothing forged arrived");
    assert.equal(bob.received("typing:start").length + bob.received("upload:progress").length, 0);
  });
});

describe("limits and tokens", { timeout: 120_000 }, () => {
  test("a socket that sends too much is refused, and closed when it never stops", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1, flags: ["--rate-limit", "10/20"] });
    const ada = await it.connect("eager", { at: 0 });
    const acks = await Promise.all(Array.from({ length: 40 }, () => ada.ask("get:online:count")));
    const refused = acks.filter(({ success }) => !success);
    assert.ok(refused.length >= 15, `${refused.length} refused`);
    for (const { error, retryable } of refused) assert.deepEqual([error, retryable], ["rate_limited", true]);
    for (let n = 0; n < 400; n += 1) ada.socket.emit("get:online:count");
    await within(ada.disconnected, 8_000, "being disconnected");
    assert.equal(ada.received("error").at(-1).code, "rate_limited");
  });

  test("an open socket is told before its token ends, may renew it, and is closed when it has", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1, auth: "jwt", flags: ["--jwt-leeway", "1s"] });
    const [kept, lost] = [it.client(undefined, { at: 0, auth: { token: signed("tok-ada", 5) } }), it.client(undefined, { at: 0, auth: { token: signed("tok-bob", 5) } })];
    for (const each of [kept, lost]) {
      await each.connected();
      const { expiresAt } = await each.next("auth:expiring");
      assert.ok(Date.parse(expiresAt) > Date.now());
    }
    await kept.refusedRequest("unauthenticated", "auth:refresh", { token: "x.y.z" });
    await kept.refusedRequest("forbidden", "auth:refresh", { token: signed("somebody", 60) });
    const { expiresAt } = await kept.request("auth:refresh", { token: signed("tok-ada", 60) });
    assert.ok(Date.parse(expiresAt) > Date.now() + 50_000);
    await within(lost.disconnected, 15_000, "being closed");
    assert.equal(lost.received("error").at(-1).code, "token_expired");
    assert.equal(await lost.disconnected, "transport close", "a stock client comes back by itself");
    await kept.request("get:online:count");
  });

  test("by default only those whose token says so notify others", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1, auth: "jwt" });
    const [ada, admin] = [it.client(undefined, { at: 0, auth: { token: signed("p-ada", 60) } }), it.client(undefined, { at: 0, auth: { token: signed("p-admin", 60, { role: "admin" }) } })];
    for (const each of [ada, admin]) await each.connected();
    await ada.refusedRequest("forbidden", "notification:send", { userId: "p-admin", title: "t", message: "m" });
    await ada.request("notification:send", { userId: "p-ada", title: "to myself", message: "m" });
    await admin.request("notification:send", { userId: "p-ada", title: "from above", message: "m" });
    await ada.next("notification", ({ title }) => title === "from above");
  });
});

/** A token as any back end makes it. */
function signed(sub, seconds, claims = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + seconds, ...claims })}`;
  return `${text}.${createHmac("sha256", JWT_SECRET).update(text).digest("base64url")}`;
}
