/** The `conversations` dialect, with clients as its document writes them: sender and receiver on different nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "./eventually.mjs";
import { nothing, saysGoodbye, speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 60_000 };

/** The document's chat page: one conversation is open, its messages are shown, failures are alerted. */
function page(client) {
  const view = { active: null, messages: [], alerts: [], typing: new Set() };
  const { socket } = client;
  socket.on("receiveMessage", ({ conversationId, message }) => {
    if (conversationId === view.active) view.messages = [...view.messages, message];
  });
  socket.on("messageError", ({ error }) => view.alerts.push(`Failed to send message: ${error}`));
  socket.on("userTyping", ({ conversationId, userId }) => conversationId === view.active && view.typing.add(userId));
  socket.on("userStoppedTyping", ({ userId }) => view.typing.delete(userId));
  const activate = (conversationId) => {
    if (view.active !== null) socket.emit("leaveRoom", view.active);
    view.active = conversationId;
    if (conversationId !== null) socket.emit("joinRoom", conversationId);
  };
  return Object.assign(client, { view, activate });
}

/** Whether the others have joined can't be heard from the document's events: a third client looks. */
async function joined(client, conversation, users) {
  await eventually(async () => {
    const { viewers } = await client.request("getViewers", conversation);
    for (const user of users) assert.ok(viewers.includes(user), `${user} has not joined`);
  }, 10_000);
}

const API_KEY = "a-key-that-only-tests-know-0123456789";

