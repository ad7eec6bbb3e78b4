/** The `native` dialect: a client as its document writes it, and all that it has besides. Sender and receiver on different nodes. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { cluster, JWT_SECRET, sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { mayMissTheLastWord, nothing, saysGoodbye, speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 60_000 };

/** The document's client: `auth: {token}`, a greeting, messages, who types, who read, who comes and goes. */
function page(client) {
  const shown = { messages: [], typing: new Set(), readBy: new Map(), online: new Set(), joined: [] };
  const { socket } = client;
  socket.on("connected", (data) => (shown.confirmed = data));
  socket.on("message:new", (message) => shown.messages.push(message));
  socket.on("typing:start", ({ userId }) => shown.typing.add(userId));
  socket.on("typing:stop", ({ userId }) => shown.typing.delete(userId));
  socket.on("message:read", ({ messageId, readBy }) => shown.readBy.set(messageId, readBy));
  socket.on("user:online", ({ userId }) => shown.online.add(userId));
  socket.on("user:offline", ({ userId }) => shown.online.delete(userId));
  socket.on("user:joined", ({ userId, timestamp }) => shown.joined.push([userId, timestamp]));
  return Object.assign(client, { shown });
}

describe("native as its document has it", { timeout: 300_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=native", { auth: "jwt" })));
  after(() => it?.stop());

  for (const via of WAYS) describe(`over ${via}`, () => {
    const named = (name) => `${name}-${via}`;
    const open = async (name, at) => page(await it.make(named(name), { via, at })).open();

    test("the document's client: joining, sending, typing, reading, private messages", TEST, async () => {
      const [ada, grace] = [await open("ada", 0), await open("grace", 1)];
      await eventually(() => assert.equal(grace.shown.confirmed?.userId, named("grace")), 8_000);
      assert.equal(grace.shown.confirmed.socketId, grace.socket.id);
      const conversationId = named("chat-123");
      for (const each of [ada, grace]) {
        each.socket.emit("conversation:join", conversationId);
        await eventually(async () => {
          const { members } = await each.request("conversation:members", { conversationId });
          assert.ok(members.some(({ userId }) => userId === each.userId));
        }, 8_000);
      }
      ada.socket.emit("typing:start", { conversationId });
      await eventually(() => assert.ok(grace.shown.typing.has(named("ada"))), 8_000);
      ada.socket.emit("typing:stop", { conversationId });
      await eventually(() => assert.ok(!grace.shown.typing.has(named("ada"))), 8_000);

      const reply = await new Promise((resolve) => ada.socket.emit("message:send", { conversationId, content: "Hello everyone!" }, resolve));
      assert.equal(reply.success, true);
      await eventually(() => assert.equal(grace.shown.messages.length, 1), 8_000);
      const [message] = grace.shown.messages;
      assert.deepEqual([message.content, message.senderId, message.conversationId], ["Hello everyone!", named("ada"), conversationId]);
      assert.equal(message.id, reply.messageId);
      grace.socket.emit("message:read", { messageId: message.id, senderId: message.senderId });
      await eventually(() => assert.equal(ada.shown.readBy.get(reply.messageId), named("grace")), 8_000);

      grace.socket.emit("conversation:leave", conversationId);
      grace.socket.emit("private:message", { recipientUserId: named("ada"), content: "psst" });
      const { from, content } = await ada.next("message:new");
      assert.deepEqual([from, content], [named("grace"), "psst"]);
      ada.socket.emit("message:send", { conversationId, content: "gone?" });
      ada.socket.emit("private:message", { recipientUserId: named("grace"), content: "marker" });
      await grace.next("message:new", ({ content: text }) => text === "marker");
      nothing(grace, "message:new", ({ content: text }) => text === "gone?");
    });

    test("the document's client: who comes, who is online, how many, who goes", TEST, async () => {
      const ada = await open("counting", 0);
      const count = () => new Promise((resolve) => ada.socket.emit("get:online:count", resolve));
      const before = (await count()).count;
      const tabs = [await open("tabs", 1), await open("tabs", 0)];
      await eventually(() => assert.ok(ada.shown.online.has(named("tabs"))), 8_000);
      await eventually(() => assert.equal(ada.shown.joined.filter(([userId]) => userId === named("tabs")).length, 2), 8_000);
      assert.ok(ada.shown.joined.every(([, timestamp]) => !Number.isNaN(Date.parse(timestamp))));
      assert.equal((await count()).count, before + 1);
      for (const tab of tabs) await tab.close();
      await eventually(() => assert.ok(!ada.shown.online.has(named("tabs"))), 15_000);
      assert.equal((await count()).count, before);
    });
  });

  test("the health check of the document", TEST, async () => {
    const answer = await fetch(`${it.nodes[0].url}/api/socket/health`);
    const { status, socket } = await answer.json();
    assert.deepEqual([answer.status, status, socket.initialized, typeof socket.connected, typeof socket.rooms], [200, "ok", true, "number", "number"]);
  });

  test("without a token nobody gets in, nor with a wrong one", TEST, async () => {
    assert.equal(await it.refusal(undefined), "Authentication error: No token provided");
    assert.equal(await it.refusal("x", { auth: { token: "nonsense" } }), "Authentication error: Invalid token");
  });
});

