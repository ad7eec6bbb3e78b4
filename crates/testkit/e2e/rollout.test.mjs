/** Nodes go one by one, and clients hardly notice. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { BINARY, cluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";

const KEY = "a-key-that-only-tests-know";

test("a short rolling update loses no acknowledged message", { timeout: 180_000 }, async (t) => {
  const script = fileURLToPath(new URL("./rolling-update.mjs", import.meta.url));
  const run = promisify(execFile)(process.execPath, [script, "--clients", "60", "--old", BINARY, "--new", BINARY]);
  // How quick it is depends on the machine, which is shared here; what is lost does not.
  const { stdout } = await run.catch((failed) => failed);
  t.diagnostic(stdout);
  assert.match(stdout, /acknowledged messages lost +0 .*reached/);
  assert.match(stdout, /reconnects of one client, at most .*reached/);
  assert.match(stdout, /longest wait, s .*reached/);
  assert.equal(stdout.match(/ended with 0 /g)?.length, 3);
});

test("any node can be asked to drain any other, with the key", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2, flags: ["--api-key", KEY] });
  const [asked, leaving] = it.nodes;
  const client = await it.connect("ada", { at: 1, reconnection: false });
  const drain = (id, key) => fetch(`${asked.url}/api/v1/nodes/${id}/drain`, { method: "POST", headers: key ? { authorization: `Bearer ${key}` } : {} });
  assert.equal((await drain(leaving.id)).status, 401);
  assert.equal((await drain(leaving.id, "another-key")).status, 401);
  assert.equal((await drain("nobody", KEY)).status, 404);
  const answer = await drain(leaving.id, KEY);
  assert.deepEqual([answer.status, (await answer.json()).success], [202, true]);
  await client.next("server-shutdown");
  assert.deepEqual(await within(leaving.process.exited, 15_000, "ending"), { code: 0, signal: null });
  assert.equal((await drain(asked.id, KEY)).status, 202);
  assert.deepEqual(await within(asked.process.exited, 15_000, "ending"), { code: 0, signal: null });
});

test("a node with too many clients sends some elsewhere, a few at a time, and tells them before", { timeout: 120_000 }, async (t) => {
  const CLIENTS = 48;
  const it = await cluster(t, { nodes: 1, flags: ["--rebalance", "25%"] });
  const crowd = Array.from({ length: CLIENTS }, (_, n) => it.client(`user-${n}`, { at: 0, reconnection: true, reconnectionDelay: 50 }));
  await Promise.all(crowd.map((each) => each.connected()));
  const [told, cut] = [new Set(), new Map()];
  for (const each of crowd) {
    each.socket.on("server-shutdown", () => told.add(each));
    each.socket.on("disconnect", (reason) => cut.set(each, { reason, told: told.has(each) }));
  }
  const late = await it.startNode("late");
  // Where a balancer would send them next.
  for (const { socket } of crowd) socket.io.uri = late.url;
  await eventually(() => assert.ok(cut.size >= 2, `${cut.size} were sent away`), 60_000);
  assert.ok(cut.size <= CLIENTS / 2, "no more than are too many");
  for (const { reason, told } of cut.values()) assert.deepEqual({ reason, told }, { reason: "transport close", told: true });
  await Promise.all([...cut.keys()].map((each) => each.next("connected", ({ nodeId }) => nodeId === "late", 15_000)));
  const send = ({ socket }) => socket.timeout(10_000).emitWithAck("message:send", { conversationId: "all", content: "still here" });
  const acks = await Promise.all(crowd.map(send));
  assert.ok(acks.every(({ success }) => success));
});

test("a second signal ends a node at once, with a code that says so", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1, flags: ["--drain-window", "50s", "--drain-timeout", "60s"] });
  const clients = await Promise.all(Array.from({ length: 150 }, (_, n) => it.connect(`user-${n}`)));
  const [{ process }] = it.nodes;
  process.signal("SIGTERM");
  await clients[0].next("server-shutdown");
  process.signal("SIGTERM");
  const { code } = await within(process.exited, 2_000, "ending at once");
  assert.equal(code, 128 + 15);
});
