/** Direct messages, typing, and who is online: addressed to people, wherever they are connected. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { sharedCluster } from "./cluster.mjs";

describe("people on two nodes", { timeout: 90_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2 });
  });
  after(() => it?.stop());

  test("a private message reaches all sockets of the recipient, on all nodes, and nobody else", { timeout: 20_000 }, async () => {
    const ada = await it.connect("pm-ada", { at: 0 });
    const bobs = [await it.connect("pm-bob", { at: 0 }), await it.connect("pm-bob", { at: 1 }), await it.connect("pm-bob", { at: 1, via: "polling" })];
    const eve = await it.connect("pm-eve", { at: 1 });
    const ack = await ada.request("private:message", { recipientUserId: "pm-bob", content: "psst", clientMessageId: "c1" });
    for (const bob of bobs) {
      const { id, from, senderId, recipientUserId, conversationId, content } = await bob.next("message:new");
      assert.deepEqual(
        { id, from, senderId, recipientUserId, conversationId, content },
        { id: ack.messageId, from: "pm-ada", senderId: "pm-ada", recipientUserId: "pm-bob", conversationId: "dm:pm-ada:pm-bob", content: "psst" },
      );
    }
    await ada.request("private:message", { recipientUserId: "pm-eve", content: "marker" });
    await eve.next("message:new", ({ content }) => content === "marker");
    assert.equal(eve.received("message:new").length, 1);
    for (const bob of bobs) assert.equal(bob.received("message:new").length, 1);
  });

  test("a private message to someone offline is in the conversation when they come", { timeout: 20_000 }, async () => {
    const ada = await it.connect("off-ada", { at: 0 });
    await ada.request("private:message", { recipientUserId: "off-bob", content: "for later" });
    const bob = await it.connect("off-bob", { at: 1 });
    const { messages } = await bob.request("message:history", { conversationId: "dm:off-ada:off-bob" });
    assert.deepEqual(messages.map(({ content }) => content), ["for later"]);
  });

  test("typing reaches the others in the conversation and not the one who types", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("t-ada", { at: 0 }), await it.connect("t-grace", { at: 1 })];
    const alan = await it.connect("t-alan", { at: 0 });
    for (const each of [ada, grace, alan]) await each.join("desk");
    ada.socket.emit("typing:start", { conversationId: "desk" });
    for (const other of [grace, alan]) {
      const { userId, conversationId } = await other.next("typing:start");
      assert.deepEqual([userId, conversationId], ["t-ada", "desk"]);
    }
    ada.socket.emit("typing:stop", { conversationId: "desk" });
    await grace.next("typing:stop", ({ userId }) => userId === "t-ada");
    grace.socket.emit("typing:start", { conversationId: "desk" });
    await ada.next("typing:start", ({ userId }) => userId === "t-grace");
    assert.deepEqual(ada.received("typing:start").map(({ userId }) => userId), ["t-grace"]);
  });

  test("typing to one person reaches them alone", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("tp-ada", { at: 0 }), await it.connect("tp-grace", { at: 1 })];
    const eve = await it.connect("tp-eve", { at: 1 });
    ada.socket.emit("typing:start", { recipientUserId: "tp-grace" });
    assert.equal((await grace.next("typing:start")).userId, "tp-ada");
    ada.socket.emit("typing:start", { recipientUserId: "tp-eve" });
    await eve.next("typing:start");
    assert.equal(eve.received("typing:start").length, 1);
  });

  test("typing that nobody stops stops by itself", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("ts-ada", { at: 0 }), await it.connect("ts-grace", { at: 1 })];
    for (const each of [ada, grace]) await each.join("slow");
    ada.socket.emit("typing:start", { conversationId: "slow" });
    await grace.next("typing:start");
    const begun = performance.now();
    await grace.next("typing:stop", ({ userId }) => userId === "ts-ada", 10_000);
    assert.ok(performance.now() - begun > 3_500, "not before the writer could have said more");
  });

  test("typing stops when the writer is gone", { timeout: 20_000 }, async () => {
    const [ada, grace] = [await it.connect("tg-ada", { at: 0 }), await it.connect("tg-grace", { at: 1 })];
    for (const each of [ada, grace]) await each.join("gone");
    ada.socket.emit("typing:start", { conversationId: "gone" });
    await grace.next("typing:start");
    await ada.close();
    await grace.next("typing:stop", ({ userId }) => userId === "tg-ada", 3_000);
  });
});

describe("presence on two nodes", { timeout: 60_000 }, () => {
  let it;
  let watcher;
  before(async () => {
    it = await sharedCluster({ nodes: 2 });
    watcher = await it.connect("watcher", { at: 1 });
  });
  after(() => it?.stop());

  test("a user with two tabs on different nodes comes online once and goes offline once", { timeout: 30_000 }, async () => {
    const first = await it.connect("two-tabs", { at: 0 });
    const second = await it.connect("two-tabs", { at: 1 });
    await watcher.next("user:online", ({ userId }) => userId === "two-tabs");
    assert.equal((await watcher.request("get:online:count")).count, 2);

    await first.close();
    await bracket(it, "after-first");
    assert.equal(about(watcher, "user:offline", "two-tabs").length, 0, "one tab is still open");
    assert.equal((await watcher.request("get:online:count")).count, 2);

    await second.close();
    const { lastSeen } = await watcher.next("user:offline", ({ userId }) => userId === "two-tabs");
    assert.ok(Math.abs(Date.parse(lastSeen) - Date.now()) < 30_000);
    await bracket(it, "after-second");
    assert.equal(about(watcher, "user:online", "two-tabs").length, 1);
    assert.equal(about(watcher, "user:offline", "two-tabs").length, 1);
    assert.equal((await watcher.request("get:online:count")).count, 1);
  });

  test("who is online can be asked for, from any node", { timeout: 30_000 }, async () => {
    const tabs = [await it.connect("asked", { at: 0 }), await it.connect("asked", { at: 1 })];
    const { users } = await watcher.request("presence:get", { userIds: ["asked", "never-seen"] });
    const [asked, never] = users;
    assert.deepEqual([asked.userId, asked.online, asked.sockets], ["asked", true, 2]);
    assert.deepEqual([never.userId, never.online, never.sockets], ["never-seen", false, 0]);
    const list = await watcher.request("presence:list", {});
    assert.deepEqual(list.users.map(({ userId }) => userId).sort(), ["asked", "watcher"]);
    assert.equal(list.count, 2);
    for (const tab of tabs) await tab.close();
    await watcher.next("user:offline", ({ userId }) => userId === "asked");
    const after = await watcher.request("presence:get", { userIds: ["asked"] });
    assert.deepEqual([after.users[0].online, typeof after.users[0].lastSeen], [false, "string"]);
  });

  /** Somebody else comes and goes: what was announced before has arrived by then. */
  async function bracket(cluster, userId) {
    const passer = await cluster.connect(userId, { at: 0 });
    await watcher.next("user:online", (event) => event.userId === userId);
    await passer.close();
    await watcher.next("user:offline", (event) => event.userId === userId);
  }

  function about(client, name, userId) {
    return client.received(name).filter((event) => event.userId === userId);
  }
});
