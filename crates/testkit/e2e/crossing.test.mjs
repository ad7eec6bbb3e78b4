/** A message sent in one dialect arrives in the others in their words: one namespace for each, two nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "./eventually.mjs";
import { nothing, speaking } from "./speaking.mjs";

const TEST = { timeout: 60_000 };
const ROOM = "meeting";

/** Where each dialect is spoken, how it sends, and what it hears: the text, and who said it where the dialect tells. */
const DIALECTS = {
  native: {
    to: "/",
    join: ["conversation:join", ROOM],
    send: (text) => ["message:send", { conversationId: ROOM, content: text }],
    heard: ["message:new", ({ content, senderId }) => [content, senderId]],
    direct: (to, text) => ["private:message", { recipientUserId: to, content: text }],
  },
  "online-users": {
    to: "/online-users",
    join: ["joinRoom", ROOM],
    send: (text) => ["sendMessageToRoom", { roomId: ROOM, message: text }],
    heard: ["newRoomMessage", ({ message, userId }) => [message, userId]],
    direct: (to, text) => ["sendMessage", { receiverId: to, text }],
    heardDirect: ["newMessage", ({ text, senderId }) => [text, senderId]],
  },
  rooms: {
    to: "/rooms",
    join: ["join_room", ROOM],
    send: (text) => ["room_message", { roomId: ROOM, message: text }],
    heard: ["message", ({ message, userId }) => [message, userId]],
  },
  conversations: {
    to: "/conversations",
    join: ["joinRoom", ROOM],
    send: (text) => ["sendMessage", { conversationId: ROOM, content: text }],
    heard: ["receiveMessage", ({ message }) => [message.content, message.senderId]],
    direct: (to, text, from) => ["sendMessage", { conversationId: `dm:${[from, to].sort().join(":")}`, content: text }],
  },
};

describe("across dialects", { timeout: 240_000 }, () => {
  let it;
  const members = {};
  before(async () => {
    const namespaces = Object.entries(DIALECTS).map(([dialect, { to }]) => `${to}=${dialect}`);
    it = await speaking([...namespaces, "/showcase=showcase"].join(","));
    for (const [n, [dialect, { to, join }]] of Object.entries(DIALECTS).entries()) {
      members[dialect] = await it.open(`of-${dialect}`, { to, at: n % 2 });
      await members[dialect].request(...join);
    }
  });
  after(() => it?.stop());

  for (const from of Object.keys(DIALECTS))
    test(`what is said in ${from} is heard in all others, once`, TEST, async () => {
      const text = `said in ${from}`;
      await members[from].request(...DIALECTS[from].send(text));
      for (const [dialect, { heard: [event, read] }] of Object.entries(DIALECTS)) {
        if (dialect === from) continue;
        const payload = await members[dialect].next(event, (payload) => read(payload)[0] === text);
        assert.deepEqual(read(payload), [text, `of-${from}`], dialect);
      }
      await members[from].request(...DIALECTS[from].send(`marker of ${from}`));
      for (const [dialect, { heard: [event, read] }] of Object.entries(DIALECTS)) {
        if (dialect === from) continue;
        await members[dialect].next(event, (payload) => read(payload)[0] === `marker of ${from}`);
        assert.equal(members[dialect].received(event).filter((payload) => read(payload)[0] === text).length, 1, `${dialect} heard it twice`);
      }
    });

  test("a direct message finds its receiver in every dialect", TEST, async () => {
    for (const [from, { direct }] of Object.entries(DIALECTS)) {
      if (!direct) continue;
      for (const [dialect, { heard, heardDirect }] of Object.entries(DIALECTS)) {
        if (dialect === from) continue;
        const text = `from ${from} to ${dialect}`;
        await members[from].request(...direct(`of-${dialect}`, text, `of-${from}`));
        const [event, read] = heardDirect ?? heard;
        const payload = await members[dialect].next(event, (payload) => read(payload)[0] === text);
        assert.equal(read(payload)[1], `of-${from}`);
      }
    }
    for (const other of ["rooms", "conversations"]) nothing(members[other], DIALECTS[other].heard[0], (payload) => DIALECTS[other].heard[1](payload)[0] === "from native to online-users");
  });

  test("the lobby of showcase is a conversation like others", TEST, async () => {
    const page = await it.open("of-showcase", { to: "/showcase", at: 1 });
    await page.next("welcome");
    await page.request("join", "Sho");
    await members.native.request("conversation:join", "lobby");
    await members.native.request("message:send", { conversationId: "lobby", content: "hello page" });
    const heard = await page.next("new-message");
    assert.deepEqual([heard.text, heard.username], ["hello page", "of-native"]);
    await page.request("send-message", { text: "hello native" });
    const back = await members.native.next("message:new", ({ content }) => content === "hello native");
    assert.deepEqual([back.senderId, back.senderName], ["of-showcase", "Sho"]);
  });

  test("who types in a conversation is seen wherever there is a word for it", TEST, async () => {
    await members.native.request("typing:start", { conversationId: ROOM });
    assert.deepEqual(await members.conversations.next("userTyping"), { conversationId: ROOM, userId: "of-native" });
    assert.equal((await members["online-users"].next("userTyping")).userId, "of-native");
    await eventually(() => assert.equal(members.conversations.received("userStoppedTyping").length, 1), 10_000);
  });

  test("a value that is no text arrives as it was, and as its JSON where texts are read", TEST, async () => {
    await members.rooms.request("room_message", { roomId: ROOM, message: { chess: ["e4", "e5"] } });
    const heard = await members["online-users"].next("newRoomMessage", ({ message }) => message?.chess);
    assert.deepEqual(heard.message, { chess: ["e4", "e5"] });
    const { content, data } = await members.native.next("message:new", ({ data }) => data?.chess);
    assert.deepEqual([JSON.parse(content), data], [{ chess: ["e4", "e5"] }, { chess: ["e4", "e5"] }]);
  });
});
