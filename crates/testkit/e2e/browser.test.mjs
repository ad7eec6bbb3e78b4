/** The demo page in a real browser: two people on two nodes. Screenshots go to $SCREENSHOTS, if that is set. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { chromium } from "playwright-core";

import { cluster, token } from "./cluster.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 390, height: 844 };

describe("the demo page", { timeout: 180_000 }, () => {
  let browser;
  let contexts = [];
  before(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  });
  after(() => browser.close());
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
  });

  test("two users on two nodes see each other online, chat, and write to each other alone", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2 });
    const ada = await visit(`${it.nodes[0].url}/?user=Ada`, { colorScheme: "light" });
    const grace = await visit(`${it.nodes[1].url}/?user=Grace`, { colorScheme: "dark" });
    await served(ada, "node-1");
    await served(grace, "node-2");
    await online(ada, "Grace");
    await online(grace, "Ada");
    await see(ada.getByTestId("online-count").getByText("2", { exact: true }));

    await say(ada, "Morning! I’m on node-1.");
    await see(messages(grace).getByText("Morning! I’m on node-1."));
    await see(messages(ada).locator(".mine[data-state=sent]", { hasText: "Morning!" }));
    await say(grace, "And I’m on node-2, yet here we are.");
    await see(messages(ada).getByText("yet here we are"));
    await say(ada, "See https://example.org/graph for the numbers,\nthen tell me what you think.");
    await see(messages(grace).getByRole("link", { name: "https://example.org/graph" }));

    await composer(grace).pressSequentially("I think");
    await see(ada.getByText("Grace is typing…"));
    await shot(ada, "chat-light");
    await shot(grace, "chat-dark");
    await composer(grace).fill("");
    await gone(ada.getByText("Grace is typing…"));

    await ada.getByTestId("status").click();
    await see(ada.getByRole("heading", { name: "This connection" }));
    await shot(ada, "status-light");
    await ada.keyboard.press("Escape");

    await grace.getByTestId("online").getByText("Ada").click();
    await say(grace, "Between us: lunch?");
    await see(ada.getByRole("navigation").getByLabel("1 unread"));
    await ada.getByRole("navigation").getByText("Grace").click();
    await see(messages(ada).getByText("Between us: lunch?"));
    await shot(ada, "direct-light");

    await grace.close();
    await see(ada.getByTestId("offline").getByText("Grace"), 20_000);
    assert.deepEqual(ada.problems, []);
  });

  test("a later visitor sees what was said, who joined, and their name again", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2 });
    const ada = await visit(`${it.nodes[0].url}/?conversation=plans`);
    await shot(ada, "sign-in-light");
    await ada.getByLabel("Your name").fill("Ada");
    await ada.getByRole("button", { name: "Join the line" }).click();
    await served(ada, "node-1");
    await say(ada, "first words");
    await see(messages(ada).locator(".mine[data-state=sent]"));

    const grace = await visit(`${it.nodes[1].url}/?user=Grace&conversation=plans`, { viewport: NARROW });
    await see(messages(grace).getByText("first words"));
    await see(messages(ada).getByText("Grace joined"));
    await shot(grace, "chat-narrow");
    await grace.getByRole("button", { name: "Conversations" }).click();
    await see(grace.getByRole("navigation").getByText("plans"));
    await shot(grace, "conversations-narrow");

    await ada.reload();
    await served(ada, "node-1");
    await see(messages(ada).locator(".mine", { hasText: "first words" }));
  });

  test("what is written while the node is away is sent once when another one answers", { timeout: 90_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2, balancer: true });
    const ada = await visit(`${it.balancer.url}/?user=Ada`);
    const status = ada.getByTestId("status");
    await see(status.and(ada.locator("[data-state=connected]")));
    await say(ada, "before");
    await see(messages(ada).locator(".mine[data-state=sent]"));
    const nodeId = await status.getAttribute("data-node");
    const other = it.nodes.find(({ id }) => id !== nodeId);
    const grace = await visit(`${other.url}/?user=Grace`);
    await served(grace, other.id);
    await it.nodes.find(({ id }) => id === nodeId).process.kill();
    await see(ada.locator("[data-testid=status]:not([data-state=connected])"));
    await say(ada, "written in between");
    await shot(ada, "reconnecting");
    await served(ada, other.id, 30_000);
    await see(messages(ada).locator(".mine[data-state=sent]", { hasText: "written in between" }));
    await see(messages(grace).getByText("written in between"));
    for (const page of [ada, grace]) assert.equal(await messages(page).getByText("written in between").count(), 1);
    for (const page of [ada, grace]) assert.equal(await messages(page).getByText("before", { exact: true }).count(), 1);
  });

  test("a token in the address signs in and is not left there; a bad one is explained", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1, auth: "jwt" });
    const { url } = it.nodes[0];
    const ada = await visit(`${url}/#token=${await token("Ada")}`);
    await served(ada, "node-1");
    await see(ada.getByTestId("online").getByText("Ada"));
    assert.ok(!ada.url().includes("token"));
    const mallory = await visit(`${url}/#token=nonsense`);
    await see(mallory.getByText("Authentication error: Invalid token"));
    await shot(mallory, "refused");
  });

  test("where the server mints demo tokens, a name is enough", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 1, auth: "jwt", flags: ["--demo-tokens"] });
    const ada = await visit(it.nodes[0].url);
    await ada.getByRole("button", { name: "Ada" }).click();
    await served(ada, "node-1");
    await say(ada, "no password in sight");
    await see(messages(ada).locator(".mine[data-state=sent]"));
  });

  test("the page works by polling, too", { timeout: 60_000 }, async (t) => {
    const it = await cluster(t, { nodes: 2 });
    const ada = await visit(`${it.nodes[0].url}/?user=Ada&transport=polling`);
    const grace = await visit(`${it.nodes[1].url}/?user=Grace`, { colorScheme: "dark", viewport: NARROW });
    await see(ada.getByTestId("status").getByText("polling"));
    await say(ada, "slow but steady");
    await see(messages(grace).getByText("slow but steady"));
    await shot(grace, "chat-narrow-dark");
  });

  async function visit(url, { viewport = WIDE, colorScheme = "light" } = {}) {
    const context = await browser.newContext({ viewport, colorScheme, locale: "en-GB" });
    contexts.push(context);
    const page = await context.newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
    await page.goto(url);
    return page;
  }
});

function composer(page) {
  return page.getByRole("textbox", { name: /^Message / });
}

async function say(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

function messages(page) {
  return page.getByTestId("timeline");
}

async function served(page, nodeId, ms) {
  await see(page.locator(`[data-testid=status][data-state=connected][data-node="${nodeId}"]`), ms);
}

async function online(page, userId) {
  await see(page.getByTestId("online").getByText(userId));
}

async function see(locator, timeout = 10_000) {
  await locator.first().waitFor({ state: "visible", timeout });
}

async function gone(locator, timeout = 10_000) {
  await locator.waitFor({ state: "hidden", timeout });
}

async function shot(page, name) {
  const directory = process.env.SCREENSHOTS;
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`), animations: "disabled" });
}
