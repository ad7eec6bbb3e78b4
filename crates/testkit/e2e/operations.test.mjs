/** Nodes come and go, Redis too: who notices, and who does not. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { TRANSPORTS } from "./client.mjs";
import { cluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { rawSession } from "./raw.mjs";

const DRAIN_LIMIT_MS = 10_000;
const LEASE_MS = 10_000;

test("the health pages tell a living process from a ready one", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const { url } = it.nodes[0];
  const status = async (path) => (await fetch(url + path)).status;
  assert.deepEqual([await status("/health/live"), await status("/health/ready")], [200, 200]);

  await it.redis.kill();
  await eventually(async () => assert.equal(await status("/health/ready"), 503), 10_000);
  const answer = await (await fetch(`${url}/health/ready`)).json();
  assert.notEqual(answer.status, "ok");
  assert.equal(typeof answer.checks, "object");
  assert.equal(await status("/health/live"), 200);

  await it.redis.restart();
  await eventually(async () => assert.equal(await status("/health/ready"), 200), 15_000);
});

test("a Redis that hangs makes a node unready, too", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const ready = async () => (await fetch(`${it.nodes[0].url}/health/ready`)).status;
  it.redis.process.signal("SIGSTOP");
  await eventually(async () => assert.equal(await ready(), 503), 15_000);
  it.redis.process.signal("SIGCONT");
  await eventually(async () => assert.equal(await ready(), 200), 15_000);
});

test("the socket health page and the metrics count this node's connections", { timeout: 30_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  await it.connect("ada");
  await it.connect("grace", { via: "polling" });
  const health = await (await fetch(`${it.nodes[0].url}/api/socket/health`)).json();
  assert.equal(health.status, "ok");
  assert.equal(health.socket.initialized, true);
  assert.equal(health.socket.connected, 2);
  assert.equal(typeof health.socket.rooms, "number");

  const metrics = await fetch(`${it.nodes[0].internalUrl}/metrics`);
  assert.match(metrics.headers.get("content-type") ?? "", /^text\/plain/);
  const text = await metrics.text();
  assert.match(text, /^# TYPE trunkline_connections gauge$/m);
  const connections = [...text.matchAll(/^trunkline_connections(?:\{[^}]*\})? (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  assert.equal(connections, 2);
});

test("the metrics are not on the public listener when there is an internal one", { timeout: 30_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  assert.equal((await fetch(`${it.nodes[0].url}/metrics`)).status, 404);
});

test("the stock client is served beside the demo page", { timeout: 30_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const { url } = it.nodes[0];
  const page = await fetch(`${url}/`);
  assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
  assert.match(await page.text(), /Trunkline/);
  const script = await fetch(`${url}/socket.io/socket.io.js`);
  assert.match(script.headers.get("content-type") ?? "", /javascript/);
  assert.match(await script.text(), /Socket\.IO v4/);
  const map = await fetch(`${url}/socket.io/socket.io.js.map`);
  assert.equal((await map.json()).version, 3);
  assert.equal((await fetch(`${url}/no/such/page`)).status, 404);
});

for (const via of Object.keys(TRANSPORTS)) {
  test(`SIGTERM: clients over ${via} are told and sent away, the process ends with 0 in time`, { timeout: 40_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1 });
    const clients = await Promise.all(Array.from({ length: 10 }, (_, n) => it.connect(`user-${n}`, { via })));
    await endsInTime(it.nodes[0]);
    for (const client of clients) {
      const { message, reconnectAfterMs } = await client.next("server-shutdown");
      assert.deepEqual([typeof message, typeof reconnectAfterMs], ["string", "number"]);
      assert.notEqual(await client.disconnected, "io server disconnect", "a stock client would not come back after that");
    }
  });

  test(`SIGTERM behind a balancer: clients over ${via} move to another node, the others notice nothing`, { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2, balancer: true });
    const clients = await Promise.all(Array.from({ length: 8 }, (_, n) => it.connect(`user-${n}`, { via, reconnection: true })));
    const [leaving, staying] = it.nodes;
    const moved = clients.filter(({ nodeId }) => nodeId === leaving.id);
    assert.ok(moved.length > 0 && moved.length < clients.length, "the balancer used both nodes");
    // A WebSocket that the balancer has sent through the leaving node can't stay, wherever its session is.
    const passing = await metric(leaving, "trunkline_tunnels");
    await endsInTime(leaving);
    for (const client of moved) await client.next("connected", ({ nodeId }) => nodeId === staying.id, 15_000);
    const others = clients.filter((each) => !moved.includes(each));
    await eventually(async () => {
      const again = others.filter((client) => client.received("connected").length > 1);
      assert.equal(again.length, passing);
    }, 15_000);
    for (const client of others) {
      await client.request("get:online:count");
      assert.ok(client.received("connected").length <= 2);
    }
  });
}

test("SIGTERM while Redis is away still ends with 0 in time", { timeout: 40_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  await it.connect("ada");
  await it.redis.kill();
  it.nodes[0].process.signal("SIGTERM");
  const { code } = await within(it.nodes[0].process.exited, DRAIN_LIMIT_MS + 1_000, "ending");
  assert.equal(code, 0);
});

test("kill -9 of a node: the others go on, its users are announced offline once, clients come back elsewhere", { timeout: 90_000 }, async (t) => {
  const it = await cluster(t, { nodes: 3, balancer: true });
  const [victim, ada, grace] = await it.connectApart(["victim", "ada", "grace"]);
  const alsoThere = await it.connect("mover", { at: numberOf(it, victim), reconnection: true });
  alsoThere.socket.io.uri = it.balancer.url;
  for (const each of [victim, ada, grace]) await each.join("general");
  await it.nodes[numberOf(it, victim)].process.kill();

  const { seq } = await ada.request("message:send", { conversationId: "general", content: "still here" });
  assert.equal((await grace.next("message:new")).seq, seq);
  await alsoThere.next("connected", ({ nodeId }) => nodeId !== victim.nodeId, 15_000);

  for (const each of [ada, grace]) await each.next("user:offline", ({ userId }) => userId === "victim", 2.5 * LEASE_MS);
  const { users } = await ada.request("presence:get", { userIds: ["victim", "mover"] });
  assert.deepEqual(users.map(({ online }) => online), [false, true]);
  assert.equal((await grace.request("get:online:count")).count, 3);
  const { members } = await grace.request("conversation:members", { conversationId: "general" });
  assert.deepEqual(members.map(({ userId }) => userId).sort(), ["ada", "grace"]);
  for (const each of [ada, grace]) {
    assert.equal(each.received("user:offline").filter(({ userId }) => userId === "victim").length, 1);
  }
});

test("without Redis: sockets stay, typing goes on within a node, sending says that trying again helps", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1, fsync: "always" });
  const [ada, grace] = [await it.connect("ada"), await it.connect("grace")];
  for (const each of [ada, grace]) await each.join("general");
  await it.redis.kill();

  ada.socket.emit("typing:start", { conversationId: "general" });
  assert.equal((await grace.next("typing:start")).userId, "ada");
  const message = { conversationId: "general", content: "again", clientMessageId: "again" };
  assert.equal((await ada.refusedRequest("unavailable", "message:send", message)).retryable, true);

  await it.redis.restart();
  const { seq } = await eventually(() => ada.request("message:send", message), 20_000);
  assert.equal(seq, 1);
  for (const each of [ada, grace]) {
    assert.equal(each.socket.connected, true);
    assert.equal(each.received("connected").length, 1);
  }
});

test("after Redis came back: messages, presence and typing cross the nodes again", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2 });
  const [ada, far] = [await it.connect("ada", { at: 0 }), await it.connect("far", { at: 1 })];
  for (const each of [ada, far]) await each.join("general");
  await it.redis.kill();
  await eventually(async () => assert.equal((await fetch(`${it.nodes[1].url}/health/ready`)).status, 503), 15_000);
  await it.redis.restart();
  await eventually(async () => {
    ada.socket.emit("typing:start", { conversationId: "general" });
    await far.next("typing:start", undefined, 200);
  }, 20_000);
  await eventually(async () => {
    await ada.request("message:send", { conversationId: "general", content: "hello again" });
    await far.next("message:new", undefined, 200);
  }, 20_000);
  await it.connect("newcomer", { at: 0 });
  await far.next("user:online", ({ userId }) => userId === "newcomer");
  assert.equal((await far.request("get:online:count")).count, 3);
});

test("what is acknowledged while the nodes find back to Redis reaches everyone, once and in order", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2, fsync: "always" });
  const [ada, near] = [await it.connect("ada", { at: 0 }), await it.connect("near", { at: 0 })];
  const far = await it.connect("far", { at: 1 });
  for (const each of [ada, near, far]) await each.join("general");
  await ada.request("message:send", { conversationId: "general", content: "0" });
  for (const other of [near, far]) await other.next("message:new");
  await it.redis.kill();
  await it.redis.restart();
  for (let n = 1; n <= 20; n += 1) {
    await eventually(() => ada.request("message:send", { conversationId: "general", content: `${n}`, clientMessageId: `m-${n}` }), 20_000);
  }
  for (const other of [near, far]) {
    await other.next("message:new", ({ content }) => content === "20", 15_000);
    await eventually(() => assert.equal(other.received("message:new").length, 21), 5_000);
    assert.deepEqual(other.received("message:new").map(({ seq }) => seq), Array.from({ length: 21 }, (_, n) => n + 1));
  }
});

test("with a Redis that hangs: typing goes on within a node", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const [ada, grace] = [await it.connect("ada"), await it.connect("grace")];
  for (const each of [ada, grace]) await each.join("general");
  it.redis.process.signal("SIGSTOP");
  ada.socket.emit("typing:start", { conversationId: "general" });
  assert.equal((await grace.next("typing:start", undefined, 3_000)).userId, "ada");
  it.redis.process.signal("SIGCONT");
  await eventually(() => ada.request("message:send", { conversationId: "general", content: "back" }), 15_000);
  await grace.next("message:new", ({ content }) => content === "back");
});

test("a socket that stops reading is cut off and counted, and holds up nobody", { timeout: 90_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1, flags: ["--rate-limit", "off"] });
  const [ada, grace] = [await it.connect("ada"), await it.connect("grace")];
  const stalled = await rawSession(it.nodes[0].url, "stalled");
  for (const each of [ada, grace]) await each.join("loud");
  stalled.socket.send('42["conversation:join",{"conversationId":"loud"}]');
  await grace.next("member:joined", ({ userId }) => userId === "stalled");
  stalled.socket.pause();

  let sent = 0;
  const slow = async () => (await (await fetch(`${it.nodes[0].internalUrl}/metrics`)).text()).match(/^trunkline_slow_consumers_total (\d+)/m)?.[1];
  for (; (await slow()) !== "1"; sent += 500) {
    await Promise.all(Array.from({ length: 500 }, () => ada.request("message:send", { conversationId: "loud", content: "x".repeat(2000) })));
    await grace.next("message:new", ({ seq }) => seq === sent + 500);
  }
  assert.equal(grace.received("message:new").length, sent);
  await eventually(async () => {
    const { users } = await ada.request("presence:get", { userIds: ["stalled"] });
    assert.deepEqual([users[0].online, users[0].sockets], [false, 0]);
  }, 10_000);
  stalled.socket.resume();
  await within(stalled.closed, 5_000, "being closed");
});

test("a bad setting is refused at start, with a code of its own", { timeout: 30_000 }, async (t) => {
  const it = await cluster(t, { nodes: 0 });
  await assert.rejects(it.startNode("bad", ["--ping-interval", "soon"]), /ping-interval/);
});

async function endsInTime(node) {
  const begun = performance.now();
  node.process.signal("SIGTERM");
  assert.deepEqual(await within(node.process.exited, DRAIN_LIMIT_MS + 2_000, "ending"), { code: 0, signal: null });
  assert.ok(performance.now() - begun < DRAIN_LIMIT_MS);
}

/** The value of a metric without labels. */
async function metric(node, name) {
  const text = await (await fetch(`${node.internalUrl}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
}

function numberOf(it, client) {
  return it.nodes.findIndex(({ id }) => id === client.nodeId);
}
