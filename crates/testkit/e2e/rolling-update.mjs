/** Replaces the nodes of a cluster one by one under load, and says what the clients noticed. See scripts/rolling-update. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";

import { io } from "socket.io-client";

import { haproxy } from "./balancers.mjs";
import { sharedCluster } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";
import { Process } from "./processes.mjs";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "1500" },
    nodes: { type: "string", default: "3" },
    old: { type: "string" },
    new: { type: "string" },
  },
});
const [CLIENTS, NODES] = [Number(values.clients), Number(values.nodes)];
const ROOM = 10;
const EACH_SENDS_EVERY_MS = 10_000;
/** Over how many seconds a node sends so many clients away, by default. */
const windowOf = (clients) => Math.max(1, Math.min(8, clients / 50));
/** A tenth begins with polling, as stock clients do; the rest opens a WebSocket straight away. */
const TRANSPORTS = (n) => (n % 10 === 0 ? ["polling", "websocket"] : ["websocket"]);

const people = [];
const reconnects = [];
/** When a node was told to go, and how many clients it had. */
const drains = [];
const latencies = [];
const acked = new Map();
let busy = true;

async function main() {
  const directory = await mkdtemp(join(tmpdir(), "trunkline-rolling-"));
  const redis = await sharedCluster({ nodes: 0 });
  const processes = [];
  try {
    // One more than there are nodes: the new one is there before the old one goes.
    const addresses = await freeAddresses(NODES + 1);
    const start = (binary, id, address) => startNode(binary, id, address, redis.redis.url, processes);
    let nodes = [];
    for (let n = 0; n < NODES; n += 1) nodes.push(await start(values.old, `old-${n + 1}`, addresses[n]));
    const balancer = await haproxy(directory, addresses.map((address, n) => ({ id: `slot-${n + 1}`, address })));
    processes.push(balancer.process);
    console.log(`${CLIENTS} clients connect to ${NODES} nodes`);
    await connectAll(balancer.url);
    const talking = people.map(talk);
    await pause(5_000);

    let spare = addresses[NODES];
    for (let n = 0; n < NODES; n += 1) {
      const [old] = nodes;
      nodes = [...nodes.slice(1), await start(values.new, `new-${n + 1}`, spare)];
      spare = old.address;
      // Until the balancer has noticed the new one.
      await pause(1_500);
      const begun = performance.now();
      drains.push({ begun, clients: people.filter(({ node }) => node === old.id).length });
      old.process.signal("SIGTERM");
      const { code } = await old.process.exited;
      console.log(`${old.id}, with ${drains.at(-1).clients} clients, ended with ${code} after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
      if (code !== 0) process.exitCode = 1;
      await eventually(allConnected, 15_000);
    }
    await pause(3_000);
    busy = false;
    await Promise.all(talking);
    await report();
  } finally {
    for (const { socket } of people) socket.disconnect();
    for (const each of processes) await each.kill();
    await redis.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function startNode(binary, id, address, redisUrl, processes) {
  const flags = ["--listen", address, "--internal-listen", "127.0.0.1:0", "--redis-url", redisUrl, "--node-id", id];
  const process = new Process(binary, ["serve", ...flags, "--auth", "insecure-query", "--presence-broadcast", "off", "--log-level", "warn,trunkline_gateway=info"]);
  processes.push(process);
  await eventually(
    async () => {
      if (!process.alive) throw new Error(`${id} ended:\n${process.lines.join("\n")}`);
      const { status } = await fetch(`http://${address}/health/ready`);
      if (status !== 200) throw new Error(`${id} is not ready: ${status}`);
    },
    20_000,
    () => !process.alive,
  );
  return { id, address, process };
}

async function connectAll(url) {
  for (let n = 0; n < CLIENTS; n += 1) {
    people.push(person(url, n));
    if (n % 50 === 49) await eventually(allConnected, 30_000);
  }
  await eventually(allConnected, 30_000);
}

function allConnected() {
  const without = people.filter(({ socket, joined }) => !socket.connected || !joined()).length;
  if (without > 0) throw new Error(`${without} clients are not connected`);
}

function person(url, n) {
  const room = `room-${Math.floor(n / ROOM)}`;
  const socket = io(url, { transports: TRANSPORTS(n), query: { userId: `user-${n}` }, forceNew: true });
  let joined = false;
  const each = { n, room, socket, joined: () => joined, times: 0, longest: 0, lostAt: undefined, since: Infinity };
  socket.on("connect", async () => {
    if (each.lostAt !== undefined) {
      each.times += 1;
      each.longest = Math.max(each.longest, performance.now() - each.lostAt);
      reconnects.push(performance.now());
      each.lostAt = undefined;
    }
    each.since = performance.now();
    joined = (await ask(each, "conversation:join", { conversationId: room }))?.success ?? joined;
  });
  socket.on("connected", ({ nodeId }) => (each.node = nodeId));
  socket.on("disconnect", () => {
    each.lostAt ??= performance.now();
    each.since = Infinity;
  });
  return each;
}

/** The answer, or nothing: the connection was lost, and whoever wants to know asks again. */
async function ask({ socket }, event, payload) {
  return socket.timeout(4_000).emitWithAck(event, payload).catch(() => undefined);
}

async function talk(each) {
  await pause(Math.random() * EACH_SENDS_EVERY_MS);
  for (let number = 1; busy; number += 1) {
    const message = { conversationId: each.room, content: `${number}`, clientMessageId: `${each.n}-${number}` };
    for (;;) {
      const [begun, since] = [performance.now(), each.since];
      const ack = await ask(each, "message:send", message);
      if (ack?.success) {
        acked.set(ack.messageId, each.room);
        // Those who were not moved: connected before and after.
        if (each.since === since && since < begun - 1_000) latencies.push(performance.now() - begun);
        break;
      }
      if (!busy && !each.socket.connected) return;
    }
    await pause(EACH_SENDS_EVERY_MS);
  }
}

async function stored() {
  const found = new Set();
  for (const each of people.filter(({ n }) => n % ROOM === 0)) {
    for (let after = 0, complete = false; !complete; ) {
      const page = await eventually(async () => {
        const answer = await ask(each, "message:history", { conversationId: each.room, after, limit: 500 });
        if (!answer?.success) throw new Error(`no history: ${JSON.stringify(answer)}`);
        return answer;
      }, 15_000);
      for (const { id, seq } of page.messages) {
        found.add(id);
        after = seq;
      }
      complete = page.complete || page.messages.length === 0;
    }
  }
  return found;
}

async function report() {
  const there = await stored();
  const lost = [...acked.keys()].filter((id) => !there.has(id)).length;
  const most = Math.max(...people.map(({ times }) => times));
  const longest = Math.max(...people.map(({ longest }) => longest)) / 1000;
  latencies.sort((a, b) => a - b);
  const p99 = latencies[Math.floor(latencies.length * 0.99)];
  console.log(`${acked.size} messages acknowledged, ${reconnects.length} reconnects`);
  const bars = [
    ["acknowledged messages lost", lost, 0, 0],
    ["reconnects of one client, at most", most, NODES, 0],
    ["longest wait, s", longest, 10, 1],
    ["latency of those not moved, p99, ms", p99, 250, 1],
    ["reconnects in a second, at most, of the even rate", peakRate(), 2, 2],
  ];
  for (const [what, value, bar, digits] of bars) {
    const reached = value <= bar;
    if (!reached) process.exitCode = 1;
    console.log(`${what.padEnd(50)} ${value.toFixed(digits).padStart(8)}   bar ${bar.toFixed(digits).padStart(6)}   ${reached ? "reached" : "MISSED"}`);
  }
}

/** The most reconnects within a second, as a multiple of what an even spread over the drain window would be. */
function peakRate() {
  const rates = drains.map(({ begun, clients }, n) => {
    const during = reconnects.filter((at) => at >= begun && at < (drains[n + 1]?.begun ?? Infinity));
    const peak = Math.max(...during.map((from) => during.filter((at) => at >= from && at < from + 1_000).length), 0);
    return peak / (clients / windowOf(clients));
  });
  return Math.max(...rates);
}

async function freeAddresses(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const addresses = servers.map((server) => `127.0.0.1:${server.address().port}`);
  await Promise.all(servers.map((server) => (server.close(), once(server, "close"))));
  return addresses;
}

await main();
process.exit();
