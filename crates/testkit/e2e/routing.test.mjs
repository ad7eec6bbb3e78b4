/** Any load balancer will do: sessions of polling and upgrades work wherever each request lands. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Agent, request as httpRequest } from "node:http";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { io as current } from "socket.io-client";
import version2 from "socket.io-client-2";

import { haproxy, nginx, randomBalancer, service, withoutNginx } from "./balancers.mjs";
import { cluster, sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { pollingSession } from "./raw.mjs";

/** How long nobody may lose a connection. */
const SECONDS = Number(process.env.ROUTING_SECONDS ?? 60);
const CLIENTS = 60;
const SAMPLES = 400;
const BAR_MS = 1;

/** Every way in: protocol 4 and 3 of the engine, each transport. */
const WAYS = [
  { io: current, transports: ["polling"] },
  { io: current, transports: ["polling", "websocket"] },
  { io: current, transports: ["websocket"] },
  { io: version2, transports: ["polling"] },
  { io: version2, transports: ["polling", "websocket"] },
  { io: version2, transports: ["websocket"] },
];

const FLAGS = ["--ping-interval", "4000", "--ping-timeout", "8000", "--presence-broadcast", "off"];

describe("through a balancer without sticky sessions", { timeout: SECONDS * 1000 + 240_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 3, flags: FLAGS });
  });
  after(() => it?.stop());

  test(`${CLIENTS} clients of all kinds, another node for every request: no error, no disconnect in ${SECONDS} s`, { timeout: SECONDS * 1000 + 120_000 }, async (t) => {
    const balancer = await randomBalancer(it.nodes);
    t.after(() => balancer.close());
    const report = await bustle(balancer.url, "random", CLIENTS, SECONDS);
    t.diagnostic(report);
    await eachNodeForwarded(it.nodes);
  });

  test("HAProxy, round robin", { timeout: 90_000 }, async (t) => {
    const balancer = await haproxy(it.directory, it.nodes);
    t.after(() => balancer.process.kill());
    t.diagnostic(await bustle(balancer.url, "haproxy", 18, 8));
  });

  test("nginx, round robin", { timeout: 90_000, skip: withoutNginx }, async (t) => {
    const balancer = await nginx(it.directory, it.nodes);
    t.after(() => balancer.process.kill());
    t.diagnostic(await bustle(balancer.url, "nginx", 18, 8));
  });

  test("a Kubernetes Service: any node for each connection", { timeout: 90_000 }, async (t) => {
    const balancer = await service(it.directory, it.nodes);
    t.after(() => balancer.process.kill());
    t.diagnostic(await bustle(balancer.url, "service", 18, 8));
  });

  test(`a request to another node takes less than ${BAR_MS} ms longer (median)`, { timeout: 60_000 }, async (t) => {
    const agents = it.nodes.slice(0, 2).map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
    t.after(() => agents.forEach((agent) => agent.destroy()));
    const measured = await eventually(async () => {
      const { handshake } = await pollingSession(it.nodes[0].url, "measured");
      const times = [[], []];
      for (let n = 0; n < 2 * SAMPLES; n += 1) {
        const at = n % 2;
        times[at].push(await pong(it.nodes[at].url, handshake.sid, agents[at]));
      }
      const [here, there] = times.map(median);
      t.diagnostic(`median of ${SAMPLES}: ${here.toFixed(2)} ms at the session's node, ${there.toFixed(2)} ms through another`);
      assert.ok(there - here < BAR_MS, `${(there - here).toFixed(2)} ms longer`);
      return there - here;
    }, 40_000);
    t.diagnostic(`forwarding adds ${measured.toFixed(2)} ms`);
  });
});