describe("native on two nodes", { timeout: 480_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--namespaces", "/=native,/dynamic-{name}=native,/notifications=native"] });
  });
  after(() => it?.stop());

  for (const via of WAYS) describe(`over ${via}`, () => {
    const named = (name) => `${name}-${via}`;
    const connect = (name, at, options) => it.connect(named(name), { at, via, ...options });
    /** `<name>-ada` on one node and `<name>-bob` on the other, in the conversation `name`. */
    const pair = async (name) => {
      const [ada, bob] = [await connect(`${name}-ada`, 0), await connect(`${name}-bob`, 1)];
      for (const each of [ada, bob]) await each.join(named(name));
      return [ada, bob];
    };

    test("the greeting says who and where one is", TEST, async () => {
      const ada = await connect("greeted", 1);
      const { userId, socketId, nodeId, serverTime } = await ada.next("connected");
      assert.deepEqual([userId, socketId, nodeId], [named("greeted"), ada.socket.id, "node-2"]);
      assert.ok(Math.abs(Date.parse(serverTime) - Date.now()) < 60_000);
    });

    test("who comes into a conversation and who leaves it is told, and who is in it", TEST, async () => {
      const [ada, bob] = await pair("members");
      const conversationId = named("members");
      const { members } = await ada.request("conversation:members", { conversationId });
      assert.deepEqual(members.sort((a, b) => a.userId.localeCompare(b.userId)), [ada, bob].map(({ userId }) => ({ userId, sockets: 1 })));
      const { timestamp, ...joined } = await ada.next("member:joined");
      assert.deepEqual(joined, { conversationId, userId: bob.userId });
      assert.equal((await bob.request("conversation:leave", conversationId)).conversationId, conversationId);
      const left = await ada.next("member:left");
      assert.deepEqual([left.conversationId, left.userId], [conversationId, bob.userId]);
      assert.ok(left.timestamp >= timestamp);
    });

    test("a message has all its fields, and pages of history have it too", TEST, async () => {
      const [ada, bob] = await pair("fields");
      const conversationId = named("fields");
      const first = await ada.request("message:send", { conversationId, content: "one" });
      const sent = { conversationId, content: "two", type: "image", fileUrl: "https://x/y.png", fileName: "y.png", replyTo: first.messageId, clientMessageId: "c-2" };
      const { messageId, seq, epoch, timestamp, duplicate } = await ada.request("message:send", sent);
      assert.deepEqual([seq, epoch, duplicate], [2, first.epoch, false]);
      const heard = await bob.next("message:new", (message) => message.seq === 2);
      assert.deepEqual(heard, { ...sent, id: messageId, senderId: ada.userId, seq, epoch, timestamp });
      const page = await bob.request("message:history", { conversationId, after: 1 });
      assert.deepEqual([page.messages, page.seq, page.complete], [[heard], 2, true]);
      const earlier = await bob.request("message:history", { conversationId, before: 2, limit: 5 });
      assert.deepEqual(earlier.messages.map(({ content }) => content), ["one"]);
      const again = await (await connect("fields-eve", 0)).request("conversation:join", { conversationId, after: { epoch, seq: 1 }, limit: 10 });
      assert.deepEqual([again.messages, again.complete], [[heard], true]);
    });

    test("a socket that brings its cursors is given what it missed, then told that this was all", TEST, async () => {
      const [ada, bob] = await pair("cursors");
      const conversationId = named("cursors");
      const { epoch, seq } = await ada.request("message:send", { conversationId, content: "seen" });
      await bob.next("message:new");
      await bob.close();
      for (const content of ["a", "b"]) await ada.request("message:send", { conversationId, content });
      const back = await connect("cursors-bob", 0, { auth: { cursors: { [conversationId]: { epoch, seq }, [named("gone")]: { epoch: "of-another-log", seq: 40 } } } });
      const synced = await back.next("conversation:synced");
      assert.deepEqual(synced, { conversationId, epoch, seq: seq + 2, count: 2 });
      assert.deepEqual(back.received("message:new").map(({ content }) => content), ["a", "b"]);
      const reset = await back.next("conversation:reset");
      assert.deepEqual([reset.conversationId, reset.seq, reset.reason], [named("gone"), 0, "epoch"]);
      await ada.request("message:send", { conversationId, content: "live" });
      await back.next("message:new", ({ content }) => content === "live");
    });

    test("an edit and a deletion by the sender reach the others, and history shows how things stand", TEST, async () => {
      const [ada, bob] = await pair("edits");
      const conversationId = named("edits");
      const sent = await ada.request("message:send", { conversationId, content: "helo", type: "text" });
      const edited = await ada.request("message:edit", { conversationId, messageId: sent.messageId, content: "hello" });
      assert.equal(edited.seq, sent.seq + 1, "an edit has a place of its own");
      const heard = await bob.next("message:edited");
      assert.deepEqual([heard.messageId, heard.content, heard.seq, heard.senderId], [sent.messageId, "hello", edited.seq, ada.userId]);
      const shown = await bob.request("message:history", { conversationId });
      assert.deepEqual(shown.messages.map(({ content, editedSeq }) => [content, editedSeq]), [["hello", edited.seq]]);
      assert.deepEqual(shown.changes.map(({ kind, seq }) => [kind, seq]), [["edited", edited.seq]]);

      const gone = await ada.request("message:delete", { conversationId, messageId: sent.messageId });
      assert.equal((await bob.next("message:deleted")).messageId, sent.messageId);
      const { messages, changes } = await bob.request("message:history", { conversationId });
      assert.deepEqual([messages[0].content, messages[0].deleted], ["", true]);
      assert.ok(changes.every(({ content }) => !content), "what was taken back is not given out");
      assert.equal(changes.at(-1).seq, gone.seq);
      assert.equal(ada.received("message:edited").length + ada.received("message:deleted").length, 0);
    });

    test("nobody changes somebody else's message, nor one that is gone or never was", TEST, async () => {
      const [ada, bob] = await pair("foreign");
      const conversationId = named("foreign");
      const { messageId } = await ada.request("message:send", { conversationId, content: "mine" });
      await bob.refusedRequest("forbidden", "message:edit", { conversationId, messageId, content: "yours" });
      await bob.refusedRequest("forbidden", "message:delete", { conversationId, messageId });
      for (const wrong of ["nonsense", `${conversationId}:none:1`, messageId.replace(/\d+$/, "999"), "elsewhere:abc:1"]) {
        await ada.refusedRequest("not_found", "message:edit", { conversationId, messageId: wrong, content: "x" });
      }
      await ada.request("message:delete", { conversationId, messageId });
      await ada.refusedRequest("not_found", "message:edit", { conversationId, messageId, content: "again" });
      nothing(bob, "message:edited");
    });

    test("receipts go to the real sender and show in the status", TEST, async () => {
      const [ada, bob] = await pair("seen");
      const conversationId = named("seen");
      const { messageId, seq } = await ada.request("message:send", { conversationId, content: "look" });
      const status = () => ada.request("message:status", { conversationId, messageId });
      assert.deepEqual([(await status()).status, (await status()).readBy], ["sent", []]);
      await bob.request("message:delivered", { conversationId, seq });
      assert.deepEqual(await ada.next("message:delivered"), { conversationId, seq, userId: bob.userId });
      assert.deepEqual([(await status()).status, (await status()).deliveredTo], ["delivered", [bob.userId]]);
      await bob.request("message:read", { messageId, senderId: "somebody-else" });
      const read = await ada.next("message:read");
      assert.deepEqual([read.messageId, read.readBy, read.conversationId], [messageId, bob.userId, conversationId]);
      assert.deepEqual([(await status()).status, (await status()).readBy], ["read", [bob.userId]]);
      await bob.refusedRequest("not_found", "message:read", { messageId: messageId.replace(/\d+$/, "99") });
      await bob.refusedRequest("not_found", "message:delivered", { conversationId, seq: 99 });
    });

    test("conversations are listed with their last message and what is unread", TEST, async () => {
      const [ada, bob] = await pair("listed");
      for (const content of ["one", "two"]) await ada.request("message:send", { conversationId: named("listed"), content });
      const { conversations } = await bob.request("conversation:list", {});
      const entry = conversations.find(({ conversationId }) => conversationId === named("listed"));
      assert.deepEqual([entry.lastMessage.content, entry.unread], ["two", 2]);
      await bob.request("message:read", { messageId: entry.lastMessage.id });
      const again = await bob.request("conversation:list");
      assert.equal(again.conversations.find(({ conversationId }) => conversationId === named("listed")).unread, 0);
      await bob.refusedRequest("invalid", "conversation:list", { cursor: "not ours" });
    });

    test("a private message reaches all sockets of its recipient, and is kept for one who is away", TEST, async () => {
      const ada = await connect("pm-ada", 0);
      const bobs = [await connect("pm-bob", 1), await connect("pm-bob", 0)];
      const ack = await ada.request("private:message", { recipientUserId: named("pm-bob"), content: "psst" });
      for (const bob of bobs) {
        const { id, from, recipientUserId, conversationId } = await bob.next("message:new");
        assert.deepEqual([id, from, recipientUserId, conversationId], [ack.messageId, ada.userId, named("pm-bob"), `dm:${ada.userId}:${named("pm-bob")}`]);
      }
      await ada.request("private:message", { recipientUserId: named("pm-away"), content: "later" });
      const away = await connect("pm-away", 1);
      const { messages } = await away.request("messages:missed");
      assert.deepEqual(messages.map(({ kind, content, from }) => [kind, content, from]), [["message", "later", ada.userId]]);
    });

    test("what a user missed comes once, in order, and the sender hears that it came", TEST, async () => {
      const ada = await connect("missed-ada", 0);
      const sent = [];
      for (const content of ["first", "second"]) {
        sent.push(await ada.request("private:message", { recipientUserId: named("missed-bob"), content }));
      }
      const { id } = await ada.request("notification:send", { userId: named("missed-bob"), title: "hi", message: "there", data: { n: 1 } });
      const bob = await connect("missed-bob", 1);
      const { messages, complete } = await bob.request("messages:missed", {});
      assert.deepEqual(messages.map((item) => item.id), [sent[0].messageId, sent[1].messageId, id]);
      assert.deepEqual(messages.map(({ kind }) => kind), ["message", "message", "notification"]);
      assert.deepEqual([messages[0].content, messages[2].data, complete], ["first", { n: 1 }, true]);
      await ada.next("message:delivered", ({ seq }) => seq === sent[1].seq);
      const conversationId = `dm:${named("missed-ada")}:${named("missed-bob")}`;
      const status = await ada.request("message:status", { conversationId, messageId: sent[0].messageId });
      assert.deepEqual(status.deliveredTo, [named("missed-bob")]);
      assert.deepEqual((await bob.request("messages:missed", {})).messages, []);
    });

    test("typing reaches the others in a conversation, or one person, and stops by itself", TEST, async () => {
      const [ada, bob] = await pair("typing");
      const eve = await connect("typing-eve", 1);
      const conversationId = named("typing");
      await ada.request("typing:start", { conversationId });
      assert.deepEqual(await bob.next("typing:start"), { userId: ada.userId, conversationId });
      const begun = performance.now();
      assert.deepEqual(await bob.next("typing:stop", undefined, 10_000), { userId: ada.userId, conversationId });
      assert.ok(performance.now() - begun > 3_500, "not before the writer could have said more");
      await bob.request("typing:start", { recipientUserId: eve.userId });
      assert.equal((await eve.next("typing:start")).userId, bob.userId);
      nothing(ada, "typing:start");
      await bob.close();
      await eve.next("typing:stop", ({ userId }) => userId === bob.userId, 3_000);
    });

    test("a notification reaches all devices of its user and nobody else", TEST, async () => {
      const [ada, eve] = [await connect("n-ada", 0), await connect("n-eve", 1)];
      const bobs = [await connect("n-bob", 0), await connect("n-bob", 1)];
      const { id } = await ada.request("notification:send", { userId: named("n-bob"), title: "t", message: "m", type: "alert" });
      for (const bob of bobs) {
        const { timestamp, ...rest } = await bob.next("notification");
        assert.deepEqual(rest, { id, senderId: ada.userId, type: "alert", title: "t", message: "m" });
        assert.ok(!Number.isNaN(Date.parse(timestamp)));
      }
      await ada.request("notification:send", { userId: eve.userId, title: "marker", message: "" });
      await eve.next("notification", ({ title }) => title === "marker");
      assert.equal(eve.received("notification").length, 1);
    });

    test("edits of a document on two nodes end with the same content everywhere", TEST, async () => {
      const documentId = named("plan");
      const [ada, bob] = [await connect("d-ada", 0), await connect("d-bob", 1)];
      for (const each of [ada, bob]) {
        assert.deepEqual(await each.request("document:join", { documentId }), { success: true, content: "", version: 0 });
      }
      assert.equal((await ada.request("document:edit", { documentId, content: "a", cursorPosition: { line: 1 } })).version, 1);
      const edit = await bob.next("document:edited");
      assert.deepEqual(edit, { documentId, content: "a", version: 1, cursorPosition: { line: 1 }, userId: ada.userId });
      nothing(ada, "document:edited");

      // A naive editor: it shows what it wrote or heard last.
      const shown = new Map([[ada, "a"], [bob, "a"]]);
      for (const each of [ada, bob]) each.socket.on("document:edited", ({ content }) => shown.set(each, content));
      const writes = Array.from({ length: 40 }, (_, n) => [ada, bob][n % 2]).map((each, n) => {
        shown.set(each, `text ${n}`);
        return each.request("document:edit", { documentId, content: `text ${n}` });
      });
      const versions = (await Promise.all(writes)).map(({ version }) => version);
      assert.deepEqual([...versions].sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n + 2), "each write has a version of its own");
      const third = await connect("d-eve", 0);
      const { content, version } = await third.request("document:join", { documentId });
      assert.equal(version, 41);
      await eventually(() => assert.deepEqual([shown.get(ada), shown.get(bob)], [content, content]), 8_000);
      await ada.request("document:cursor", { documentId, position: 7 });
      assert.deepEqual(await third.next("document:cursor"), { documentId, userId: ada.userId, position: 7 });
      await third.request("document:leave", { documentId });
      await ada.request("document:edit", { documentId, content: "without the third" });
      await bob.next("document:edited", (edited) => edited.content === "without the third");
      await ada.request("private:message", { recipientUserId: third.userId, content: "marker" });
      await third.next("message:new");
      nothing(third, "document:edited");
    });

    test("edits with a base version on two nodes: one of two is told of the conflict, and by that all end alike", TEST, async () => {
      const documentId = named("based");
      const [ada, bob] = [await connect("base-ada", 0), await connect("base-bob", 1)];
      const screens = new Map();
      for (const each of [ada, bob]) {
        const { content, version } = await each.request("document:join", { documentId });
        screens.set(each, { content, version });
        each.socket.on("document:edited", ({ content: newer, version: of }) => of > screens.get(each).version && screens.set(each, { content: newer, version: of }));
      }
      let conflicts = 0;
      // Each adds its own words to the text that it knows, and does so again with what the conflict says.
      const write = async (each, word) => {
        for (;;) {
          const { content, version } = screens.get(each);
          const text = `${content} ${word}`;
          const ack = await each.ask("document:edit", { documentId, content: text, baseVersion: version });
          if (ack.success) return ack.version > screens.get(each).version && screens.set(each, { content: text, version: ack.version });
          assert.deepEqual([ack.error, ack.retryable, typeof ack.content], ["conflict", false, "string"]);
          conflicts += 1;
          if (ack.version > screens.get(each).version) screens.set(each, { content: ack.content, version: ack.version });
        }
      };
      await Promise.all([ada, bob].map(async (each, which) => {
        for (let n = 0; n < 10; n += 1) await write(each, `${which}.${n}`);
      }));
      const { content, version } = await ada.request("document:join", { documentId });
      assert.equal(version, 20);
      assert.deepEqual(content.trim().split(" ").sort(), [0, 1].flatMap((which) => Array.from({ length: 10 }, (_, n) => `${which}.${n}`)), "nobody's words are lost");
      await eventually(() => [ada, bob].forEach((each) => assert.deepEqual(screens.get(each), { content, version })), 8_000);
      assert.ok(conflicts > 0, "they met");
      const stale = await bob.refusedRequest("conflict", "document:edit", { documentId, content: "stale", baseVersion: 3 });
      assert.deepEqual([stale.content, stale.version], [content, version]);
      await bob.refusedRequest("forbidden", "document:cursor", { documentId: named("never-joined"), position: 1 });
    });

    test("who is online can be asked for, listed and watched", TEST, async () => {
      const watcher = await connect("watching", 0);
      const { users } = await watcher.request("presence:watch", { userIds: [named("watched")] });
      assert.deepEqual([users[0].userId, users[0].online], [named("watched"), false]);
      const watched = await connect("watched", 1);
      await watcher.next("user:online", ({ userId }) => userId === watched.userId);
      const seen = await watcher.request("presence:get", { userIds: [named("watched"), named("nobody")] });
      assert.deepEqual(seen.users.map(({ userId, online, sockets }) => [userId, online, sockets]), [[named("watched"), true, 1], [named("nobody"), false, 0]]);
      const listed = new Set();
      let page = await watcher.request("presence:list", { limit: 2 });
      const { count } = page;
      for (;;) {
        page.users.forEach(({ userId }) => listed.add(userId));
        if (page.cursor === null) break;
        page = await watcher.request("presence:list", { limit: 2, cursor: page.cursor });
      }
      assert.ok(listed.has(named("watched")) && listed.has(named("watching")));
      assert.ok(count >= 2 && (await watcher.request("get:online:count")).count >= 2);
      await watched.close();
      const { lastSeen } = await watcher.next("user:offline", ({ userId }) => userId === watched.userId, 15_000);
      assert.ok(Math.abs(Date.parse(lastSeen) - Date.now()) < 60_000);
      await watcher.request("presence:unwatch", { userIds: [named("watched")] });
      await watcher.refusedRequest("too_large", "presence:watch", { userIds: Array.from({ length: 1001 }, (_, n) => `u${n}`) });
    });

    test("calls and uploads pass between clients", TEST, async () => {
      const [ada, bob] = await pair("passing");
      await ada.request("call:signal", { userId: bob.userId, data: { sdp: "offer" } });
      assert.deepEqual(await bob.next("call:signal"), { from: ada.userId, data: { sdp: "offer" } });
      const upload = { conversationId: named("passing"), uploadId: "u", fileName: "a.png", percent: 50 };
      await ada.request("upload:progress", upload);
      assert.deepEqual(await bob.next("upload:progress"), { ...upload, userId: ada.userId });
      await ada.refusedRequest("invalid", "upload:progress", { ...upload, percent: 101 });
    });

    test("without an ack a failure is an error event", TEST, async () => {
      const ada = await connect("unasked", 0);
      ada.socket.emit("message:send", { conversationId: "x" });
      const { code, message, event, retryable } = await ada.next("error");
      assert.deepEqual([code, event, retryable, typeof message], ["invalid", "message:send", false, "string"]);
    });

    test("a dynamic namespace has users, conversations and messages of its own", TEST, async () => {
      const to = ["one", "two"].map((name) => `/dynamic-${name}-${via}`);
      const [ada, bob, other] = [await connect("r-ada", 0, { to: to[0] }), await connect("r-bob", 1, { to: to[0] }), await connect("r-eve", 1, { to: to[1] })];
      for (const each of [ada, bob, other]) await each.join("general");
      await ada.request("message:send", { conversationId: "general", content: "one" });
      await other.request("message:send", { conversationId: "general", content: "two" });
      const history = async (each) => (await each.request("message:history", { conversationId: "general" })).messages.map(({ content }) => content);
      assert.deepEqual([await history(bob), await history(other)], [["one"], ["two"]]);
      assert.equal((await bob.next("message:new")).content, "one");
      nothing(other, "message:new");
      assert.equal((await other.request("get:online:count")).count, 1);
      const refused = await it.client(named("r-ada"), { at: 0, via, to: "/undynamic" }).refused();
      assert.match(refused.message, /Invalid namespace/);
    });

    test("in a namespace for pushes clients only listen", TEST, async () => {
      const [ada, sender] = [await connect("push-ada", 0, { to: "/notifications" }), await connect("push-sender", 1)];
      await ada.refusedRequest("forbidden", "message:send", { conversationId: "x", content: "y" });
      await sender.request("notification:send", { userId: ada.userId, title: "t", message: "pushed" });
      assert.equal((await ada.next("notification")).message, "pushed");
    });
  });
});

