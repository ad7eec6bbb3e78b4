/** The chat page of the `showcase` dialect's document in a real browser: served beside the node, with the client from the node. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { chromium } from "playwright-core";

import { speaking } from "./speaking.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// A page that the test puts there has no address of its own: for the browser it is no neighbour of the node then.
const FLAGS = ["--no-sandbox", "--disable-features=LocalNetworkAccessChecks"];

/** As its document has it: `io()` without options, a prompt for the name, a list, a line for who types. */
const PAGE = `<!doctype html>
<title>Chat</title>
<ul id="messages"></ul>
<div id="typing"></div>
<input id="message-input" />
<button id="send-btn">Send</button>
<script src="/socket.io/socket.io.js"></script>
<script>
  const socket = io();
  const username = prompt("Who are you?");
  const [list, input, typing] = ["messages", "message-input", "typing"].map((id) => document.getElementById(id));
  let timer;
  const add = (message) => {
    const line = document.createElement("li");
    line.textContent = message.username + ": " + message.text;
    list.appendChild(line);
  };
  const send = () => {
    const text = input.value.trim();
    if (!text) return;
    socket.emit("send-message", { text });
    input.value = "";
    socket.emit("stop-typing");
  };
  socket.emit("join", username);
  socket.on("previous-messages", (messages) => messages.forEach(add));
  socket.on("new-message", add);
  document.getElementById("send-btn").addEventListener("click", send);
  input.addEventListener("keypress", (event) => event.key === "Enter" && send());
  input.addEventListener("input", () => {
    socket.emit("typing");
    clearTimeout(timer);
    timer = setTimeout(() => socket.emit("stop-typing"), 1000);
  });
  socket.on("user-typing", (data) => (typing.textContent = data.username + " is typing..."));
  socket.on("user-stop-typing", () => (typing.textContent = ""));
  socket.on("user-joined", (data) => add({ username: "System", text: data.username + " joined (" + data.userCount + " users online)" }));
  socket.on("user-left", (data) => add({ username: "System", text: data.username + " left (" + data.userCount + " users online)" }));
</script>`;

describe("the page of showcase", { timeout: 120_000 }, () => {
  let it, browser;
  before(async () => {
    it = await speaking("/=showcase");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  });
  after(async () => {
    await browser?.close();
    await it?.stop();
  });

  async function visit(node, name) {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    page.on("dialog", (dialog) => dialog.accept(name));
    const address = `${it.nodes[node].url}/chat.html`;
    await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: PAGE }));
    await page.goto(address);
    await page.getByText(`System: ${name} joined`).waitFor();
    await page.waitForFunction(() => socket.io.engine.transport.name === "websocket");
    return page;
  }

  test("two people on two nodes chat", { timeout: 60_000 }, async () => {
    const ada = await visit(0, "Ada");
    await ada.fill("#message-input", "first!");
    await ada.click("#send-btn");
    await ada.getByText("Ada: first!").waitFor();
    const grace = await visit(1, "Grace");
    await grace.getByText("Ada: first!").waitFor();
    await ada.getByText("System: Grace joined (2 users online)").waitFor();
    await grace.locator("#message-input").pressSequentially("hello <b>Ada</b>");
    await ada.getByText("Grace is typing...").waitFor();
    await grace.click("#send-btn");
    await ada.getByText("Grace: hello <b>Ada</b>").waitFor();
    await ada.waitForFunction(() => document.getElementById("typing").textContent === "");
    assert.equal(await ada.getByText("Grace: hello").count(), 1);
    await ada.locator("#message-input").pressSequentially("by the Enter key");
    await ada.keyboard.press("Enter");
    await grace.getByText("Ada: by the Enter key").waitFor();
    assert.equal(await ada.inputValue("#message-input"), "");
    await grace.close();
    await ada.getByText("System: Grace left (1 users online)").waitFor();
  });
});