describe("what is no session of ours", { timeout: 120_000 }, () => {
  let it;
  let owner;
  let other;
  let session;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--max-payload", "2048"] });
    [owner, other] = it.nodes;
    session = await pollingSession(owner.url, "ada");
  });
  after(() => it?.stop());

  /** One character changed, in the engine's id, in the tag, in the signature. */
  const changed = (sid, at) => sid.slice(0, at) + (sid[at] === "A" ? "B" : "A") + sid.slice(at + 1);
  const forgeries = [
    ["a session's public id alone", (sid) => sid.slice(0, 16), "malformed"],
    ["another session", (sid) => changed(sid, 3), "forged"],
    ["another node", (sid) => changed(sid, 18), "forged"],
    ["another signature", (sid) => changed(sid, 30), "forged"],
    ["nothing", () => "", "malformed"],
    ["a very long text", () => "A".repeat(4000), "malformed"],
    ["other letters", (sid) => `%00${sid.slice(3)}`, "malformed"],
    ["two at once", (sid) => `${sid}&sid=${sid}`, "malformed"],
  ];
  for (const [what, forge, outcome] of forgeries) {
    test(`${what} is refused on every node, and counted as ${outcome}`, { timeout: 15_000 }, async () => {
      for (const node of it.nodes) {
        const before = await counted(node, "session", outcome);
        const query = `&sid=${forge(session.handshake.sid)}`;
        for (const options of [{}, { method: "POST", body: "3" }]) await isUnknown(await fetch(at(node) + query, options));
        assert.equal(await upgrade(`${node.url}/socket.io/?EIO=4&transport=websocket${query}`), 400);
        assert.equal(await counted(node, "session", outcome), before + 3);
      }
    });
  }

  test("a body that is too large is refused by the node that would forward it, known or unknown in size", { timeout: 15_000 }, async () => {
    const before = await counted(other, "session", "too_large");
    // A session of its own: a body that broke off on its way may end it.
    const { handshake } = await pollingSession(owner.url, "grace");
    const url = `${at(other)}&sid=${handshake.sid}`;
    const large = `4${"x".repeat(4000)}`;
    const known = await fetch(url, { method: "POST", body: large });
    assert.equal(known.status, 413);
    const unknown = await chunked(url, large);
    assert.equal(unknown, 413);
    assert.equal(await counted(other, "session", "too_large"), before + 2);
  });

  test("the door between nodes is closed on the public listener, and counted", { timeout: 15_000 }, async () => {
    const before = await counted(owner, "internal", "outside");
    for (const path of ["session", "release", "answer", "drain"]) {
      const { status } = await fetch(`${owner.url}/_trunkline/${path}?EIO=4&transport=polling&sid=${session.handshake.sid}`, { method: "POST" });
      assert.equal(status, 404);
    }
    assert.equal(await counted(owner, "internal", "outside"), before + 4);
  });

  test("the door between nodes opens to nobody without a pass, nor with a made-up one", { timeout: 15_000 }, async () => {
    const unsigned = await counted(owner, "internal", "unsigned");
    const forged = await counted(owner, "internal", "forged");
    for (const path of ["session", "release", "answer", "drain"]) {
      const url = `${owner.internalUrl}/_trunkline/${path}?EIO=4&transport=polling&sid=${session.handshake.sid}`;
      assert.equal((await fetch(url, { method: "POST" })).status, 403);
      const pass = `${Date.now()};-;${"A".repeat(22)}`;
      assert.equal((await fetch(url, { method: "POST", headers: { "x-trunkline-pass": pass } })).status, 403);
    }
    assert.equal(await counted(owner, "internal", "unsigned"), unsigned + 4);
    assert.equal(await counted(owner, "internal", "forged"), forged + 4);
  });

  test("a client that pretends to be a node goes no further", { timeout: 15_000 }, async () => {
    const before = await counted(other, "session", "loop");
    const headers = { "x-trunkline-pass": `${Date.now()};-;${"A".repeat(22)}` };
    await isUnknown(await fetch(`${at(other)}&sid=${session.handshake.sid}`, { headers }));
    assert.equal(await counted(other, "session", "loop"), before + 1);
  });

  test("after all that the session works, from both nodes", { timeout: 15_000 }, async () => {
    for (const node of it.nodes) {
      const answer = await fetch(`${at(node)}&sid=${session.handshake.sid}`, { method: "POST", body: '421["get:online:count"]' });
      assert.equal(answer.status, 200, `${node.id}: ${await answer.text()}`);
      // What the others do may come first.
      let heard = "";
      while (!heard.includes("431[")) heard = await (await fetch(`${at(node)}&sid=${session.handshake.sid}`)).text();
    }
  });
});

test("the session of a node that is gone is unknown at once, and a stock client opens a new one", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2 });
  const [going, staying] = it.nodes;
  const { handshake } = await pollingSession(going.url, "ada");
  const client = await it.connect("grace", { at: 0, via: "polling", reconnection: true, reconnectionDelay: 50 });
  client.socket.io.uri = staying.url;
  await going.process.kill();
  const begun = performance.now();
  await isUnknown(await fetch(`${at(staying)}&sid=${handshake.sid}`));
  assert.ok(performance.now() - begun < 2_000);
  assert.equal(await counted(staying, "session", "unreachable"), 1);
  await client.next("connected", ({ nodeId }) => nodeId === staying.id, 15_000);
  // Once its lease has run out the node is not even looked for.
  await eventually(async () => {
    await isUnknown(await fetch(`${at(staying)}&sid=${handshake.sid}`));
    assert.ok((await counted(staying, "session", "departed")) > 0);
  }, 20_000);
});

