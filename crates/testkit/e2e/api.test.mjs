/** The HTTP interface: what users may, with their token, and what back ends may, with the API key. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { sharedCluster } from "./cluster.mjs";

const KEY = "a-key-that-only-tests-know";

describe("over http", { timeout: 180_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--api-key", KEY] });
  });
  after(() => it?.stop());

  const call = async (method, path, { at = 0, body, ...headers } = {}) => {
    const response = await fetch(`${it.nodes[at].url}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, ...(await response.json()) };
  };
  const as = (user) => ({ "x-user-id": user });
  const backEnd = { authorization: `Bearer ${KEY}` };

  test("a message to a user is stored, answered, and delivered", { timeout: 30_000 }, async () => {
    const bob = await it.connect("http-bob", { at: 1 });
    const { status, success, message } = await call("POST", "/api/messages", { ...as("http-ada"), body: { receiverId: "http-bob", text: "hello" } });
    assert.deepEqual([status, success], [201, true]);
    assert.deepEqual([message.senderId, message.receiverId, message.text, message.seq], ["http-ada", "http-bob", "hello", 1]);
    assert.equal((await bob.next("message:new")).id, message.id);
  });

  test("a message to a conversation can be read back, listed and paged", { timeout: 30_000 }, async () => {
    for (const content of ["one", "two", "three"]) {
      const body = { conversationId: "http room/1", content, clientMessageId: content };
      assert.equal((await call("POST", "/api/messages", { ...as("http-ada"), body })).status, 201);
    }
    const path = `/api/conversations/${encodeURIComponent("http room/1")}/messages`;
    const all = await call("GET", path, { at: 1, ...as("http-bob") });
    assert.deepEqual([all.success, all.messages.map(({ content }) => content)], [true, ["one", "two", "three"]]);
    const page = await call("GET", `${path}?after=1&limit=1`, as("http-bob"));
    assert.deepEqual([page.messages.map(({ seq }) => seq), page.complete], [[2], false]);
    const { conversations } = await call("GET", "/api/conversations", as("http-ada"));
    assert.equal(conversations.find(({ conversationId }) => conversationId === "http room/1").lastMessage.content, "three");
  });

  test("missed messages come once", { timeout: 30_000 }, async () => {
    await call("POST", "/api/messages", { ...as("http-ada"), body: { receiverId: "http-away", text: "later" } });
    const { messages, complete } = await call("GET", "/api/messages/missed", { at: 1, ...as("http-away") });
    assert.deepEqual([messages.map(({ kind, content }) => [kind, content]), complete], [[["message", "later"]], true]);
    assert.deepEqual((await call("GET", "/api/messages/missed", as("http-away"))).messages, []);
  });

  test("who is online can be asked for", { timeout: 30_000 }, async () => {
    await it.connect("http-here", { at: 1 });
    const { users, count } = await call("GET", "/api/users", as("http-ada"));
    assert.ok(users.some(({ userId, online }) => userId === "http-here" && online) && count >= 1);
    const { userId, online, sockets } = await call("GET", "/api/users/http-here", as("http-ada"));
    assert.deepEqual([userId, online, sockets], ["http-here", true, 1]);
  });

  test("bad requests are explained", { timeout: 30_000 }, async () => {
    const send = (body, headers = as("http-ada")) => call("POST", "/api/messages", { ...headers, body });
    const cases = [
      [await send({ receiverId: "x", text: "y" }, {}), 401, "unauthenticated"],
      [await send("{"), 400, "invalid"],
      [await send({ text: "to nobody" }), 400, "invalid"],
      [await send({ receiverId: "x" }), 400, "invalid"],
      [await send({ receiverId: "x".repeat(10_000), text: "y" }), 400, "invalid"],
      [await send({ conversationId: "user:bob", content: "forged" }), 403, "forbidden"],
      [await send({ conversationId: "dm:bob:zoe", content: "forged" }), 403, "forbidden"],
      [await send({ receiverId: "x", text: "y".repeat(5001) }), 413, "too_large"],
      [await send({ receiverId: "x", text: "y".repeat(1_100_000) }), 413, "too_large"],
      [await call("GET", "/api/conversations/x/messages?limit=many", as("http-ada")), 400, "invalid"],
      [await call("GET", "/api/conversations/dm:bob:zoe/messages", as("http-ada")), 403, "forbidden"],
      [await call("GET", "/api/nothing"), 404, "not_found"],
      [await call("POST", "/api/v1/emit", { body: { event: "x" } }), 401, "unauthenticated"],
      [await call("POST", "/api/v1/emit", { authorization: "Bearer wrong", body: { event: "x" } }), 401, "unauthenticated"],
      [await call("POST", "/api/v1/emit", { ...backEnd, body: {} }), 400, "invalid"],
      [await call("POST", "/api/v1/emit", { ...backEnd, body: { event: "disconnect" } }), 400, "invalid"],
      [await call("POST", "/api/v1/emit", { ...backEnd, body: { event: "x", namespace: "/nowhere" } }), 404, "not_found"],
      [await call("POST", "/api/v1/messages", { ...backEnd, body: { senderId: "undefined", conversationId: "x", content: "y" } }), 400, "invalid"],
      [await call("POST", "/api/v1/notifications", { ...backEnd, body: { title: "t", message: "m" } }), 400, "invalid"],
    ];
    for (const [{ status, success, error, message }, expected, code] of cases) {
      assert.deepEqual([status, success, error], [expected, false, code], message);
      assert.ok(message.length > 0);
    }
  });

  test("a back end emits to everyone, rooms and users, on all nodes", { timeout: 30_000 }, async () => {
    const [ada, bob] = [await it.connect("be-ada", { at: 0 }), await it.connect("be-bob", { at: 1 })];
    await bob.join("be-room");
    const emit = (body) => call("POST", "/api/v1/emit", { ...backEnd, body });
    assert.equal((await emit({ event: "to-all", args: [{ n: 1 }, "two"] })).success, true);
    for (const each of [ada, bob]) await each.next("to-all");
    assert.deepEqual(ada.events.find(({ name }) => name === "to-all").args, [{ n: 1 }, "two"]);
    await emit({ event: "to-room", rooms: ["be-room"], args: ["r"] });
    await emit({ event: "to-user", users: ["be-ada"], args: ["u"] });
    await emit({ event: "to-others", except: ["user:be-ada"], args: [] });
    assert.equal(await bob.next("to-room"), "r");
    assert.equal(await ada.next("to-user"), "u");
    await emit({ event: "marker", args: ["m"] });
    for (const each of [ada, bob]) await each.next("marker");
    assert.deepEqual([ada.received("to-room"), bob.received("to-user"), ada.received("to-others").length], [[], [], 0]);
    assert.equal(bob.received("to-others").length, 1);
  });

  test("a back end sends messages and notifications", { timeout: 30_000 }, async () => {
    const bob = await it.connect("be-heard", { at: 1 });
    const sent = await call("POST", "/api/v1/messages", { ...backEnd, body: { senderId: "system", recipientUserId: "be-heard", content: "hi" } });
    assert.deepEqual([sent.status, (await bob.next("message:new")).senderId], [201, "system"]);
    const body = { userIds: ["be-heard", "be-absent"], title: "t", message: "m", data: [1] };
    const notified = await call("POST", "/api/v1/notifications", { ...backEnd, body });
    assert.deepEqual([notified.status, notified.notifications.length], [201, 2]);
    const heard = await bob.next("notification");
    assert.deepEqual([heard.title, heard.data, "senderId" in heard], ["t", [1], false]);
    const { messages } = await call("GET", "/api/messages/missed", as("be-absent"));
    assert.deepEqual(messages.map(({ kind, title }) => [kind, title]), [["notification", "t"]]);
  });

  test("a request with an Idempotency-Key is carried out once, whichever node is asked", { timeout: 30_000 }, async () => {
    const bob = await it.connect("once-bob", { at: 1 });
    const body = { senderId: "system", recipientUserId: "once-bob", content: "once" };
    const send = (at, change = {}) => call("POST", "/api/v1/messages", { at, ...backEnd, "idempotency-key": "k-1", body: { ...body, ...change } });
    const [first, again] = [await send(0), await send(1)];
    assert.deepEqual([again.status, again.message], [201, first.message]);
    assert.equal(again.headers.get("idempotency-replayed"), "true");
    assert.equal((await send(0, { content: "other" })).status, 409);
    await call("POST", "/api/v1/messages", { ...backEnd, body: { ...body, content: "marker" } });
    await bob.next("message:new", ({ content }) => content === "marker");
    assert.deepEqual(bob.received("message:new").map(({ content }) => content), ["once", "marker"]);
  });
});
