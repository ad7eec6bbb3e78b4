/** Bad input, dialect by dialect: refused in the dialect's own way, with and without an ack, and nothing of it reaches anybody else. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { JWT_SECRET } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";
import { speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 120_000 };
const LONG = "x".repeat(5001);
const LONG_ID = "i".repeat(10_000);
/** What is no text, nor a number that could stand for one. */
const NO_TEXT = [null, true, {}, ["a"]];

/** Rooms that a client must neither enter nor address: another user's, a document's, other people's, another socket's. */
const guarded = (bob) => [`user:${bob.userId}`, "doc:plan", `watch:${bob.userId}`, `dm:${bob.userId}:zoe`, bob.socket.id];

/**
 * `failures`: the events that tell of a failure, and the field with its text. `join` and `say` are what bob hears: a room that
 * both are in, and how something is said in it. `wrong` are events that have to be refused. `claims` is a message that
 * says it were bob's, with the event by which bob hears it and where that names its sender.
 */
const DIALECTS = {
  native: {
    failures: { error: "message" },
    join: (room) => ["conversation:join", room],
    say: (conversationId, content) => ["message:send", { conversationId, content }],
    heard: ["message:new", ({ content }) => content],
    wrong: (room, bob) => {
      const recipient = { recipientUserId: bob.userId };
      const notification = { title: "forged", message: "forged" };
      const upload = { conversationId: room, uploadId: "u", fileName: "f", percent: 1 };
      return [
        ...[[], [{}], [{ conversationId: 7 }], [""], [LONG_ID], [{ conversationId: room, after: "yesterday" }], [{ conversationId: room, limit: -1 }]].map((args) => ["conversation:join", ...args]),
        ...[[], [{}], ["text"], [{ conversationId: room }], [{ content: "to nowhere" }], [{ conversationId: [room], content: "x" }], [{ conversationId: room, content: LONG }]].map((args) => ["message:send", ...args]),
        ...[...NO_TEXT, 5].map((content) => ["message:send", { conversationId: room, content }]),
        ...["type", "fileUrl", "fileName", "replyTo", "clientMessageId"].map((field) => ["message:send", { conversationId: room, content: "forged", [field]: { no: "text" } }]),
        ["message:send", { conversationId: room, content: "forged", clientMessageId: LONG_ID }],
        ...[[], [{}], [recipient], [{ content: "to nobody" }], [{ ...recipient, content: LONG }], [{ recipientUserId: "undefined", content: "x" }], [{ recipientUserId: 5, content: "x" }]].map((args) => ["private:message", ...args]),
        ...[[{}], [{ conversationId: room, messageId: "x:e:1" }], [{ conversationId: LONG_ID, messageId: "x:e:1", content: "c" }], ["text"]].map((args) => ["message:edit", ...args]),
        ...[[], [{}], [{ conversationId: 5, messageId: "x" }]].map((args) => ["message:delete", ...args]),
        ...[[{}], [{ conversationId: room, before: "x" }], [{ conversationId: room, limit: "many" }]].map((args) => ["message:history", ...args]),
        ...[[{}], [{ conversationId: room, seq: -1 }], [{ conversationId: room, seq: "1" }], [{ conversationId: LONG_ID, seq: 1 }]].map((args) => ["message:delivered", ...args]),
        ...[[], [{}], [{ messageId: 5 }], [{ messageId: "no such message" }]].map((args) => ["message:read", ...args]),
        ...[[{}], [{ conversationId: LONG_ID, messageId: "m" }]].map((args) => ["message:status", ...args]),
        ...[[5], [{ limit: "many" }]].map((args) => ["messages:missed", ...args]),
        ...[[5], [{ limit: -1 }], [{ cursor: 5 }], [{ cursor: "not ours" }]].map((args) => ["conversation:list", ...args]),
        ...[[{}], [{ userIds: "x" }], [{ userIds: [1] }]].map((args) => ["presence:get", ...args]),
        ...[[{}], [{ userIds: [""] }], [{ userIds: [LONG_ID] }]].map((args) => ["presence:watch", ...args]),
        ...[[{}], [{ userId: bob.userId }], [{ userId: LONG_ID, ...notification }], [{ userId: "", ...notification }], [{ userId: "undefined", ...notification }]].map((args) => ["notification:send", ...args]),
        ["notification:send", { userId: bob.userId, ...notification }],
        ...[[{}], [{ documentId: "" }], [{ documentId: LONG_ID }]].map((args) => ["document:join", ...args]),
        ...[[{ documentId: "d" }], [{ documentId: "d", content: 5 }], [{ documentId: LONG_ID, content: "c" }], [{ documentId: "d", content: "c", baseVersion: -1 }]].map((args) => ["document:edit", ...args]),
        ...[[{ documentId: "d" }], [{ documentId: "never-opened", position: 1 }]].map((args) => ["document:cursor", ...args]),
        ...[[{}], [{ userId: bob.userId }], [{ userId: LONG_ID, data: 1 }], [{ userId: bob.userId, data: "x".repeat(70_000) }]].map((args) => ["call:signal", ...args]),
        ...[[{}], [{ ...upload, uploadId: "" }], [{ ...upload, percent: "half" }], [{ ...upload, percent: 101 }]].map((args) => ["upload:progress", ...args]),
        ...[[{}], [{ conversationId: 5 }], [{ recipientUserId: LONG_ID }], [{ recipientUserId: "undefined" }]].map((args) => ["typing:start", ...args]),
        ...[[{}], [{ token: 5 }], [{ token: "x" }]].map((args) => ["auth:refresh", ...args]),
        ["no:such:event", { any: "thing" }],
        ...guarded(bob).flatMap((conversationId) => [
          ["conversation:join", conversationId],
          ["conversation:members", { conversationId }],
          ["message:send", { conversationId, content: "forged" }],
          ["message:history", { conversationId }],
          ["typing:start", { conversationId }],
          ["upload:progress", { ...upload, conversationId }],
        ]),
      ];
    },
    claims: (room, bob) => [["message:send", { conversationId: room, content: "claimed", senderId: bob.userId, from: bob.userId }], ({ senderId }) => senderId],
  },

  "online-users": {
    failures: { error: "message" },
    join: (room) => ["joinRoom", room],
    say: (roomId, message) => ["sendMessageToRoom", { roomId, message }],
    heard: ["newRoomMessage", ({ message }) => message],
    wrong: (room, bob) => {
      const receiverId = bob.userId;
      return [
        ...[[], [{}], [""], [LONG_ID], ...NO_TEXT.map((room) => [room])].flatMap((args) => [["joinRoom", ...args], ["leaveRoom", ...args]]),
        ...[[], [{}], ["text"], [{ roomId: room }], [{ message: "x" }], [{ roomId: room, message: LONG }], [{ roomId: ["a"], message: "forged" }]].map((args) => ["sendMessageToRoom", ...args]),
        ...[[], [{}], ["text"], [{ receiverId }], [{ text: "x" }], [{ receiverId, text: LONG }], [{ receiverId: {}, text: "forged" }], [{ roomId: room }], [{ roomId: room, message: LONG }]].map((args) => ["sendMessage", ...args]),
        ...NO_TEXT.map((text) => ["sendMessage", { receiverId, text }]),
        ["sendMessage", { receiverId: "undefined", text: "forged" }],
        ...[[], [{}], [{ receiverId, isTyping: "yes" }], [{ isTyping: true }], [{ receiverId: LONG_ID, isTyping: true }], [{ receiverId: "undefined", isTyping: true }]].map((args) => ["typing", ...args]),
        ["listOnlineUsers", { limit: "many" }],
        ["noSuchEvent", {}],
        ...guarded(bob).flatMap((roomId) => [["joinRoom", roomId], ["sendMessageToRoom", { roomId, message: "forged" }], ["sendMessage", { roomId, message: "forged" }]]),
      ];
    },
    claims: (room, bob) => [["sendMessageToRoom", { roomId: room, message: "claimed", userId: bob.userId, senderId: bob.userId }], ({ userId }) => userId],
  },

  rooms: {
    failures: { error: "message" },
    join: (room) => ["join_room", room],
    say: (roomId, message) => ["room_message", { roomId, message }],
    heard: ["message", ({ message }) => message],
    wrong: (room, bob) => [
      ...[[], [{}], [""], [LONG_ID], ...NO_TEXT.map((room) => [room])].flatMap((args) => [["join_room", ...args], ["leave_room", ...args]]),
      ...[[], [{}], ["text"], [{ roomId: room }], [{ message: "forged" }], [{ roomId: room, message: LONG }], [{ roomId: {}, message: "forged" }]].flatMap((args) => [["room_message", ...args], ["room_announce", ...args]]),
      ["room_message", { roomId: room, message: { far: ["x".repeat(20_001)] } }],
      ["room_message", { roomId: room, message: Buffer.from("forged") }],
      ["chat", "text"],
      ["no_such_event", 1],
      ...guarded(bob).flatMap((roomId) => [["join_room", roomId], ["room_message", { roomId, message: "forged" }], ["room_announce", { roomId, message: "forged" }]]),
    ],
    claims: (room, bob) => [["room_message", { roomId: room, message: "claimed", userId: bob.userId, socketId: bob.socket.id }], ({ userId }) => userId],
  },

  conversations: {
    failures: { messageError: "error" },
    join: (room) => ["joinRoom", room],
    say: (conversationId, content) => ["sendMessage", { conversationId, content }],
    heard: ["receiveMessage", ({ message }) => message.content],
    wrong: (room, bob) => {
      const senderId = bob.userId;
      const upload = { conversationId: room, uploadId: "u", fileName: "f", percent: 1 };
      return [
        ...[[], [{}], [""], [LONG_ID], ...NO_TEXT.map((room) => [room])].flatMap((args) => [["joinRoom", ...args], ["leaveRoom", ...args], ["getViewers", ...args]]),
        ...[[], [{}], ["text"], [{ conversationId: room, senderId }], [{ senderId, content: "x" }], [{ conversationId: room, content: "" }], [{ conversationId: room, content: LONG }]].map((args) => ["sendMessage", ...args]),
        ...NO_TEXT.map((content) => ["sendMessage", { conversationId: room, content }]),
        ...["conversationId", "type", "fileUrl", "fileName", "clientMessageId"].map((field) => ["sendMessage", { conversationId: room, content: "forged", [field]: { no: "text" } }]),
        ["sendMessage", { conversationId: LONG_ID, content: "forged" }],
        ...[[], [{}], [{ conversationId: {} }], [{ conversationId: LONG_ID }]].flatMap((args) => [["typing", ...args], ["stopTyping", ...args]]),
        ...[[], [{}], [{ messageId: 5 }], [{ messageId: "no such message" }]].flatMap((args) => ["deleteMessage", "messageDelivered", "messageRead", "messageStatus"].map((event) => [event, ...args])),
        ...[[], [{}], [{ messageId: "no such message", content: "x" }], [{ messageId: "x" }]].map((args) => ["editMessage", ...args]),
        ...[[], [{}], [{ userId: bob.userId }], [{ userId: "undefined", data: 1 }]].map((args) => ["callSignal", ...args]),
        ...[[], [{}], [{ ...upload, percent: "half" }]].map((args) => ["uploadProgress", ...args]),
        ["noSuchEvent", {}],
        ...guarded(bob).flatMap((conversationId) => [
          ["joinRoom", conversationId],
          ["getViewers", conversationId],
          ["sendMessage", { conversationId, content: "forged" }],
          ["typing", { conversationId, userId: senderId }],
          ["uploadProgress", { ...upload, conversationId }],
        ]),
      ];
    },
    claims: (room, bob) => [["sendMessage", { conversationId: room, content: "claimed", senderId: bob.userId }], ({ message }) => message.senderId],
  },

  showcase: {
    failures: { "validation-error": "error", "message-error": "error" },
    join: () => ["join", "Bob"],
    say: (_, text) => ["send-message", { text }],
    heard: ["new-message", ({ text }) => text],
    wrong: (_, bob) => [
      ...[[], [{}], [""], [LONG_ID], ...NO_TEXT.map((name) => [name])].map((args) => ["join", ...args]),
      ...[[], [{}], [{ text: "" }], [{ text: LONG }], ...NO_TEXT.map((text) => [{ text }])].flatMap((args) => [["send-message", ...args], ["chat-message", ...args]]),
      ...[[], [{}], [{ text: "no time" }], [{ text: "", timestamp: 1 }], [{ text: "x".repeat(501), timestamp: 1 }], [{ text: 5, timestamp: 1 }], [{ text: "forged", timestamp: "now" }]].map((args) => ["message", ...args]),
      ...[[{ username: {} }], [{ username: LONG_ID }], [5]].map((args) => ["typing", ...args]),
      ...[[], [{}], [""], ["undefined"], [bob.userId], [`user:${bob.userId}`]].map((args) => ["subscribe", ...args]),
      ...[[], [{}], [{ title: "forged", message: "forged" }], [{ userId: "undefined", title: "x" }], [{ userId: bob.userId, title: {} }]].map((args) => ["send-notification", ...args]),
      ...[[], [{}], [""], [LONG_ID]].flatMap((args) => [["join-document", ...args], ["leave-document", ...args]]),
      ...[[], [{}], [{ docId: "d" }], [{ docId: "d", content: 5 }], [{ docId: LONG_ID, content: "c" }]].map((args) => ["edit", ...args]),
      ...[[], [{ docId: "d" }], [{ docId: "never-opened", position: 1 }]].map((args) => ["cursor-move", ...args]),
      ...[[], [{}], [{ name: null }], [{ name: "" }], ["Alice"]].map((args) => ["save-data", ...args]),
      ["no-such-event", 1],
    ],
    claims: (_, bob) => [["send-message", { text: "claimed", username: "Bob", userId: bob.userId }], ({ userId }) => userId],
  },
};

