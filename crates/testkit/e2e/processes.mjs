/** Child processes that are always ended, and the ports they get. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

import { eventually } from "./eventually.mjs";

const KEPT_LINES = 400;
const running = new Set();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
// The test runner ends a file that takes too long with SIGTERM, which alone would leave the children behind.
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(1));

/** One child process with the last lines it wrote. */
export class Process {
  constructor(command, args, options = {}) {
    this.command = command;
    this.lines = [];
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    this.exited = new Promise((resolve) => {
      const end = (code, signal) => {
        running.delete(this.child);
        resolve({ code, signal });
      };
      this.child.once("exit", end);
      this.child.once("error", (error) => {
        this.#line(String(error));
        end(-1, null);
      });
    });
    running.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.#line(line));
    }
  }

  get alive() {
    return running.has(this.child);
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.child.kill(signal);
  }

  async kill() {
    this.signal("SIGKILL");
    await this.exited;
  }

  /** The first line for which `found` answers something; fails when the process ends without one. */
  async line(found, ms) {
    return eventually(
      () => {
        for (const line of this.lines) {
          const answer = found(line);
          if (answer) return answer;
        }
        if (!this.alive) throw new Ended(`${this.command} ended:\n${this.lines.slice(-20).join("\n")}`);
        throw new Error(`${this.command} has not said it yet:\n${this.lines.slice(-20).join("\n")}`);
      },
      ms,
      (error) => error instanceof Ended,
    );
  }

  #line(line) {
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    if (process.env.E2E_LOGS) console.error(`[${this.child.pid}] ${line}`);
  }
}

class Ended extends Error {}

/**
 * Starts a program that can't choose a free port by itself. Another process may take the port in between, so it is
 * tried again with another one.
 */
export async function onFreePort(start) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
