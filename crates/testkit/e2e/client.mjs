/** The stock client, with a memory of what it received. */
import assert from "node:assert/strict";

import { io as current } from "socket.io-client";

import { eventually, within } from "./eventually.mjs";

const ANSWER_MS = 8_000;

/** The three ways of a stock client to connect. `upgrade` begins with polling and goes over to WebSocket. */
export const TRANSPORTS = {
  websocket: ["websocket"],
  polling: ["polling"],
  upgrade: ["polling", "websocket"],
};

/** @param {object} options those of socket.io-client, and `via`: one of TRANSPORTS; `io`: that of another version */
export function client(url, { via = "websocket", io = current, ...options } = {}) {
  return new Client(io(url, { transports: TRANSPORTS[via], forceNew: true, reconnection: false, autoConnect: false, ...options }), via);
}

class Client {
  /** Everything received, in order: `{ name, args }`. */
  events = [];

  constructor(socket, via) {
    this.socket = socket;
    this.via = via;
    socket.onAny((name, ...args) => this.events.push({ name, args }));
    this.disconnected = new Promise((resolve) => socket.once("disconnect", resolve));
  }

  /** Connects, in whatever dialect. */
  async open() {
    this.socket.connect();
    await within(this.#opened(), ANSWER_MS, "connecting");
    if (this.via === "upgrade") await this.upgraded();
    return this;
  }

  /** Connects in the native dialect, which greets. */
  async connected() {
    await this.open();
    const greeting = await this.next("connected");
    Object.assign(this, { userId: greeting.userId, nodeId: greeting.nodeId });
    return greeting;
  }

  async upgraded() {
    await eventually(() => assert.equal(this.transport, "websocket"), ANSWER_MS);
  }

  /** The error that a server's refusal shows as. */
  async refused() {
    this.socket.connect();
    const outcome = new Promise((resolve, reject) => {
      this.socket.once("connect_error", resolve);
      this.socket.once("connect", () => reject(new Error("the server let it in")));
    });
    return within(outcome, ANSWER_MS, "being refused");
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** Sends an event and returns the ack, whatever it says. */
  ask(event, ...args) {
    // It came with 4.6; before that there are callbacks, which nobody calls when the connection is lost.
    if (this.socket.emitWithAck) return kept(this.socket.timeout(ANSWER_MS).emitWithAck(event, ...args));
    const answer = new Promise((resolve) => this.socket.emit(event, ...args, resolve));
    return kept(within(answer, ANSWER_MS, `the answer to ${event}`));
  }

  /** Sends an event whose ack must be a success. */
  request(event, ...args) {
    const answered = this.ask(event, ...args).then((ack) => {
      assert.equal(ack?.success, true, `${event}: ${JSON.stringify(ack)}`);
      return ack;
    });
    return kept(answered);
  }

  /** Sends an event whose ack must be a failure with this code. */
  async refusedRequest(code, event, ...args) {
    const ack = await this.ask(event, ...args);
    assert.equal(ack?.success, false, `${event} was accepted: ${JSON.stringify(ack)}`);
    assert.equal(ack.error, code, JSON.stringify(ack));
    assert.ok(typeof ack.message === "string" && ack.message.length > 0, "a failure says what is wrong");
    assert.equal(typeof ack.retryable, "boolean");
    return ack;
  }

  async join(conversationId) {
    return this.request("conversation:join", { conversationId });
  }

  /** All payloads of this event so far. */
  received(name) {
    return this.events.filter((event) => event.name === name).map((event) => event.args[0]);
  }

  /** The first payload of this event that fits, received already or soon. */
  async next(name, fits = () => true, ms = ANSWER_MS) {
    return eventually(() => {
      const found = this.received(name).find(fits);
      assert.ok(found !== undefined, `${name} has not arrived; so far: ${this.events.map((event) => event.name).join(", ")}`);
      return found;
    }, ms);
  }

  async close() {
    this.socket.disconnect();
  }

  async #opened() {
    await new Promise((resolve, reject) => {
      this.socket.once("connect", resolve);
      this.socket.once("connect_error", reject);
    });
  }
}

/** A test may send much and look at the answers later, or fail before it does: that is no unhandled rejection. */
function kept(promise) {
  promise.catch(() => undefined);
  return promise;
}
