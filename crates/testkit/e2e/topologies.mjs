/** What Redis can be made of besides one server: a Cluster of six processes, and a master with replica and three Sentinels. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { eventually } from "./eventually.mjs";
import { onFreePort, Process } from "./processes.mjs";

const START_MS = 60_000;
const LOCAL = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0"];

const redisCli = async (port, ...args) => (await promisify(execFile)("redis-cli", ["-p", `${port}`, ...args], { timeout: 30_000 })).stdout.trim();

class Server {
  static async start(directory, options = []) {
    const server = new Server();
    await onFreePort(async (port) => {
      const place = join(directory, `${port}`);
      await mkdir(place);
      server.port = port;
      server.process = new Process("redis-server", ["--port", `${port}`, "--dir", place, ...LOCAL, ...options]);
      await server.process.line((line) => line.includes("Ready to accept connections"), START_MS);
    });
    return server;
  }

  cli(...args) {
    return redisCli(this.port, ...args);
  }
}

/** Three masters with a replica each. A silent one is replaced after a second and a half. */
export class RedisCluster {
  constructor(directory) {
    this.directory = directory;
    this.servers = [];
  }

  get url() {
    return this.servers.slice(0, 3).map(({ port }) => `redis://127.0.0.1:${port}`).join(",");
  }

  async start() {
    for (let n = 0; n < 6; n += 1) {
      // Its second port must be free, too: by default it lies 10,000 above the first.
      const server = await onFreePort((bus) =>
        Server.start(this.directory, ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", `${bus}`]),
      );
      this.servers.push(server);
    }
    const addresses = this.servers.map(({ port }) => `127.0.0.1:${port}`);
    await redisCli(this.servers[0].port, "--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes");
    await eventually(async () => {
      for (const server of this.servers) assert.match(await server.cli("cluster", "info"), /cluster_state:ok/);
      const links = await Promise.all(this.servers.slice(3).map((server) => server.cli("info", "replication")));
      for (const link of links) assert.match(link, /master_link_status:up/);
    }, START_MS);
  }

  /** Kills the master that has what belongs to a conversation. */
  async killMasterOf(conversationId) {
    const slot = Number(await this.servers[0].cli("cluster", "keyslot", `{c:${conversationId}}`));
    const nodes = (await this.servers[0].cli("cluster", "nodes")).split("\n").map((line) => line.split(" "));
    const owner = nodes.find(([, , , , , , , , ...ranges]) =>
      ranges.some((range) => {
        const [first, last = first] = range.split("-").map(Number);
        return first <= slot && slot <= last;
      }),
    );
    const port = Number(owner[1].split("@")[0].split(":")[1]);
    await this.servers.find((server) => server.port === port).process.kill();
  }

  async stop() {
    await Promise.all(this.servers.map(({ process }) => process.kill()));
  }
}

/** A silent master is replaced after a second. */
export class RedisSentinel {
  constructor(directory) {
    this.directory = directory;
    this.servers = [];
    this.sentinels = [];
  }

  get url() {
    return `redis+sentinel://${this.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/main`;
  }

  async start() {
    const master = await Server.start(this.directory);
    this.servers.push(master, await Server.start(this.directory, ["--replicaof", "127.0.0.1", `${master.port}`]));
    for (let n = 0; n < 3; n += 1) this.sentinels.push(await this.#startSentinel(master.port));
    await eventually(async () => {
      for (const { port } of this.sentinels) {
        const about = (await redisCli(port, "sentinel", "master", "main")).split("\n");
        const fact = (name) => about[about.indexOf(name) + 1];
        assert.deepEqual([fact("num-slaves"), fact("num-other-sentinels")], ["1", "2"]);
      }
      assert.match(await this.servers[1].cli("info", "replication"), /master_link_status:up/);
    }, START_MS);
  }

  async #startSentinel(masterPort) {
    return onFreePort(async (port) => {
      const file = join(this.directory, `sentinel-${port}.conf`);
      const lines = [
        ...[`port ${port}`, "bind 127.0.0.1", `dir ${this.directory}`, `sentinel monitor main 127.0.0.1 ${masterPort} 2`],
        ...["sentinel down-after-milliseconds main 1000", "sentinel failover-timeout main 3000"],
      ];
      await writeFile(file, `${lines.join("\n")}\n`);
      const process = new Process("redis-server", [file, "--sentinel"]);
      await process.line((line) => line.includes("+monitor master"), START_MS);
      return { port, process };
    });
  }

  async killMasterOf() {
    const [, port] = (await redisCli(this.sentinels[0].port, "sentinel", "get-master-addr-by-name", "main")).split("\n");
    await this.servers.find((server) => server.port === Number(port)).process.kill();
  }

  async stop() {
    await Promise.all([...this.servers, ...this.sentinels].map(({ process }) => process.kill()));
  }
}