/** What is told of people coming and going, and to whom something is wrong: not sent by anybody. */
const NOT_FROM_OTHERS = /^(connected|welcome|ping|getOnlineUsers|user-count|user:|userOnline|userOffline|member:|userViewing|userJoined|user_joined|user-joined|previous-messages)/;

describe("bad input", { timeout: 600_000 }, () => {
  let it;
  const at = (dialect) => (dialect === "native" ? "/" : `/${dialect}`);
  before(async () => {
    const namespaces = Object.keys(DIALECTS).map((dialect) => `${at(dialect)}=${dialect}`);
    it = await speaking(namespaces.join(","), { auth: "jwt", flags: ["--rate-limit", "off"] });
  });
  after(() => it?.stop());

  for (const [dialect, { failures, join, say, heard, wrong, claims }] of Object.entries(DIALECTS))
    for (const via of WAYS) describe(`of ${dialect} over ${via}`, () => {
      const pair = async (name) => {
        const [mallory, bob] = [await it.open(`${name}-mallory-${dialect}-${via}`, { via, to: at(dialect), at: 0 }), await it.open(`${name}-bob-${dialect}-${via}`, { via, to: at(dialect), at: 1 })];
        const room = `${name}-${dialect}-${via}`;
        for (const each of [mallory, bob]) await each.request(...join(room));
        return [mallory, bob, room];
      };
      /** What bob heard of others since `from`. */
      const of_others = (bob, from) => bob.events.slice(from).filter(({ name }) => !NOT_FROM_OTHERS.test(name));

      test("is refused, without an ack too, and nobody else hears of it", TEST, async () => {
        const [mallory, bob, room] = await pair("wrong");
        const told = () => Object.entries(failures).flatMap(([event, field]) => mallory.received(event).map((failure) => failure[field]));
        const [begun, all] = [bob.events.length, wrong(room, bob)];
        for (const [n, args] of all.entries()) {
          const shown = JSON.stringify(args).slice(0, 100);
          const ack = await mallory.ask(...args);
          assert.equal(ack?.success, false, `${shown} was accepted: ${JSON.stringify(ack)}`);
          assert.ok([ack.message, ack.error].every((text) => text === undefined || text.length > 0));
          // The dialects with failures of their own tell of them whether they were asked or not; `native` does if not.
          const so_far = told().length;
          mallory.socket.emit(...args);
          await eventually(() => assert.ok(told().length > so_far, `${n}: ${shown} was not said to be wrong`), 8_000);
          assert.ok(told().every((text) => typeof text === "string" && text.length > 0), shown);
        }
        await mallory.request(...say(room, "marker"));
        await bob.next(heard[0], (payload) => heard[1](payload) === "marker");
        const others = of_others(bob, begun).filter(({ name, args }) => !(name === heard[0] && heard[1](args[0]) === "marker"));
        assert.deepEqual(others, [], "something reached somebody it was not for");
        assert.equal(mallory.socket.connected, true);
      });

      test("such as another's name for the sender is ignored", TEST, async () => {
        const [mallory, bob, room] = await pair("claims");
        const [message, sender] = claims(room, bob);
        await mallory.request(...message);
        const payload = await bob.next(heard[0], (payload) => heard[1](payload) === "claimed");
        assert.equal(sender(payload), mallory.userId);
      });

      test("such as a token that names nobody lets nobody in", TEST, async () => {
        for (const claims of [{ sub: "undefined" }, { userId: "undefined" }, { id: "" }, { sub: LONG_ID }, {}]) {
          const message = await it.refusal("nobody", { via, to: at(dialect), auth: { token: signed(claims) } });
          assert.match(message, /Invalid token|Authentication error/);
        }
      });
    });
});

describe("the user id undefined", { timeout: 120_000 }, () => {
  let it;
  before(async () => {
    const namespaces = Object.keys(DIALECTS).map((dialect) => `/${dialect}=${dialect}`);
    it = await speaking(namespaces.join(","));
  });
  after(() => it?.stop());

  for (const dialect of Object.keys(DIALECTS))
    for (const via of WAYS)
      test(`is refused in ${dialect} over ${via}, and not a guest`, TEST, async () => {
        for (const userId of ["undefined", "null", "guest:0123456789abcdef"]) {
          assert.match(await it.refusal(userId, { via, to: `/${dialect}` }), /Invalid token|Authentication error/);
        }
      });
});

function signed(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`;
  return `${text}.${createHmac("sha256", JWT_SECRET).update(text).digest("base64url")}`;
}
