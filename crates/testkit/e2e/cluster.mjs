/** A cluster on this machine: Redis, nodes, and HAProxy in front, each a real process on a port of its own. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { haproxy } from "./balancers.mjs";
import { client } from "./client.mjs";
import { eventually } from "./eventually.mjs";
import { onFreePort, Process } from "./processes.mjs";

export const BINARY = process.env.TRUNKLINE_BIN ?? fileURLToPath(new URL("../../../target/debug/trunkline", import.meta.url));
const START_MS = 15_000;

export const JWT_SECRET = "a-secret-that-only-tests-know-0123456789";

/**
 * Starts a cluster that ends with the test `t`.
 *
 * @param {object} options
 * @param {number} [options.nodes] how many, named node-1, node-2, …
 * @param {boolean} [options.balancer] HAProxy in front, plain round robin
 * @param {"insecure-query" | "jwt" | "hook" | "session"} [options.auth] `jwt` with JWT_SECRET, unless `flags` name a key
 * @param {"everysec" | "always"} [options.fsync] of Redis; `always` where it is killed and must not have forgotten anything
 * @param {string[]} [options.flags] more flags for every node
 * @param {new (directory: string) => object} [options.redis] what Redis is made of, if not one server: see topologies.mjs
 */
export async function cluster(t, options = {}) {
  const started = new Cluster(options);
  t.after(() => started.stop());
  await started.start();
  return started;
}

/** The same for a group of tests, whose `after` has to call `stop()`. */
export async function sharedCluster(options = {}) {
  const started = new Cluster(options);
  try {
    await started.start();
  } catch (error) {
    await started.stop();
    throw error;
  }
  return started;
}

/** The token that `trunkline token` mints. */
export async function token(userId, secret = JWT_SECRET) {
  const { stdout } = await promisify(execFile)(BINARY, ["token", "--secret", secret, "--user", userId]);
  return stdout.trim();
}

class Cluster {
  #clients = [];
  /** Of nodes: those that a test starts besides, too. */
  #processes = [];

  constructor({ nodes = 2, balancer = false, auth = "insecure-query", fsync = "everysec", flags = [], redis }) {
    Object.assign(this, { size: nodes, withBalancer: balancer, auth, fsync, flags, Topology: redis });
    this.prefix = `e2e-${randomUUID().slice(0, 8)}`;
    this.nodes = [];
  }

  async start() {
    this.directory = await mkdtemp(join(tmpdir(), "trunkline-e2e-"));
    this.redis = this.Topology ? new this.Topology(this.directory) : new Redis(this.directory, this.fsync);
    await this.redis.start();
    const ids = Array.from({ length: this.size }, (_, index) => `node-${index + 1}`);
    this.nodes = await Promise.all(ids.map((id) => this.startNode(id)));
    if (this.withBalancer) this.balancer = await haproxy(this.directory, this.nodes);
  }

  async startNode(id, flags = []) {
    const keyed = this.flags.includes("--jwt-public-key") || this.flags.includes("--jwks-url");
    const auth = this.auth === "jwt" && !keyed ? ["--jwt-secret", JWT_SECRET] : [];
    // A single worker runs on another kind of runtime: one of the nodes has one.
    const workers = id === "node-2" ? ["--workers", "1"] : [];
    const process = new Process(BINARY, [
      "serve",
      ...["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--redis-url", this.redis.url],
      ...["--node-id", id, "--auth", this.auth, ...auth, "--log-format", "json", "--channel-prefix", this.prefix],
      ...[...workers, ...this.flags, ...flags],
    ]);
    this.#processes.push(process);
    const { address, internal } = await process.line(listening, START_MS);
    const node = { id, process, address, url: `http://${address}`, internalUrl: internal && `http://${internal}` };
    await eventually(async () => assert.equal((await fetch(`${node.url}/health/ready`)).status, 200), START_MS);
    return node;
  }

  /** A connected client; closed with the cluster. `at` is a node (its number from 0) or the balancer. */
  async connect(userId, { at = this.balancer ? "balancer" : 0, ...options } = {}) {
    const connected = this.client(userId, { at, ...options });
    await connected.connected();
    return connected;
  }

  /** A client that has not begun to connect; `to` is the namespace. */
  client(userId, { at = this.balancer ? "balancer" : 0, to = "/", ...options } = {}) {
    const { url } = at === "balancer" ? this.balancer : this.nodes[at];
    const made = client(`${url}${to}`, { query: userId && this.auth === "insecure-query" ? { userId } : {}, ...options });
    this.#clients.push(made);
    return made;
  }

  /** One client each for `userIds`, through the balancer, no two on one node. */
  async connectApart(userIds, options = {}) {
    assert.ok(userIds.length <= this.size);
    const taken = new Set();
    const connected = [];
    for (const userId of userIds) {
      // Round robin does not promise another node at once: the requests of earlier clients turn the wheel, too.
      connected.push(
        await eventually(async () => {
          const candidate = await this.connect(userId, options);
          if (!taken.has(candidate.nodeId)) return candidate;
          await candidate.close();
          throw new Error(`no client of ${userId} got a node of its own`);
        }, 15_000),
      );
      taken.add(connected.at(-1).nodeId);
    }
    return connected;
  }

  async stop() {
    for (const each of this.#clients) each.socket.disconnect();
    const processes = [this.balancer?.process, ...this.#processes];
    await Promise.all(processes.filter(Boolean).map((process) => process.kill()));
    await this.redis?.stop();
    if (this.directory) await rm(this.directory, { recursive: true, force: true });
  }
}

/** Looks at one line of a node's log. */
function listening(line) {
  if (!line.startsWith("{")) return undefined;
  const { fields } = JSON.parse(line);
  return fields?.message === "listening" ? { address: fields.address, internal: fields.internal_address } : undefined;
}

class Redis {
  constructor(directory, fsync) {
    Object.assign(this, { directory, fsync });
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start() {
    await onFreePort((port) => this.#startOn(port));
  }

  /** Comes back on the same port with the same data. */
  async restart() {
    await this.#startOn(this.port);
  }

  async kill() {
    await this.process.kill();
  }

  async stop() {
    await this.process?.kill();
  }

  /** Dies, and comes back on the same port with nothing. */
  async lose() {
    await this.kill();
    await rm(join(this.directory, "appendonlydir"), { recursive: true, force: true });
    await this.restart();
  }

  async #startOn(port) {
    this.port = port;
    const where = ["--bind", "127.0.0.1", "--port", `${port}`, "--dir", this.directory];
    this.process = new Process("redis-server", [...where, "--save", "", "--appendonly", "yes", "--appendfsync", this.fsync]);
    await this.process.line((line) => line.includes("Ready to accept connections"), START_MS);
  }
}