describe("limits, tokens and the end", { timeout: 240_000 }, () => {
  for (const via of WAYS) describe(`over ${via}`, () => {
    test("a socket that sends too much is refused, and closed when it never stops", TEST, async (t) => {
      const it = await cluster(t, { nodes: 1, flags: ["--rate-limit", "10/20"] });
      const ada = await it.connect("eager", { at: 0, via });
      const acks = await Promise.all(Array.from({ length: 40 }, () => ada.ask("get:online:count")));
      const refused = acks.filter(({ success }) => !success);
      assert.ok(refused.length >= 15, `${refused.length} refused`);
      for (const { error, retryable } of refused) assert.deepEqual([error, retryable], ["rate_limited", true]);
      for (let n = 0; n < 400; n += 1) ada.socket.emit("get:online:count");
      await within(ada.disconnected, 8_000, "being disconnected");
      const lastWord = ada.received("error").at(-1)?.code;
      if (lastWord !== undefined || !mayMissTheLastWord(via)) assert.equal(lastWord, "rate_limited");
    });

    test("an open socket is told before its token ends, may renew it, and is closed when it has", TEST, async (t) => {
      const it = await cluster(t, { nodes: 1, auth: "jwt", flags: ["--jwt-leeway", "1s"] });
      const [kept, lost] = ["tok-ada", "tok-bob"].map((user) => it.client(undefined, { at: 0, via, auth: { token: signed(user, 5) } }));
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
      // Which of the two it is over polling depends on whether a poll waits. A stock client comes back by itself after both.
      assert.match(await lost.disconnected, /^transport (close|error)$/);
      await kept.request("get:online:count");
    });

    test("a cursor that the log no longer reaches back to is told so", TEST, async (t) => {
      const it = await cluster(t, { nodes: 2, flags: ["--log-max-entries", "10"] });
      const ada = await it.connect("trim-ada", { at: 0, via });
      const { epoch } = await ada.request("message:send", { conversationId: "trimmed", content: "0" });
      // Trimming is by whole blocks of the stream.
      for (let n = 1; n <= 300; n += 1) void ada.request("message:send", { conversationId: "trimmed", content: `${n}` });
      const { seq } = await ada.request("message:send", { conversationId: "trimmed", content: "last" });
      const bob = await it.connect("trim-bob", { at: 1, via, auth: { cursors: { trimmed: { epoch, seq: 1 } } } });
      assert.deepEqual(await bob.next("conversation:reset"), { conversationId: "trimmed", epoch, seq, reason: "trimmed" });
    });
  });

  test("before the server goes it says so, in native", TEST, (t) => saysGoodbye(t, "native", "error"));

  test("by default only those whose token says so notify others", TEST, async (t) => {
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