test("a node that came back under its name and address does not take its old sessions for its new ones", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2 });
  const { handshake } = await pollingSession(it.nodes[0].url, "ada");
  await it.nodes[0].process.kill();
  const again = await it.startNode("node-1");
  for (const node of [again, it.nodes[1]]) await isUnknown(await fetch(`${at(node)}&sid=${handshake.sid}`));
});

test("with a secret of their own, nodes believe each other and nobody else", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 0 });
  const start = (id, secret) => it.startNode(id, ["--cluster-secret", secret]);
  const [one, two] = [await start("one", "known-to-these-two"), await start("two", "known-to-these-two")];
  const stranger = await start("stranger", "known-to-nobody-else");
  const { handshake } = await pollingSession(one.url, "ada");
  const pong = (node) => fetch(`${at(node)}&sid=${handshake.sid}`, { method: "POST", body: "3" });
  assert.equal((await pong(two)).status, 200);
  await isUnknown(await pong(stranger));
});

test("a node takes a request of another that is fresh and for a session of its own, and no other", { timeout: 60_000 }, async (t) => {
  const secret = "known-to-these-two";
  const it = await cluster(t, { nodes: 2, flags: ["--cluster-secret", secret] });
  const [owner, other] = it.nodes;
  const own = (await pollingSession(owner.url, "ada")).handshake.sid;
  const foreign = (await pollingSession(other.url, "grace")).handshake.sid;
  const ask = (sid, time) => {
    const path = `/_trunkline/session?EIO=4&transport=polling&sid=${sid}`;
    const headers = { "x-trunkline-pass": pass(secret, ["POST", ...path.split("?"), tagOf(own), String(time), "-"]) };
    return fetch(owner.internalUrl + path, { method: "POST", body: "3", headers });
  };
  assert.equal((await ask(own, Date.now())).status, 200);
  assert.equal(await counted(owner, "internal", "served"), 1);
  await isUnknown(await ask(foreign, Date.now()));
  assert.equal(await counted(owner, "internal", "misdirected"), 1);
  assert.equal((await ask(own, Date.now() - 600_000)).status, 403);
  assert.equal(await counted(owner, "internal", "stale"), 1);
  // It was not for the node it came to.
  const path = "/_trunkline/session?EIO=4&transport=polling&sid=" + own;
  const headers = { "x-trunkline-pass": pass(secret, ["POST", ...path.split("?"), tagOf(foreign), String(Date.now()), "-"]) };
  assert.equal((await fetch(owner.internalUrl + path, { method: "POST", body: "3", headers })).status, 403);
  assert.equal(await counted(owner, "internal", "forged"), 1);
});

test("the secret survives a Redis that lost its data: sessions go on, from every node", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2 });
  const early = await pollingSession(it.nodes[0].url, "ada");
  await it.redis.lose();
  const late = await it.startNode("late");
  const fresh = await pollingSession(late.url, "grace");
  const pong = (node, { handshake }) => fetch(`${at(node)}&sid=${handshake.sid}`, { method: "POST", body: "3" });
  for (const [node, session] of [[it.nodes[1], early], [it.nodes[0], fresh], [it.nodes[1], fresh], [late, early]]) {
    await eventually(async () => assert.equal((await pong(node, session)).status, 200), 15_000);
  }
});

/** Clients of all kinds who talk to each other for a while. Nobody may fail to connect or lose the connection. */
async function bustle(url, room, count, seconds) {
  const troubles = [];
  const people = Array.from({ length: count }, (_, n) => person(url, `${room}-${n}`, WAYS[n % WAYS.length], troubles));
  await Promise.all(people.map((each) => each.connected));
  await Promise.all(people.map((each) => each.ask("conversation:join", { conversationId: room })));
  const end = performance.now() + seconds * 1000;
  let sent = 0;
  const talk = async ({ ask }, n) => {
    await pause((n * 1000) / count);
    while (performance.now() < end) {
      const ack = await ask("message:send", { conversationId: room, content: `${n}` });
      if (!ack?.success) troubles.push(`${n}: ${JSON.stringify(ack)}`);
      sent += 1;
      await pause(1000);
    }
  };
  await Promise.all(people.map(talk));
  const expected = Array.from({ length: sent }, (_, n) => n + 1);
  await eventually(() => {
    for (const { heard, acked } of people) assert.deepEqual([...heard, ...acked].sort((a, b) => a - b), expected);
  }, 20_000);
  for (const { heard } of people) assert.deepEqual(heard, heard.toSorted((a, b) => a - b), "in order");
  assert.deepEqual(troubles, []);
  for (const { socket } of people) socket.disconnect();
  const transports = people.map(({ upgraded }) => upgraded());
  assert.ok(transports.every(Boolean), "those that can have gone over to WebSocket");
  return `${count} clients, ${seconds} s, ${sent} messages, ${sent * (count - 1)} deliveries: no connect error, no disconnect`;
}

