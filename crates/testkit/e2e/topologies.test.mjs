/** Redis may be a Cluster or have Sentinels: messages go on when a master dies. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { TRANSPORTS } from "./client.mjs";
import { cluster } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";
import { RedisCluster, RedisSentinel } from "./topologies.mjs";

const HEALED_MS = 30_000;

const KINDS = {
  "a Redis Cluster": { redis: RedisCluster },
  "a Redis Cluster with sharded channels": { redis: RedisCluster, flags: ["--adapter", "sharded"] },
  "a master with Sentinels": { redis: RedisSentinel },
};

for (const [name, options] of Object.entries(KINDS)) {
  test(`over ${name}, messages go on when a master is killed`, { timeout: 180_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2, ...options });
    const [ada, grace] = [await it.connect("ada", { at: 0 }), await it.connect("grace", { at: 1 })];
    const readers = [grace];
    for (const via of Object.keys(TRANSPORTS)) readers.push(await it.connect(`reader-${via}`, { at: 1, via }));
    for (const each of [ada, ...readers]) await each.join("harbour");
    const sent = [];
    for (let n = 0; n < 20; n += 1) sent.push(await persistently(ada, n));

    await it.redis.killMasterOf("harbour");
    const killed = performance.now();
    for (let n = 20; n < 60; n += 1) {
      sent.push(await persistently(ada, n));
      if (n === 20) t.diagnostic(`acknowledged again after ${Math.round(performance.now() - killed)} ms`);
    }
    assert.deepEqual(sent.map(({ seq }) => seq), sent.map((_, n) => n + 1), "one number each, without gaps");
    for (const each of readers) {
      await each.next("message:new", ({ content }) => content === "59", HEALED_MS);
      const seen = each.received("message:new").map(({ seq }) => seq);
      assert.deepEqual(seen, sent.map(({ seq }) => seq), `${each.userId} (${each.via}) sees each once and in order`);
    }
    t.diagnostic(`received again after ${Math.round(performance.now() - killed)} ms`);

    for (const { url } of it.nodes) {
      await eventually(async () => assert.equal((await fetch(`${url}/health/ready`)).status, 200), HEALED_MS);
    }
    await grace.request("private:message", { recipientUserId: "ada", content: "still there?" });
    await ada.next("message:new", ({ content }) => content === "still there?", HEALED_MS);
  });
}

/** As a client should: the same message again, under the same id, for as long as the answer says that a retry may help. */
async function persistently(sender, n) {
  const message = { conversationId: "harbour", content: `${n}`, clientMessageId: randomUUID() };
  return eventually(
    async () => {
      const ack = await sender.ask("message:send", message);
      assert.ok(ack.success || ack.retryable, JSON.stringify(ack));
      assert.ok(ack.success, `${ack.error}: ${ack.message}`);
      return ack;
    },
    HEALED_MS,
    (error) => error.message.startsWith("{"),
  );
}
