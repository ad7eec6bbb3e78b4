/** Long-polling and the way from it to a WebSocket, request by request, as the protocol's documents have it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { WebSocket } from "ws";

import { sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { pollingSession } from "./raw.mjs";

const PING = { interval: 400, timeout: 300 };
const SEPARATOR = "\x1e";
const COUNT = '["get:online:count"]';

describe("a session of polling", { timeout: 90_000 }, () => {
  let it;
  let url;
  before(async () => {
    it = await sharedCluster({ nodes: 1 });
    ({ url } = it.nodes[0]);
  });
  after(() => it?.stop());

  test("is opened with an id, the ways up, and what holds", { timeout: 10_000 }, async () => {
    const answer = await fetch(`${url}/socket.io/?EIO=4&transport=polling&userId=ada`);
    assert.equal(answer.status, 200);
    const { sid, ...rest } = JSON.parse((await answer.text()).replace(/^0/, ""));
    assert.equal(typeof sid, "string");
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
  });

  const refused = [
    ["GET", "transport=polling"],
    ["GET", "EIO=abc&transport=polling"],
    ["GET", "EIO=4"],
    ["GET", "EIO=4&transport=abc"],
    ["POST", "EIO=4&transport=polling"],
    ["PUT", "EIO=4&transport=polling"],
  ];
  for (const [method, query] of refused) {
    test(`is not opened by ${method} ?${query}`, { timeout: 10_000 }, async () => {
      const { status } = await fetch(`${url}/socket.io/?${query}&userId=ada`, { method });
      assert.ok([400, 405].includes(status), `status ${status}`);
    });
  }

  test("takes several packets in one request, and answers each, in order", { timeout: 10_000 }, async () => {
    const session = await drained(url, "several");
    const answer = await session.post(["421", "422", "423"].map((packet) => packet + COUNT).join(SEPARATOR));
    assert.deepEqual([answer.status, await answer.text()], [200, "ok"]);
    const acks = (await packets(session, 3, (packet) => packet.startsWith("43"))).map((packet) => packet.slice(0, 4));
    assert.deepEqual(acks, ["431[", "432[", "433["]);
  });

  test("takes text and binary packets in one request", { timeout: 10_000 }, async () => {
    const session = await drained(url, "binary");
    const event = '451-7["no:such:event",{"_placeholder":true,"num":0}]';
    await session.post([event, "bAQIDBA==", `428${COUNT}`].join(SEPARATOR));
    const [first, second] = await packets(session, 2, (packet) => packet.startsWith("43"));
    assert.match(first, /^437\[.*"not_found"/);
    assert.match(second, /^438\[/);
  });

  test("ends when it is polled twice at a time", { timeout: 15_000 }, async () => {
    const session = await drained(url, "twice");
    const polls = await Promise.all([session.poll(), session.poll()]);
    assert.ok(polls.some(({ status }) => status >= 400), "one of them is an error");
    await Promise.all(polls.map((poll) => poll.text()));
    await gone(session);
  });

  test("ends by a close packet, and with it the poll that waits", { timeout: 15_000 }, async () => {
    const session = await drained(url, "closing");
    const waiting = session.poll();
    await session.post("1");
    await (await within(waiting, 8_000, "the end of the poll")).text();
    await gone(session);
  });
});

describe("the heartbeat of polling", { timeout: 60_000 }, () => {
  let it;
  let url;
  before(async () => {
    it = await sharedCluster({ nodes: 1, flags: ["--ping-interval", `${PING.interval}`, "--ping-timeout", `${PING.timeout}`] });
    ({ url } = it.nodes[0]);
  });
  after(() => it?.stop());

  test("keeps a session whose client answers", { timeout: 15_000 }, async () => {
    const session = await drained(url, "lively");
    for (let pings = 0; pings < 3; pings += 1) {
      await packets(session, 1, (packet) => packet === "2");
      assert.equal((await session.post("3")).status, 200);
    }
  });

  test("ends a session whose client does not", { timeout: 15_000 }, async () => {
    await gone(await drained(url, "silent"));
  });
});

describe("the way up from polling", { timeout: 60_000 }, () => {
  let it;
  let url;
  before(async () => {
    it = await sharedCluster({ nodes: 1 });
    ({ url } = it.nodes[0]);
  });
  after(() => it?.stop());

  /** A WebSocket that has probed the session. */
  const probed = async (userId) => {
    const session = await drained(url, userId);
    const socket = webSocket(session.handshake.sid, userId);
    await within(once(socket, "open"), 8_000, "opening");
    const answer = once(socket, "message");
    const waiting = session.poll();
    socket.send("2probe");
    assert.equal(`${(await within(answer, 8_000, "the answer to the probe"))[0]}`, "3probe");
    return { session, socket, waiting };
  };
  const webSocket = (sid, userId) => {
    const query = `EIO=4&transport=websocket&sid=${encodeURIComponent(sid)}&userId=${userId}`;
    return new WebSocket(`${url.replace("http", "ws")}/socket.io/?${query}`).on("error", () => undefined);
  };
  const answered = async (socket) => {
    const ack = new Promise((resolve) => socket.on("message", (data) => `${data}`.startsWith("439[") && resolve()));
    socket.send(`429${COUNT}`);
    await within(ack, 8_000, "an ack over the WebSocket");
  };

  test("ends the poll that waits with a no-op, and goes on over the WebSocket", { timeout: 15_000 }, async () => {
    const { socket, waiting } = await probed("up");
    assert.equal(await (await within(waiting, 8_000, "the end of the poll")).text(), "6");
    socket.send("5");
    await answered(socket);
    socket.terminate();
  });

  test("leaves no way to poll that session", { timeout: 15_000 }, async () => {
    const { session, socket, waiting } = await probed("no-more");
    await (await waiting).text();
    socket.send("5");
    await answered(socket);
    const { status } = await session.poll();
    assert.ok(status >= 400, `status ${status}`);
    await answered(socket);
    socket.terminate();
  });

  test("leaves no way for a second WebSocket", { timeout: 15_000 }, async () => {
    const { session, socket, waiting } = await probed("second");
    await (await waiting).text();
    socket.send("5");
    await answered(socket);
    await within(once(webSocket(session.handshake.sid, "second"), "close"), 8_000, "closing the second");
    await answered(socket);
    socket.terminate();
  });
});