describe("conversations", { timeout: 300_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=conversations", { flags: ["--api-key", API_KEY] })));
  after(() => it?.stop());

  for (const via of WAYS) describe(`over ${via}`, () => {
    const named = (name) => `${name}-${via}`;
    const open = async (name, options) => page(await it.make(named(name), { via, withCredentials: true, ...options })).open();

    test("a message is stored, then everyone in the conversation has it, its sender too", TEST, async () => {
      const conversation = `conversation-${via}`;
      const [ada, grace, outside] = [await open("a1", { at: 0 }), await open("b1", { at: 1 }), await open("c1", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(outside, conversation, [named("a1"), named("b1")]);
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: named("a1"), content: "Hello!", type: "text" });
      await eventually(() => assert.equal(ada.view.messages.length + grace.view.messages.length, 2), 8_000);
      const [message] = ada.view.messages;
      assert.deepEqual(message, grace.view.messages[0]);
      assert.deepEqual([message.senderId, message.content, message.type, message.conversationId], [named("a1"), "Hello!", "text", conversation]);
      assert.ok(message.id.length > 0 && message._id === message.id && message.seq === 1 && !Number.isNaN(Date.parse(message.timestamp)));
      const { body } = await it.post(`/api/conversations/${conversation}/messages`, undefined, { as: named("c1") });
      assert.deepEqual(body.messages.map(({ content }) => content), ["Hello!"], "it is stored");
      outside.socket.emit("sendMessage", { conversationId: conversation, senderId: named("c1"), content: "pic", type: "image", fileUrl: "https://x/y.png", fileName: "y.png" });
      const { message: file } = await grace.next("receiveMessage", ({ message: { type } }) => type === "image");
      assert.deepEqual([file.fileUrl, file.fileName], ["https://x/y.png", "y.png"]);
      nothing(outside, "receiveMessage");
    });

    test("whoever left has no more of it", TEST, async () => {
      const conversation = `leaving-${via}`;
      const [ada, grace] = [await open("a2", { at: 0 }), await open("b2", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a2"), named("b2")]);
      grace.activate(null);
      await eventually(async () => assert.deepEqual((await ada.request("getViewers", conversation)).viewers, [named("a2")]), 8_000);
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: named("a2"), content: "gone?" });
      await ada.next("receiveMessage");
      grace.activate(conversation);
      await joined(ada, conversation, [named("b2")]);
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: named("a2"), content: "marker" });
      await grace.next("receiveMessage", ({ message }) => message.content === "marker");
      assert.deepEqual(grace.view.messages.map(({ content }) => content), ["marker"]);
    });

    test("who asks for batches has many messages in one, none twice, in order with what is said about them", TEST, async () => {
      const conversation = `batches-${via}`;
      const [ada, plain] = [await open("ba1", { at: 0 }), await open("bb1", { at: 1 })];
      const batching = [await open("bc1", { at: 1, auth: { batch: true } }), await open("bd1", { at: 0, query: { userId: named("bd1"), batch: "true" } })];
      for (const each of [plain, ...batching]) each.activate(conversation);
      await joined(ada, conversation, [named("bb1"), named("bc1"), named("bd1")]);
      const contents = Array.from({ length: 60 }, (_, n) => `${n}`);
      const sent = await Promise.all(contents.map((content) => ada.request("sendMessage", { conversationId: conversation, content })));
      await ada.request("editMessage", { messageId: sent.at(-1).messageId, content: "edited" });
      for (const each of batching) {
        await each.next("messageEdited");
        const before = each.events.slice(0, each.events.findIndex(({ name }) => name === "messageEdited"));
        const batches = before.filter(({ name }) => name === "messagesBatch").map(({ args: [batch] }) => batch);
        assert.deepEqual(batches.flat().map(({ conversationId, message }) => [conversationId, message.content]), contents.map((content) => [conversation, content]));
        assert.ok(batches.length < 20, `${batches.length} batches`);
        nothing(each, "receiveMessage");
      }
      await eventually(() => assert.equal(plain.received("receiveMessage").length, 60), 8_000);
      nothing(plain, "messagesBatch");
    });

    test("typing is seen by the others, and ends", TEST, async () => {
      const conversation = `typing-${via}`;
      const [ada, grace] = [await open("a3", { at: 0 }), await open("b3", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a3"), named("b3")]);
      const typing = { conversationId: conversation, userId: named("a3") };
      ada.socket.emit("typing", typing);
      assert.deepEqual(await grace.next("userTyping"), typing);
      ada.socket.emit("stopTyping", typing);
      assert.deepEqual(await grace.next("userStoppedTyping"), typing);
      assert.equal(grace.view.typing.size, 0);
      nothing(ada, "userTyping");
    });

    test("who has the conversation open is seen", TEST, async () => {
      const conversation = `viewing-${via}`;
      const [ada, grace] = [await open("a4", { at: 0 }), await open("b4", { at: 1 })];
      ada.activate(conversation);
      await joined(ada, conversation, [named("a4")]);
      grace.activate(conversation);
      assert.deepEqual(await ada.next("userViewing"), { conversationId: conversation, userId: named("b4") });
      grace.activate(null);
      assert.deepEqual(await ada.next("userStoppedViewing"), { conversationId: conversation, userId: named("b4") });
    });

    test("what is missing or too long is said in the document's words", TEST, async () => {
      const ada = await open("a5");
      const conversationId = `errors-${via}`;
      const senderId = named("a5");
      for (const [payload, error] of [
        [undefined, /./],
        [{}, /^Missing required fields$/],
        [{ conversationId, senderId }, /^Missing required fields$/],
        [{ senderId, content: "x" }, /^Missing required fields$/],
        [{ conversationId, senderId, content: "" }, /^Missing required fields$/],
        [{ conversationId, senderId, content: "x".repeat(5001) }, /^Message too long$/],
        [{ conversationId: "user:somebody", senderId, content: "forged" }, /./],
        [{ conversationId: "dm:x:y", senderId, content: "forged" }, /./],
      ]) {
        const so_far = ada.view.alerts.length;
        ada.socket.emit("sendMessage", payload);
        await eventually(() => assert.equal(ada.view.alerts.length, so_far + 1), 8_000);
        assert.match(ada.received("messageError").at(-1).error, error);
      }
      ada.activate(conversationId);
      ada.socket.emit("sendMessage", { conversationId, senderId, content: "x".repeat(5000) });
      await ada.next("receiveMessage");
    });

    test("somebody else's senderId is ignored, and may be absent", TEST, async () => {
      const conversation = `sender-${via}`;
      const [ada, grace] = [await open("a6", { at: 0 }), await open("b6", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a6"), named("b6")]);
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: named("b6"), content: "I am Grace" });
      ada.socket.emit("sendMessage", { conversationId: conversation, content: "no sender" });
      await grace.next("receiveMessage", ({ message }) => message.content === "no sender");
      assert.deepEqual(grace.view.messages.map(({ senderId }) => senderId), [named("a6"), named("a6")]);
    });

    test("guests are who they say they are", TEST, async () => {
      const conversation = `guests-${via}`;
      const [ada, grace] = [await page(await it.make(undefined, { via, at: 0 })).open(), await page(await it.make(undefined, { via, at: 1 })).open()];
      for (const each of [ada, grace]) each.activate(conversation);
      await eventually(async () => assert.equal((await ada.request("getViewers", conversation)).viewers.length, 2), 8_000);
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: "user456", content: "Hello!", type: "text" });
      assert.equal((await grace.next("receiveMessage")).message.senderId, "user456");
      ada.socket.emit("typing", { conversationId: conversation, userId: "user456" });
      assert.deepEqual(await grace.next("userTyping"), { conversationId: conversation, userId: "user456" });
      ada.socket.emit("sendMessage", { conversationId: conversation, content: "who?" });
      assert.equal((await ada.next("messageError")).error, "Missing required fields");
    });

    test("rooms are joined again after a reconnection, and what is missing is loaded by HTTP", TEST, async () => {
      const conversation = `again-${via}`;
      const [ada, grace] = [await open("a8", { at: 0 }), await open("b8", { at: 1, reconnection: true, reconnectionDelay: 100 })];
      grace.socket.on("connect", () => grace.view.active && grace.socket.emit("joinRoom", grace.view.active));
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a8"), named("b8")]);
      grace.socket.io.engine.close();
      ada.socket.emit("sendMessage", { conversationId: conversation, senderId: named("a8"), content: "while away" });
      await ada.next("receiveMessage");
      await grace.open();
      await joined(ada, conversation, [named("b8")]);
      const { status, body } = await it.post("/api/messages", { conversationId: conversation, content: "by HTTP" }, { as: named("b8") });
      assert.equal(status, 201, JSON.stringify(body));
      await ada.next("receiveMessage", ({ message }) => message.content === "by HTTP");
      const page = await it.post(`/api/conversations/${conversation}/messages`, undefined, { as: named("b8") });
      assert.deepEqual(page.body.messages.map(({ content }) => content), ["while away", "by HTTP"]);
      const list = await it.post("/api/conversations", undefined, { as: named("a8") });
      const entry = list.body.conversations.find(({ conversationId }) => conversationId === conversation);
      assert.equal(entry.lastMessage.content, "by HTTP");
    });

    test("messages are edited and deleted by their sender alone, and everyone sees it", TEST, async () => {
      const conversation = `edits-${via}`;
      const [ada, grace] = [await open("a9", { at: 0 }), await open("b9", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a9"), named("b9")]);
      const { messageId } = await ada.request("sendMessage", { conversationId: conversation, content: "frist" });
      await ada.request("editMessage", { conversationId: conversation, messageId, content: "first" });
      const edited = await grace.next("messageEdited");
      assert.deepEqual([edited.conversationId, edited.messageId, edited.content], [conversation, messageId, "first"]);
      assert.equal((await grace.ask("editMessage", { conversationId: conversation, messageId, content: "forged" })).success, false);
      assert.equal((await grace.ask("deleteMessage", { conversationId: conversation, messageId })).success, false);
      await ada.request("deleteMessage", { conversationId: conversation, messageId });
      assert.equal((await grace.next("messageDeleted")).messageId, messageId);
      assert.equal(grace.received("messageEdited").length, 1);
    });

    test("sent, delivered, read: the sender hears of it and can ask", TEST, async () => {
      const conversation = `receipts-${via}`;
      const [ada, grace] = [await open("a10", { at: 0 }), await open("b10", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a10"), named("b10")]);
      const { messageId } = await ada.request("sendMessage", { conversationId: conversation, content: "read me" });
      const status = async () => (await ada.request("messageStatus", { conversationId: conversation, messageId })).status;
      assert.equal(await status(), "sent");
      grace.socket.emit("messageDelivered", { conversationId: conversation, messageId });
      assert.equal((await ada.next("messageDelivered")).userId, named("b10"));
      await eventually(async () => assert.equal(await status(), "delivered"), 8_000);
      grace.socket.emit("messageRead", { conversationId: conversation, messageId });
      const read = await ada.next("messageRead");
      assert.deepEqual([read.messageId, read.userId, read.conversationId], [messageId, named("b10"), conversation]);
      assert.equal(await status(), "read");
    });

    test("calls are signalled and uploads shown", TEST, async () => {
      const conversation = `calls-${via}`;
      const [ada, grace] = [await open("a11", { at: 0 }), await open("b11", { at: 1 })];
      for (const each of [ada, grace]) each.activate(conversation);
      await joined(ada, conversation, [named("a11"), named("b11")]);
      ada.socket.emit("callSignal", { userId: named("b11"), data: { type: "offer", sdp: "v=0" } });
      assert.deepEqual(await grace.next("callSignal"), { from: named("a11"), data: { type: "offer", sdp: "v=0" } });
      const upload = { conversationId: conversation, uploadId: "u1", fileName: "y.png", percent: 40 };
      ada.socket.emit("uploadProgress", upload);
      assert.deepEqual(await grace.next("uploadProgress"), { ...upload, userId: named("a11") });
    });

    test("who goes online or offline is seen", TEST, async () => {
      const ada = await open("a12", { at: 0 });
      const grace = await open("b12", { at: 1 });
      await ada.next("userOnline", ({ userId }) => userId === named("b12"), 10_000);
      await grace.close();
      await ada.next("userOffline", ({ userId }) => userId === named("b12"), 15_000);
    });

    test("a notification reaches its user, or is kept while the user is away", TEST, async () => {
      const headers = { authorization: `Bearer ${API_KEY}` };
      const notify = (userId) => it.post("/api/v1/notifications", { userId, title: "News", message: "a file was shared" }, { headers });
      const grace = await open("b13", { at: 1 });
      assert.equal((await notify(named("b13"))).status, 201);
      assert.equal((await grace.next("notification")).message, "a file was shared");
      await notify(named("b14"));
      const missed = await it.post("/api/messages/missed", undefined, { as: named("b14"), at: 1 });
      assert.deepEqual(missed.body.messages.map(({ kind, title }) => [kind, title]), [["notification", "News"]]);
    });
  });
});

test("before the server goes it says so, in conversations", TEST, (t) => saysGoodbye(t, "conversations", "error"));

describe("conversations with tokens", { timeout: 60_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=conversations", { auth: "jwt" })));
  after(() => it?.stop());

  test("without a token or with a wrong one nobody gets in", TEST, async () => {
    assert.equal(await it.refusal(undefined), "Authentication error");
    assert.equal(await it.refusal("x", { auth: { token: "nonsense" } }), "Authentication error");
  });

  test("the token may be in a cookie", TEST, async () => {
    const { token } = await import("./cluster.mjs");
    const made = await it.open(undefined, { auth: {}, extraHeaders: { cookie: `token=${await token("by-cookie")}` } });
    assert.equal(made.socket.connected, true);
  });
});
