/** The helper package: what it hands on has no gaps, no repeats and one order, through crashes of nodes. In Node.js and in a browser. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { chromium } from "playwright-core";
import { io } from "socket.io-client";

import { Conversations, Refused } from "../../protocol/typescript/index.js";
import { cluster } from "./cluster.mjs";
import { eventually } from "./eventually.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const MESSAGES = 60;

/** A user of the package: everything it was handed, in order. */
function user(t, url, userId, options = {}) {
  const socket = io(url, { query: { userId }, transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, timeout: 2_000 });
  const seen = { messages: [], changes: [], resets: [] };
  const conversations = new Conversations(socket, {
    message: (message) => seen.messages.push(message),
    changed: (change) => seen.changes.push(change),
    reset: (reset) => seen.resets.push(reset),
    timeout: 1_500,
    ...options,
  });
  t.after(() => {
    conversations.close();
    socket.disconnect();
  });
  return { socket, conversations, ...seen };
}

test("through kill -9 of a node nothing is lost, repeated or out of order", { timeout: 120_000 }, async (t) => {
  const it = await cluster(t, { nodes: 3, balancer: true });
  const [writer, reader] = [user(t, it.balancer.url, "writer"), user(t, it.balancer.url, "reader")];
  for (const each of [writer, reader]) await each.conversations.join("talk");
  const stored = Array.from({ length: MESSAGES }, (_, n) => writer.conversations.send({ conversationId: "talk", content: `${n}` }));
  await stored[9];
  await it.nodes[0].process.kill();
  await stored[29];
  await it.nodes[1].process.kill();
  const seqs = (await Promise.all(stored)).map(({ seq }) => seq);
  assert.deepEqual(seqs, Array.from({ length: MESSAGES }, (_, n) => n + 1), "stored once each, in the order of sending");
  for (const { messages, resets } of [reader, writer]) {
    await eventually(() => assert.equal(messages.length, MESSAGES), 30_000);
    assert.deepEqual(messages.map(({ content }) => Number(content)), Array.from({ length: MESSAGES }, (_, n) => n));
    assert.deepEqual(resets, []);
  }
});

test("cursors carry on where they were left", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 2 });
  const writer = user(t, it.nodes[0].url, "writer");
  await writer.conversations.join("kept");
  const first = user(t, it.nodes[1].url, "reader");
  await first.conversations.join("kept");
  await writer.conversations.send({ conversationId: "kept", content: "seen" });
  await eventually(() => assert.equal(first.messages.length, 1), 8_000);
  const cursors = JSON.parse(JSON.stringify(first.conversations.cursors));
  first.socket.disconnect();
  for (let n = 0; n < 450; n += 1) void writer.conversations.send({ conversationId: "kept", content: `${n}` });
  await writer.conversations.send({ conversationId: "kept", content: "last" });
  const second = user(t, it.nodes[0].url, "reader", { cursors });
  await second.conversations.join("kept");
  await eventually(() => assert.equal(second.messages.at(-1)?.content, "last"), 15_000);
  assert.deepEqual(second.messages.map(({ seq }) => seq), Array.from({ length: 451 }, (_, n) => n + 2));
});

test("a cursor of a log that is gone is told, and the latest page follows", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const writer = user(t, it.nodes[0].url, "writer");
  await writer.conversations.send({ conversationId: "gone", content: "new log" });
  const reader = user(t, it.nodes[0].url, "reader", { cursors: { gone: { epoch: "another", seq: 40 } } });
  await reader.conversations.join("gone");
  await eventually(() => assert.deepEqual(reader.messages.map(({ content }) => content), ["new log"]), 8_000);
  assert.equal(reader.resets.length, 1);
});

test("what can't be stored is refused, and does not hold up the rest", { timeout: 60_000 }, async (t) => {
  const it = await cluster(t, { nodes: 1 });
  const writer = user(t, it.nodes[0].url, "writer");
  await writer.conversations.join("refusals");
  const refused = writer.conversations.send({ conversationId: "refusals", content: "x".repeat(5001) });
  const stored = writer.conversations.send({ conversationId: "refusals", content: "fine" });
  await assert.rejects(refused, (error) => error instanceof Refused && error.code === "too_large");
  assert.equal((await stored).seq, 1);
  const closed = user(t, "http://127.0.0.1:1", "nobody");
  const never = closed.conversations.send({ conversationId: "refusals", content: "?" });
  closed.conversations.close();
  await assert.rejects(never, /closed/);
});

test("it works in a browser as it is", { timeout: 90_000 }, async (t) => {
  const pages = createServer(async (request, response) => {
    const script = request.url === "/client.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
    response.end(script ? await readFile(new URL("../../protocol/typescript/index.js", import.meta.url)) : "<!doctype html><title>package</title>");
  });
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  t.after(() => pages.close());
  const origin = `http://127.0.0.1:${pages.address().port}`;
  const it = await cluster(t, { nodes: 2, flags: ["--cors-origins", origin] });
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(origin);
  await page.addScriptTag({ url: `${it.nodes[0].url}/socket.io/socket.io.js` });
  await page.evaluate(async (urls) => {
    const { Conversations } = await import("/client.js");
    window.seen = [];
    window.talk = urls.map((url, n) => new Conversations(window.io(url, { query: { userId: `user-${n}` }, transports: ["websocket"], forceNew: true }), { message: (message) => window.seen.push([n, message.content]) }));
    for (const each of window.talk) await each.join("browser");
    await window.talk[0].send({ conversationId: "browser", content: "from a page" });
  }, it.nodes.map(({ url }) => url));
  await page.waitForFunction(() => window.seen.length === 2, undefined, { timeout: 15_000 });
  assert.deepEqual((await page.evaluate(() => window.seen)).sort(), [[0, "from a page"], [1, "from a page"]]);
});
