/** A client in another language: a program that reads orders and says what happens, one JSON object a line. */
import assert from "node:assert/strict";

import { Process } from "./processes.mjs";

const ANSWER_MS = 10_000;

export class RemoteClient {
  #calls = 0;

  constructor(command, args = []) {
    this.process = new Process(command, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.process.child.stdin.on("error", () => undefined);
  }

  /** Sends an event and returns the ack, whatever it says. */
  async ask(event, args, namespace = "/") {
    const n = (this.#calls += 1);
    this.order({ do: "call", n, namespace, event, args });
    const { answer, error } = await this.line((line) => line.what === "answer" && line.n === n);
    assert.equal(error, undefined);
    return answer;
  }

  /** Sends an event whose ack must be a success. */
  async request(event, args, namespace) {
    const ack = await this.ask(event, args, namespace);
    assert.equal(ack?.success, true, `${event}: ${JSON.stringify(ack)}`);
    return ack;
  }

  /** The first payload of this event that fits, received already or soon. */
  async next(name, fits = () => true, namespace = "/", ms = ANSWER_MS) {
    const found = (line) => line.what === "event" && line.name === name && line.namespace === namespace && fits(line.args[0]);
    return (await this.line(found, ms)).args[0];
  }

  /** All payloads of this event so far. */
  received(name, namespace = "/") {
    const said = this.process.lines.map(read);
    return said.filter((line) => line.what === "event" && line.name === name && line.namespace === namespace).map(({ args }) => args[0]);
  }

  /** The first line of this kind. */
  async said(what) {
    return this.line((line) => line.what === what);
  }

  order(order) {
    this.process.child.stdin.write(`${JSON.stringify(order)}\n`);
  }

  async line(fits, ms = ANSWER_MS) {
    return this.process.line((line) => {
      const said = read(line);
      return fits(said) && said;
    }, ms);
  }
}

function read(line) {
  return line.startsWith("{") ? JSON.parse(line, bytes) : {};
}

function bytes(_, value) {
  return typeof value?.$bytes === "string" ? Buffer.from(value.$bytes, "base64") : value;
}
