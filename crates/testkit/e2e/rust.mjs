/** A client in Rust, remote-controlled. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { RemoteClient } from "./remote.mjs";

const MANIFEST = fileURLToPath(new URL("rust/Cargo.toml", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));

/** Why there can be no client in Rust here, or `false`. */
export function missing() {
  const fails = (command, ...args) => spawnSync(command, args, { stdio: "ignore" }).status !== 0;
  if (fails("cargo", "--version")) return "cargo is not installed";
  // The library's only TLS is the system's, even for those who use none.
  return fails("pkg-config", "--exists", "openssl") && "libssl-dev and pkg-config are not installed";
}

/** The built program. Cargo does nothing when it is there, and lets one process at a time into the directory. */
export async function rustProgram() {
  const directory = join(TARGET, "e2e-rust");
  await promisify(execFile)("cargo", ["build", "--quiet", "--locked", "--manifest-path", MANIFEST, "--target-dir", directory]);
  return join(directory, "debug", "trunkline-e2e-rust-client");
}

/** A client that has not begun to connect; it ends with the test `t`. */
export function rustClient(t, program, api, transport) {
  const made = new RustClient(program, api, transport);
  t.after(() => made.process.kill());
  return made;
}

class RustClient extends RemoteClient {
  constructor(program, api, transport) {
    super(program);
    Object.assign(this, { api, transport });
  }

  /** The library does not say how it is connected, but fails if that is not the way it was told. */
  async connect(url, auth, namespace = "/") {
    this.order({ do: "connect", api: this.api, transport: this.transport, url, auth, namespace });
    const { what, ...details } = await this.line(({ what }) => ["connected", "refused", "failed"].includes(what));
    assert.equal(what, "connected", JSON.stringify(details));
  }

  /** What the server says when it refuses this client. */
  async refused(url, auth) {
    this.order({ do: "connect", api: this.api, transport: this.transport, url, auth, namespace: "/" });
    return (await this.said("refused")).data;
  }

  /** Sends an event that nobody answers. */
  emit(event, args) {
    this.order({ do: "emit", event, args: Buffer.isBuffer(args) ? { $bytes: args.toString("base64") } : args });
  }
}