describe("a client that vanishes while it polls", { timeout: 90_000 }, () => {
  let it;
  let watcher;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--presence-grace", "0s"] });
    watcher = await it.connect("watcher", { at: 1 });
  });
  after(() => it?.stop());

  const comes = (userId) => watcher.next("user:online", (event) => event.userId === userId);
  /** A poll that waits, and ends before it is answered. */
  const breaksOff = async ({ handshake }, url) => {
    const controller = new AbortController();
    const query = `EIO=4&transport=polling&sid=${encodeURIComponent(handshake.sid)}`;
    const poll = fetch(`${url}/socket.io/?${query}`, { signal: controller.signal }).catch(() => undefined);
    await pause(500); // Nothing tells that it has arrived: there is nothing to answer it with.
    controller.abort();
    await poll;
  };

  for (const [what, at] of [["its own node", 0], ["another node", 1]]) {
    test(`through ${what} is gone at once, long before its ping times out`, { timeout: 20_000 }, async () => {
      const user = `vanishes-${at}`;
      const session = await drained(it.nodes[0].url, user);
      await comes(user);
      await breaksOff(session, it.nodes[at].url);
      await watcher.next("user:offline", ({ userId }) => userId === user, 8_000);
      await gone(session);
    });
  }

  test("has a moment to poll again", { timeout: 20_000 }, async () => {
    const session = await drained(it.nodes[0].url, "again");
    await breaksOff(session, it.nodes[0].url);
    const waiting = session.poll();
    await pause(2_500);
    await session.post(`426${COUNT}`);
    assert.match(await (await waiting).text(), /436\[/);
  });
});

/** A session of polling with nothing left to poll. The first ping may come with the first poll, which swallowed it. */
async function drained(url, userId) {
  const session = await pollingSession(url, userId);
  await session.post("3");
  await session.post(`420${COUNT}`);
  await packets(session, 1, (packet) => packet.startsWith("430["));
  return session;
}

/** Polls until so many packets fit. */
async function packets({ poll }, count, fits) {
  const found = [];
  while (found.length < count) {
    const answer = await poll();
    assert.equal(answer.status, 200);
    found.push(...(await answer.text()).split(SEPARATOR).filter(fits));
  }
  return found;
}

async function gone({ poll }) {
  await eventually(async () => {
    const answer = await poll();
    await answer.text();
    assert.ok(answer.status >= 400, `status ${answer.status}`);
  }, 8_000);
}
