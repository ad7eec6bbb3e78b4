/** The `online-users` dialect, with clients as its document writes them: sender and receiver on different nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "./eventually.mjs";
import { nothing, saysGoodbye, speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 60_000 };
const API_KEY = "a-key-that-only-tests-know-0123456789";

/** The document's client: who is online, what comes in, who types. */
function page(client) {
  const shown = { online: [], messages: [], typing: new Set(), room: [], toasts: [] };
  client.socket.on("getOnlineUsers", (users) => (shown.online = users));
  client.socket.on("newMessage", (message) => shown.messages.push(message));
  client.socket.on("userTyping", ({ userId, isTyping }) => (isTyping ? shown.typing.add(userId) : shown.typing.delete(userId)));
  client.socket.on("newRoomMessage", ({ userId, message, timestamp }) => shown.room.push({ userId, message, timestamp }));
  client.socket.on("notification", (notification) => shown.toasts.push(notification.message));
  client.socket.on("ping", () => client.socket.emit("pong"));
  return Object.assign(client, { shown });
}

describe("online-users", { timeout: 300_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=online-users,/chat=online-users,/native=native", { flags: ["--api-key", API_KEY] })));
  after(() => it?.stop());

  for (const via of WAYS) describe(`over ${via}`, () => {
    /** Names of this transport alone: the clusters are shared. */
    const named = (name) => `${name}-${via}`;
    const open = async (name, options) => page(await it.make(named(name), { via, ...options })).open();

    test("everyone has the list of who is online, whichever node they are on, and a user with three tabs once", TEST, async () => {
      const ada = await open("ada", { at: 0 });
      await eventually(() => assert.ok(ada.shown.online.includes(named("ada"))));
      const tabs = [await open("grace", { at: 1 }), await open("grace", { at: 0 }), await open("grace", { at: 1 })];
      await eventually(() => assert.equal(ada.shown.online.filter((user) => user === named("grace")).length, 1), 10_000);
      await eventually(() => assert.ok(tabs[0].shown.online.includes(named("ada"))), 10_000);
      await tabs[0].close();
      await tabs[1].close();
      const marker = await open("marker", { at: 1 });
      await eventually(() => assert.ok(ada.shown.online.includes(named("marker"))), 10_000);
      assert.ok(ada.shown.online.includes(named("grace")), "one tab is left");
      await tabs[2].close();
      await eventually(() => assert.ok(!ada.shown.online.includes(named("grace"))), 15_000);
      for (const each of [ada, marker]) await each.close();
    });

    test("a direct message reaches all sockets of its receiver and nobody else", TEST, async () => {
      const [ada, adaElsewhere] = [await open("a1", { at: 0 }), await open("a1", { at: 1 })];
      const [phone, desk] = [await open("b1", { at: 1 }), await open("b1", { at: 0 })];
      const stranger = await open("s1", { at: 1 });
      ada.socket.emit("sendMessage", { receiverId: named("b1"), text: "hello" });
      for (const each of [phone, desk]) {
        const { id, _id, senderId, receiverId, text, timestamp } = await each.next("newMessage");
        assert.deepEqual([senderId, receiverId, text], [named("a1"), named("b1"), "hello"]);
        assert.ok(id.length > 0 && id === _id);
        assert.ok(!Number.isNaN(Date.parse(timestamp)));
      }
      phone.socket.emit("sendMessage", { receiverId: named("s1"), text: "marker" });
      await stranger.next("newMessage", ({ text }) => text === "marker");
      for (const each of [ada, adaElsewhere]) nothing(each, "newMessage");
      nothing(stranger, "newMessage", ({ text }) => text === "hello");
    });

    test("a message by HTTP is stored, answered with 201, and delivered", TEST, async () => {
      const [ada, grace] = [await open("a2", { at: 0 }), await open("b2", { at: 1 })];
      const { status, body } = await it.post("/api/messages", { receiverId: named("b2"), text: "by post" }, { as: named("a2") });
      assert.equal(status, 201);
      assert.equal(body.success, true);
      const message = await grace.next("newMessage");
      assert.deepEqual([message.id, message.senderId, message.text], [body.message.id ?? body.message._id, named("a2"), "by post"]);
      grace.socket.emit("sendMessage", { receiverId: named("a2"), text: "marker" });
      await ada.next("newMessage", ({ text }) => text === "marker");
      nothing(ada, "newMessage", ({ text }) => text === "by post");
    });

    test("typing is seen by its receiver", TEST, async () => {
      const [ada, grace] = [await open("a3", { at: 0 }), await open("b3", { at: 1 })];
      ada.socket.emit("typing", { receiverId: named("b3"), isTyping: true });
      await eventually(() => assert.ok(grace.shown.typing.has(named("a3"))), 8_000);
      ada.socket.emit("typing", { receiverId: named("b3"), isTyping: false });
      await eventually(() => assert.ok(!grace.shown.typing.has(named("a3"))), 8_000);
      assert.deepEqual(grace.received("userTyping"), [{ userId: named("a3"), isTyping: true }, { userId: named("a3"), isTyping: false }]);
    });

    test("rooms: who comes, what is said, who leaves", TEST, async () => {
      const room = `room_${via}`;
      const [ada, grace] = [await open("a4", { at: 0 }), await open("b4", { at: 1 })];
      await ada.request("joinRoom", room);
      grace.socket.emit("joinRoom", room);
      const joined = await ada.next("userJoinedRoom");
      assert.deepEqual([joined.userId, joined.roomId, typeof joined.timestamp], [named("b4"), room, "string"]);
      // That ada has come may be on its way to grace's node still.
      assert.deepEqual(await grace.next("userJoined", ({ userId }) => userId === named("b4")), { userId: named("b4"), roomId: room });
      ada.socket.emit("sendMessageToRoom", { roomId: room, message: "Hello everyone!" });
      const said = await grace.next("newRoomMessage");
      assert.deepEqual([said.userId, said.message, typeof said.timestamp], [named("a4"), "Hello everyone!", "string"]);
      grace.socket.emit("sendMessage", { roomId: room, message: { any: ["thing", 1] } });
      for (const each of [ada, grace]) assert.deepEqual(await each.next("newMessage"), { any: ["thing", 1] });
      nothing(ada, "newRoomMessage");
      grace.socket.emit("leaveRoom", room);
      const left = await ada.next("userLeftRoom");
      assert.deepEqual([left.userId, left.roomId], [named("b4"), room]);
      ada.socket.emit("sendMessageToRoom", { roomId: room, message: "gone?" });
      ada.socket.emit("sendMessage", { receiverId: named("b4"), text: "marker" });
      await grace.next("newMessage", ({ text }) => text === "marker");
      nothing(grace, "newRoomMessage", ({ message }) => message === "gone?");
    });

    test("numbers do as ids", TEST, async () => {
      const [ada, grace] = [await open("a5", { at: 0 }), await open("b5", { at: 1 })];
      const room = via === "polling" ? 4711 : 4712;
      for (const each of [ada, grace]) await each.request("joinRoom", room);
      ada.socket.emit("sendMessageToRoom", { roomId: room, message: 7 });
      assert.equal((await grace.next("newRoomMessage")).message, 7);
    });

    test("what was sent to somebody who was away is there when they ask", TEST, async () => {
      const ada = await open("a6", { at: 0 });
      for (const text of ["one", "two", "three"]) await ada.request("sendMessage", { receiverId: named("b6"), text });
      const grace = await open("b6", { at: 1 });
      grace.socket.emit("requestMissedMessages");
      const missed = await grace.next("missedMessages");
      assert.deepEqual(missed.map(({ senderId, text }) => [senderId, text]), ["one", "two", "three"].map((text) => [named("a6"), text]));
      await grace.close();
      const again = await open("b6", { at: 0 });
      await eventually(async () => {
        again.socket.emit("requestMissedMessages");
        const last = again.received("missedMessages").at(-1);
        assert.deepEqual(last, []);
      }, 8_000);
    });

    test("a notification by a back end reaches its user", TEST, async () => {
      const grace = await open("b7", { at: 1 });
      const body = { userId: named("b7"), type: "like", title: "News", message: "ada liked your post", data: { postId: 7, type: "no other" } };
      const { status } = await it.post("/api/v1/notifications", body, { headers: { authorization: `Bearer ${API_KEY}` } });
      assert.ok(status === 200 || status === 201, `${status}`);
      const { type, message, postId, timestamp } = await grace.next("notification");
      assert.deepEqual([type, message, postId, typeof timestamp], ["like", "ada liked your post", 7, "string"]);
    });

    test("bad input is an error and goes nowhere", TEST, async () => {
      const [ada, grace] = [await open("a8", { at: 0 }), await open("b8", { at: 1 })];
      const bad = [
        ["sendMessage"], ["sendMessage", {}], ["sendMessage", { receiverId: named("b8") }], ["sendMessage", { receiverId: named("b8"), text: "x".repeat(5001) }],
        ["sendMessage", { roomId: `user:${named("b8")}`, message: "forged" }], ["joinRoom", `user:${named("b8")}`],
        ["sendMessageToRoom", { roomId: `user:${named("b8")}`, message: "forged" }],
      ];
      for (const [n, args] of bad.entries()) {
        ada.socket.emit(...args);
        await eventually(() => assert.equal(ada.received("error").length, n + 1), 8_000);
        assert.ok(ada.received("error").at(-1).message.length > 0);
        await new Promise((resolve) => setTimeout(resolve, 110)); // ten events a second are allowed
      }
      ada.socket.emit("sendMessage", { receiverId: named("b8"), text: "marker" });
      await grace.next("newMessage", ({ text }) => text === "marker");
      assert.equal(grace.received("newMessage").length, 1);
      nothing(grace, "newRoomMessage");
    });

    test("a back end finds a user on any node, and emits what it likes", TEST, async () => {
      const tabs = [await open("c1", { at: 0 }), await open("c1", { at: 1 })];
      const stranger = await open("c2", { at: 1 });
      await eventually(async () => {
        const { body } = await it.post(`/api/users/${named("c1")}`, undefined, { as: named("c2"), at: 1 });
        assert.deepEqual([body.userId, body.online, body.sockets], [named("c1"), true, 2]);
      }, 8_000);
      const headers = { authorization: `Bearer ${API_KEY}` };
      const like = { type: "like", message: "somebody liked your post", postId: 7, timestamp: new Date().toISOString() };
      await it.post("/api/v1/emit", { users: [named("c1")], event: "notification", args: [like] }, { headers });
      for (const tab of tabs) assert.deepEqual(await tab.next("notification"), like);
      await it.post("/api/v1/emit", { event: "chatMessage", args: [{ text: `to all of ${via}` }] }, { headers });
      for (const each of [...tabs, stranger]) await each.next("chatMessage", ({ text }) => text === `to all of ${via}`);
      nothing(stranger, "notification");
    });

    test("more than ten events a second are refused", TEST, async () => {
      const ada = await open("a9", { at: 0 });
      for (let n = 0; n < 40; n += 1) ada.socket.emit("typing", { receiverId: named("b9"), isTyping: true });
      assert.match((await ada.next("error")).message, /./);
      assert.equal(ada.socket.connected, true);
    });
  });

  test("the application's heartbeat comes every 30 seconds, and its answer is taken", TEST, async () => {
    const clients = await Promise.all(WAYS.map(async (via, at) => page(await it.make(`heartbeat-${via}`, { via, at })).open()));
    for (const client of clients) {
      await eventually(() => assert.ok(client.events.some(({ name }) => name === "ping")), 40_000);
      client.socket.emit("pong");
      await client.request("joinRoom", "after-the-heartbeat");
      nothing(client, "error");
    }
  });

  test("before the server goes it says so", TEST, (t) => saysGoodbye(t, "online-users", "error"));

  test("nobody and the text undefined are refused", TEST, async () => {
    assert.equal(await it.refusal(undefined), "Authentication required");
    assert.equal(await it.refusal("undefined"), "Invalid token");
  });

  test("GET /api/users tells who is online", TEST, async () => {
    const ada = await it.open("rest", { at: 1 });
    await eventually(async () => {
      const { status, body } = await it.post("/api/users", undefined, { as: "rest", at: 0 });
      assert.equal(status, 200);
      assert.ok(body.users.some(({ userId, online }) => userId === "rest" && online));
    }, 10_000);
    await ada.close();
  });

  test("/chat is a namespace of its own with the same users", TEST, async () => {
    const [ada, grace] = [await it.open("ns-a", { at: 0, to: "/chat" }), await it.open("ns-b", { at: 1 })];
    ada.socket.emit("sendMessage", { receiverId: "ns-b", text: "across" });
    assert.equal((await grace.next("newMessage")).text, "across");
  });
});

