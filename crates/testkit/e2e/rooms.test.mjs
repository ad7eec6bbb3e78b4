/** The `rooms` dialect, with clients as its document writes them: sender and receiver on different nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "./eventually.mjs";
import { nothing, saysGoodbye, speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 60_000 };
const API_KEY = "a-key-that-only-tests-know-0123456789";

describe("rooms", { timeout: 300_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=rooms", { auth: "jwt", flags: ["--api-key", API_KEY] })));
  after(() => it?.stop());

  for (const via of WAYS) describe(`over ${via}`, () => {
    const open = (name, options) => it.open(`${name}-${via}`, { via, ...options });

    test("a message is echoed to its sender, then said to be processed", TEST, async () => {
      const ada = await open("a1");
      ada.socket.emit("message", { text: "hi", list: [1, null] });
      await ada.next("success");
      assert.deepEqual(ada.events.map(({ name, args }) => [name, ...args]), [
        ["response", { message: "Message received", data: { text: "hi", list: [1, null] } }],
        ["success", { message: "Processed" }],
      ]);
      ada.socket.emit("message", Buffer.from([1, 2, 3]));
      await eventually(() => assert.equal(ada.received("response").length, 2), 8_000);
      assert.deepEqual([...new Uint8Array(ada.received("response")[1].data)], [1, 2, 3]);
    });

    test("broadcast reaches everyone else, announce everyone, as it was sent", TEST, async () => {
      const [ada, grace, third] = [await open("a2", { at: 0 }), await open("b2", { at: 1 }), await open("c2", { at: 0 })];
      const fits = (data) => data?.of === via;
      ada.socket.emit("broadcast", { of: via, n: 1 });
      for (const each of [grace, third]) assert.deepEqual(await each.next("message", fits), { of: via, n: 1 });
      ada.socket.emit("announce", { of: via, bytes: Buffer.from("binary") });
      for (const each of [ada, grace, third]) assert.equal(Buffer.from((await each.next("announcement", fits)).bytes).toString(), "binary");
      nothing(ada, "message", fits);
    });

    test("chat is answered", TEST, async () => {
      const ada = await open("a3");
      ada.socket.emit("chat", { message: "echo me" });
      assert.deepEqual(await ada.next("chat_response"), { status: "ok", echo: "echo me" });
    });

    test("rooms: who comes, what is said to the others and to all, who leaves", TEST, async () => {
      const room = `lounge-${via}`;
      const [ada, grace, outside] = [await open("a4", { at: 0 }), await open("b4", { at: 1 }), await open("c4", { at: 1 })];
      await ada.request("join_room", room);
      grace.socket.emit("join_room", room);
      assert.deepEqual(await ada.next("user_joined"), { socketId: grace.socket.id, roomId: room });
      ada.socket.emit("room_message", { roomId: room, message: "to the others" });
      const heard = await grace.next("message", ({ roomId }) => roomId === room);
      assert.deepEqual([heard.socketId, heard.message], [ada.socket.id, "to the others"]);
      grace.socket.emit("room_announce", { roomId: room, message: { to: "all" } });
      for (const each of [ada, grace]) {
        const { socketId, message } = await each.next("announcement", ({ roomId }) => roomId === room);
        assert.deepEqual([socketId, message], [grace.socket.id, { to: "all" }]);
      }
      nothing(ada, "message", (data) => data.roomId === room);
      const id = grace.socket.id;
      grace.socket.emit("leave_room", room);
      assert.equal((await ada.next("user_left")).socketId, id);
      ada.socket.emit("room_message", { roomId: room, message: "gone?" });
      ada.socket.emit("broadcast", { marker: via });
      for (const each of [grace, outside]) {
        await each.next("message", ({ marker }) => marker === via);
        nothing(each, "message", ({ message }) => message === "gone?");
      }
      nothing(outside, "announcement", (data) => data.roomId === room);
    });

    test("whoever loses the connection has left", TEST, async () => {
      const room = `lost-${via}`;
      const [ada, grace] = [await open("a5", { at: 0 }), await open("b5", { at: 1 })];
      for (const each of [ada, grace]) await each.request("join_room", room);
      const id = grace.socket.id;
      await grace.close();
      await ada.next("user_left", ({ socketId }) => socketId === id, 15_000);
    });

    test("a back end sends to all connections of a user, to rooms without repeats, and to everyone", TEST, async () => {
      const headers = { authorization: `Bearer ${API_KEY}` };
      const emit = async (body) => assert.equal((await it.post("/api/v1/emit", body, { headers })).status, 200);
      const tabs = [await open("e1", { at: 0 }), await open("e1", { at: 1 })];
      const other = await open("e2", { at: 1 });
      const rooms = [`one-${via}`, `two-${via}`];
      for (const room of rooms) for (const each of [tabs[0], other]) await each.request("join_room", room);
      await emit({ users: [`e1-${via}`], event: "to-user", args: [{ n: 1 }, "second"] });
      for (const tab of tabs) {
        await tab.next("to-user");
        assert.deepEqual(tab.events.find(({ name }) => name === "to-user").args, [{ n: 1 }, "second"]);
      }
      await emit({ rooms, except: [`user:e2-${via}`], event: "to-rooms", args: ["once"], volatile: true });
      await emit({ event: "announcement", args: [`maintenance ${via}`] });
      for (const each of [...tabs, other]) await each.next("announcement", (text) => text === `maintenance ${via}`);
      assert.deepEqual([tabs[0], tabs[1], other].map((each) => each.received("to-rooms").length), [1, 0, 0]);
      nothing(other, "to-user");
      await it.post("/api/v1/notifications", { userId: `e1-${via}`, title: "t", message: "for you" }, { headers });
      for (const tab of tabs) assert.equal((await tab.next("notification")).message, "for you");
    });

    test("the eleventh message within a minute is refused, and nothing else is", TEST, async () => {
      const ada = await open("a6");
      for (let n = 0; n < 11; n += 1) ada.socket.emit("message", n);
      assert.deepEqual(await ada.next("error"), { message: "Rate limit exceeded" });
      ada.socket.emit("chat", { message: "still here" });
      await ada.next("chat_response");
      assert.equal(ada.received("response").length, 10);
    });

    test("bad input is an error and goes nowhere", TEST, async () => {
      const [ada, grace] = [await open("a7", { at: 0 }), await open("b7", { at: 1 })];
      const target = `user:b7-${via}`;
      const bad = [
        ["join_room"], ["join_room", null], ["join_room", ""], ["join_room", target], ["join_room", grace.socket.id], ["room_message"], ["room_message", {}],
        ["room_message", { roomId: target, message: "forged" }], ["room_announce", { roomId: target, message: "forged" }],
        ["room_message", { roomId: "r", message: "x".repeat(5001) }], ["no_such_event", 1],
      ];
      for (const [n, args] of bad.entries()) {
        ada.socket.emit(...args);
        await eventually(() => assert.equal(ada.received("error").length, n + 1, JSON.stringify(args)), 8_000);
        assert.ok(ada.received("error").at(-1).message.length > 0);
      }
      ada.socket.emit("broadcast", { marker: `bad-${via}` });
      await grace.next("message", ({ marker }) => marker === `bad-${via}`);
      nothing(grace, "message", ({ message }) => message === "forged");
      nothing(grace, "announcement", ({ message }) => message === "forged");
    });
  });

  test("before the server goes it says so", TEST, (t) => saysGoodbye(t, "rooms", "error"));

  test("a token in auth or in the query lets in, none or a wrong one does not", TEST, async () => {
    const { token } = await import("./cluster.mjs");
    const made = await it.open(undefined, { query: { token: await token("by-query") }, auth: {} });
    assert.equal(made.socket.connected, true);
    assert.equal(await it.refusal(undefined), "Authentication error: No token");
    assert.equal(await it.refusal("x", { auth: { token: "nonsense" } }), "Authentication error: Invalid token");
  });
});
