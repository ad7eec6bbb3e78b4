/** The `showcase` dialect, with clients as its document writes them: sender and receiver on different nodes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually } from "./eventually.mjs";
import { nothing, saysGoodbye, speaking, WAYS } from "./speaking.mjs";

const TEST = { timeout: 60_000 };

/** The document's chat page, without the page. */
function chat(client, username) {
  const seen = { lines: [], typing: "" };
  const { socket } = client;
  const add = ({ username: who, text }) => seen.lines.push(`${who}: ${text}`);
  socket.on("previous-messages", (messages) => messages.forEach(add));
  socket.on("new-message", add);
  socket.on("user-typing", (data) => (seen.typing = `${data.username} is typing...`));
  socket.on("user-stop-typing", () => (seen.typing = ""));
  socket.on("user-joined", (data) => add({ username: "System", text: `${data.username} joined (${data.userCount} users online)` }));
  socket.on("user-left", (data) => add({ username: "System", text: `${data.username} left (${data.userCount} users online)` }));
  if (username !== undefined) socket.emit("join", username);
  return Object.assign(client, { seen });
}

for (const via of WAYS) describe(`showcase over ${via}`, { timeout: 240_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=showcase,/chat=showcase,/admin=showcase,/dynamic-{name}=showcase")));
  after(() => it?.stop());
  const open = (user, options) => it.open(user, { via, ...options });

  test("the chat: who comes, what was said before, what is said, who types, who leaves", TEST, async () => {
    const ada = chat(await open(undefined, { at: 0 }), "Ada");
    const first = await ada.next("user-joined");
    assert.deepEqual(first, { username: "Ada", userCount: 1 });
    ada.socket.emit("send-message", { text: "first" });
    const said = await ada.next("new-message");
    assert.deepEqual([said.username, said.text, typeof said.timestamp, typeof said.id], ["Ada", "first", "number", "string"]);
    assert.ok(Math.abs(said.timestamp - Date.now()) < 60_000);

    const grace = chat(await open(undefined, { at: 1 }), "Grace");
    assert.deepEqual((await grace.next("previous-messages")).map(({ username, text }) => [username, text]), [["Ada", "first"]]);
    for (const each of [ada, grace]) await each.next("user-joined", ({ username, userCount }) => username === "Grace" && userCount === 2);

    grace.socket.emit("typing");
    await eventually(() => assert.equal(ada.seen.typing, "Grace is typing..."), 8_000);
    grace.socket.emit("send-message", { text: "hello Ada" });
    grace.socket.emit("stop-typing");
    await eventually(() => assert.equal(ada.seen.typing, ""), 8_000);
    assert.equal((await ada.next("new-message", ({ text }) => text === "hello Ada")).username, "Grace");
    grace.socket.emit("chat-message", { text: "with a time", timestamp: Date.now() });
    for (const each of [ada, grace]) await each.next("new-message", ({ text }) => text === "with a time");

    await grace.close();
    assert.deepEqual(await ada.next("user-left", undefined, 10_000), { username: "Grace", userCount: 1 });
    assert.ok(ada.seen.lines.includes("System: Grace left (1 users online)"));
    await ada.close();
  });

  test("whoever did not join hears and is seen typing by the name it gives", TEST, async () => {
    const [ada, grace] = [await open(undefined, { at: 0 }), await open(undefined, { at: 1 })];
    await grace.next("welcome");
    grace.socket.emit("stop-typing", { username: "Alice" });
    await ada.next("user-stop-typing");
    ada.socket.emit("typing", { username: "Alice" });
    assert.deepEqual(await grace.next("user-typing"), { username: "Alice" });
    nothing(ada, "user-typing");
  });

  test("the number of users is told on each change", TEST, async () => {
    const ada = await open("count-a", { at: 0 });
    await ada.next("user-count", (count) => count >= 1, 10_000);
    const grace = await open("count-b", { at: 1 });
    await eventually(() => assert.ok(ada.received("user-count").length >= 2), 10_000);
    const with_grace = ada.received("user-count").at(-1);
    await grace.close();
    await ada.next("user-count", (count) => count === with_grace - 1, 15_000);
  });

  test("data is checked: a good message goes to all, a bad one is explained to its sender alone", TEST, async () => {
    const [ada, grace] = [await open("data-a", { at: 0 }), await open("data-b", { at: 1 })];
    await grace.next("welcome");
    ada.socket.emit("message", { text: "checked", timestamp: 1_700_000_000_000 });
    await eventually(() => assert.ok(ada.events.some(({ name }) => name === "message-success")), 8_000);
    for (const each of [ada, grace]) await each.next("new-message", ({ text }) => text === "checked");
    for (const [n, wrong] of [{}, { text: "" , timestamp: 1 }, { text: "x".repeat(501), timestamp: 1 }, { text: 5, timestamp: 1 }, { text: "no time" }, "a text", undefined].entries()) {
      ada.socket.emit("message", wrong);
      await eventually(() => assert.equal(ada.received("validation-error").length, n + 1, JSON.stringify(wrong)), 8_000);
      assert.ok(ada.received("validation-error").at(-1).error.length > 0);
    }
    nothing(grace, "validation-error");
    assert.equal(grace.received("new-message").length, 1);
    assert.deepEqual(await ada.ask("message", { text: "with an ack", timestamp: 2 }), { success: true, status: "ok" });
  });

  test("the eleventh message within a minute is too many", TEST, async () => {
    const ada = await open("limit-a");
    for (let n = 0; n < 11; n += 1) ada.socket.emit("message", { text: `${n}`, timestamp: n });
    await eventually(() => assert.equal(ada.events.filter(({ name }) => name === "rate-limit-exceeded").length, 1), 8_000);
    await eventually(() => assert.equal(ada.events.filter(({ name }) => name === "message-success").length, 10), 8_000);
  });

  test("notifications reach those who subscribed for themselves", TEST, async () => {
    const [ada, grace, mallory] = [await open("n-a", { at: 0 }), await open("n-b", { at: 1 }), await open("n-m", { at: 1 })];
    await grace.request("subscribe", "n-b");
    mallory.socket.emit("subscribe", "n-b");
    await mallory.next("message-error");
    ada.socket.emit("send-notification", { userId: "n-b", title: "Hi", message: "for you" });
    const { title, message, timestamp } = await grace.next("notification");
    assert.deepEqual([title, message], ["Hi", "for you"]);
    assert.ok(!Number.isNaN(new Date(timestamp).getTime()));
    ada.socket.emit("send-notification", { userId: "n-m", title: "marker", message: "marker" });
    await mallory.next("notification", ({ title: of }) => of === "marker");
    nothing(mallory, "notification", ({ title: of }) => of === "Hi");
  });

  test("a guest may say whose notifications it wants", TEST, async () => {
    const [ada, guest] = [await open("n-c", { at: 0 }), await open(undefined, { at: 1 })];
    await guest.request("subscribe", "n-somebody");
    await eventually(async () => {
      ada.socket.emit("send-notification", { userId: "n-somebody", title: "Hi", message: "for you" });
      assert.ok(guest.received("notification").length > 0);
    }, 8_000);
  });

  test("documents are edited together", TEST, async () => {
    const [ada, grace] = [await open("d-a", { at: 0 }), await open("d-b", { at: 1 })];
    const docId = `plan-${via}`;
    for (const each of [ada, grace]) {
      each.socket.emit("join-document", docId);
      assert.deepEqual(await each.next("document-state"), { content: "" });
    }
    ada.socket.emit("edit", { docId, content: "Chapter 1", cursorPosition: 9 });
    const { content, cursorPosition, userId } = await grace.next("remote-edit");
    assert.deepEqual([content, cursorPosition, userId], ["Chapter 1", 9, "d-a"]);
    grace.socket.emit("cursor-move", { docId, position: { line: 1, column: 2 } });
    const cursor = await ada.next("remote-cursor");
    assert.deepEqual([cursor.userId, cursor.position], ["d-b", { line: 1, column: 2 }]);
    nothing(ada, "remote-edit");
    const late = await open("d-c", { at: 1 });
    late.socket.emit("join-document", docId);
    assert.deepEqual(await late.next("document-state"), { content: "Chapter 1" });
    await Promise.all([ada, grace].map((each, n) => each.request("edit", { docId, content: `version of ${n}` })));
    const last = await open("d-d", { at: 0 });
    last.socket.emit("join-document", docId);
    assert.match((await last.next("document-state")).content, /^version of [01]$/);
    await late.request("leave-document", docId);
    const heard = late.received("remote-edit").length;
    await ada.request("edit", { docId, content: "without the late one" });
    await last.next("remote-edit", (edit) => edit.content === "without the late one");
    ada.socket.emit("send-notification", { userId: "d-c", title: "marker", message: "" });
    await late.next("notification");
    assert.equal(late.received("remote-edit").length, heard);
  });

  test("edits of a document on two nodes at once end with the same content on every screen", TEST, async () => {
    const docId = `race-${via}`;
    const editors = await Promise.all(["r-a", "r-b"].map((name, at) => open(name, { at })));
    const screens = new Map();
    for (const each of editors) {
      each.socket.on("document-state", ({ content }) => screens.set(each, content));
      each.socket.on("remote-edit", ({ content }) => screens.set(each, content));
      each.socket.emit("join-document", docId);
      await each.next("document-state");
    }
    await Promise.all(Array.from({ length: 40 }, (_, n) => {
      const each = editors[n % 2];
      screens.set(each, `text ${n}`);
      return each.request("edit", { docId, content: `text ${n}`, cursorPosition: n });
    }));
    const late = await open("r-c", { at: 0 });
    late.socket.emit("join-document", docId);
    const { content } = await late.next("document-state");
    await eventually(() => assert.deepEqual(editors.map((each) => screens.get(each)), [content, content]), 8_000);
  });

  test("data is saved, and the answer says whether", TEST, async () => {
    const ada = await open("s-a");
    assert.equal((await ada.ask("save-data", { name: "Alice" })).success, true);
    for (const wrong of [{}, { name: null }, "Alice", undefined]) {
      const { success, error } = await ada.ask("save-data", wrong);
      assert.deepEqual([success, typeof error], [false, "string"]);
    }
  });

  test("/chat passes a bare text on to everyone in it, /admin hears nothing of it but the number of users", TEST, async () => {
    const [ada, grace] = [await open("ns-a", { at: 0, to: "/chat" }), await open("ns-b", { at: 1, to: "/chat" })];
    await grace.next("welcome");
    ada.socket.emit("message", "Hello chat!");
    for (const each of [ada, grace]) assert.equal(await each.next("new-message"), "Hello chat!");
  });

  test("dynamic namespaces are worlds of their own", TEST, async () => {
    const [one, two, other] = [await open("dyn-a", { at: 0, to: "/dynamic-room1" }), await open("dyn-b", { at: 1, to: "/dynamic-room1" }), await open("dyn-c", { at: 1, to: "/dynamic-room2" })];
    for (const each of [two, other]) await each.next("welcome");
    one.socket.emit("join", "One");
    await two.next("user-joined");
    one.socket.emit("send-message", { text: "in here" });
    await two.next("new-message", ({ text }) => text === "in here");
    other.socket.emit("join", "Other");
    assert.deepEqual(await other.next("previous-messages"), []);
    assert.deepEqual(await other.next("user-joined"), { username: "Other", userCount: 1 });
    nothing(other, "new-message");
  });

});

test("before the server goes it says so, in showcase", TEST, (t) => saysGoodbye(t, "showcase", "message-error"));

describe("showcase with tokens", { timeout: 60_000 }, () => {
  let it;
  before(async () => (it = await speaking("/=showcase", { auth: "jwt" })));
  after(() => it?.stop());

  test("without a token or with a wrong one nobody gets in", TEST, async () => {
    assert.equal(await it.refusal(undefined), "Authentication error");
    assert.equal(await it.refusal("x", { auth: { token: "nonsense" } }), "Authentication error");
  });

  test("nobody subscribes to somebody else's notifications", TEST, async () => {
    const [ada, mallory] = [await it.open("owner", { at: 0 }), await it.open("mallory", { at: 1 })];
    assert.equal((await mallory.ask("subscribe", "owner")).success, false);
    assert.equal((await ada.ask("subscribe", "owner")).success, true);
  });
});