/** What both generations of the client have in common. */
function person(url, userId, { io, transports }, troubles) {
  const socket = io(url, { transports, query: { userId }, forceNew: true, reconnection: false });
  const [heard, acked] = [[], []];
  let transport;
  socket.on("message:new", ({ seq }) => heard.push(seq));
  for (const event of ["connect_error", "error"]) socket.on(event, (error) => troubles.push(`${userId} ${event}: ${error?.message ?? error}`));
  const connected = within(new Promise((resolve) => socket.once("connected", resolve)), 20_000, `${userId} over ${transports}`);
  connected.then(() => {
    socket.on("disconnect", (reason) => {
      if (reason !== "io client disconnect") troubles.push(`${userId} over ${transports}: ${reason}`);
    });
    socket.io.engine.on("upgrade", ({ name }) => (transport = name));
    transport ??= socket.io.engine.transport.name;
  });
  connected.catch(() => undefined);
  const ask = async (event, payload) => {
    const ack = await within(new Promise((resolve) => socket.emit(event, payload, resolve)), 15_000, `${userId}: ${event}`);
    if (event === "message:send") acked.push(ack.seq);
    return ack;
  };
  return { socket, heard, acked, connected, ask, upgraded: () => transport === transports.at(-1) };
}

async function eachNodeForwarded(nodes) {
  let tunnelled = 0;
  for (const node of nodes) {
    for (const outcome of ["local", "forwarded"]) assert.ok((await counted(node, "session", outcome)) > 0, `${node.id} ${outcome}`);
    tunnelled += await counted(node, "session", "tunnelled");
    for (const outcome of ["forged", "malformed", "departed", "unreachable", "timed_out", "busy", "loop"]) {
      assert.equal(await counted(node, "session", outcome), 0, `${node.id} ${outcome}`);
    }
  }
  // There is one upgrade a client: it is left to chance whether one of them came to each node.
  assert.ok(tunnelled > 0, "upgrades went to another node");
}

/** The node that has a session, as it stands in the session's id. */
const tagOf = (sid) => sid.slice(16, 24);

/** What a node shows another: the time, the client's address, and a signature over them and the request. */
function pass(secret, parts) {
  const mac = createHmac("sha256", secret).update("trunkline pass 1");
  for (const part of parts) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(part.length));
    mac.update(length).update(part);
  }
  return `${parts.at(-2)};${parts.at(-1)};${mac.digest().subarray(0, 16).toString("base64url")}`;
}

const at = (node) => `${node.url}/socket.io/?EIO=4&transport=polling`;

/** As Node says it; a stock client opens a new session after it. */
async function isUnknown(response) {
  assert.equal(response.status, 400);
  assert.deepEqual(await response.json(), { code: 1, message: "Session ID unknown" });
}

async function counted(node, kind, outcome) {
  const text = await (await fetch(`${node.internalUrl}/metrics`)).text();
  return Number(text.match(new RegExp(`^trunkline_${kind}_requests_total\\{outcome="${outcome}"\\} (\\d+)$`, "m"))?.[1] ?? Number.NaN);
}

/** The status that a wish for a WebSocket is answered with. */
function upgrade(url) {
  return new Promise((resolve, reject) => {
    const headers = { connection: "upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" };
    const request = httpRequest(url, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on("upgrade", (response, socket) => resolve(socket.destroy() && response.statusCode));
    request.on("error", reject);
    request.end();
  });
}

/** Posts a heartbeat's answer and returns the milliseconds it took. */
function pong(url, sid, agent) {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const request = httpRequest(`${url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { agent, method: "POST" }, (response) => {
      response.resume();
      response.on("end", () => (response.statusCode === 200 ? resolve(performance.now() - begun) : reject(new Error(`status ${response.statusCode}`))));
    });
    request.on("error", reject);
    request.end("3");
  });
}

/** Posts without saying how much; the status. */
function chunked(url, body) {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: "POST" }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on("error", reject);
    request.write(body.slice(0, 10));
    request.end(body.slice(10));
  });
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