describe("online-users with more users than a list is good for", { timeout: 120_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=online-users", { flags: ["--presence-broadcast-max", "2"] })));
  after(() => it?.stop());

  for (const via of WAYS)
    test(`over ${via}, lists give way to pages on request, and to what changed`, TEST, async () => {
      const named = (name) => `${name}-${via}`;
      const clients = [];
      for (const [n, name] of ["p1", "p2", "p3", "p4"].entries()) clients.push(await it.open(named(name), { via, at: n % 2 }));
      const [first] = clients;
      await first.next("onlineUsersChanged", ({ online, count }) => online.includes(named("p4")) && count >= 4, 10_000);
      const listed = [];
      for (let cursor; cursor !== null; ) {
        const page = await first.request("listOnlineUsers", { limit: 2, cursor });
        assert.ok(page.users.length <= 2);
        listed.push(...page.users.map(({ userId }) => userId));
        ({ cursor } = page);
      }
      for (const name of ["p1", "p2", "p3", "p4"]) assert.ok(listed.includes(named(name)), `${name} is listed`);
      assert.ok(first.received("getOnlineUsers").every((users) => users.length <= 2), "no longer list was sent");
      const gone = clients.pop();
      await gone.close();
      await first.next("onlineUsersChanged", ({ offline }) => offline.includes(named("p4")), 15_000);
      for (const each of clients) await each.close();
    });
});

describe("online-users with tokens", { timeout: 120_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=online-users", { auth: "jwt" })));
  after(() => it?.stop());

  test("the token says who it is, whatever the query says", TEST, async () => {
    const [ada, grace] = [await it.open("t-a", { at: 0, query: { userId: "t-mallory" } }), await it.open("t-b", { at: 1 })];
    ada.socket.emit("sendMessage", { receiverId: "t-b", text: "who am I?", senderId: "t-mallory" });
    assert.equal((await grace.next("newMessage")).senderId, "t-a");
  });

  test("without a token or with a wrong one nobody gets in", TEST, async () => {
    assert.equal(await it.refusal(undefined), "Authentication required");
    assert.equal(await it.refusal("x", { auth: { token: "nonsense" } }), "Invalid token");
    const { status } = await it.post("/api/messages", { receiverId: "t-b", text: "hi" });
    assert.equal(status, 401);
    assert.equal((await it.post("/api/messages", { receiverId: "t-b" }, { as: "t-a" })).status, 400);
  });
});
