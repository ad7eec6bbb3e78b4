/** A client in Python, remote-controlled. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Process } from "./processes.mjs";

const HERE = fileURLToPath(new URL("python", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));
const ANSWER_MS = 10_000;

/** Why there can be no client in Python here, or `false`. */
export function missing() {
  const { status } = spawnSync("python3", ["-c", "import venv, ensurepip"], { stdio: "ignore" });
  return status === 0 ? false : "python3 with venv is not installed";
}

/** A Python that has the packages of requirements.txt, made once for each version of that file. */
export async function pythonWithPackages() {
  const requirements = join(HERE, "requirements.txt");
  const wanted = createHash("sha256").update(await readFile(requirements)).digest("hex");
  const directory = join(TARGET, "e2e-python");
  const python = join(directory, "bin", "python");
  const stamp = join(directory, "requirements.sha256");
  if ((await readFile(stamp, "utf8").catch(() => "")) === wanted) return python;
  await rm(directory, { recursive: true, force: true });
  await run("python3", ["-m", "venv", directory]);
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]);
  await writeFile(stamp, wanted);
  return python;
}

const run = promisify(execFile);

/** A client that has not begun to connect; it ends with the test `t`. */
export function pythonClient(t, python, transports) {
  const made = new PythonClient(python, transports);
  t.after(() => made.process.kill());
  return made;
}

class PythonClient {
  #calls = 0;

  constructor(python, transports) {
    this.transports = transports;
    this.process = new Process(python, [join(HERE, "client.py")], { stdio: ["pipe", "pipe", "pipe"] });
    this.process.child.stdin.on("error", () => undefined);
  }

  async connect(url, auth, namespaces = ["/"]) {
    this.#order({ do: "connect", url, auth, namespaces, transports: this.transports });
    const { what, transport, error } = await this.#line(({ what }) => what === "ready" || what === "failed");
    assert.equal(what, "ready", error);
    assert.equal(transport, this.transports.at(-1));
  }

  /** What the server says when it refuses this client. */
  async refused(url, auth) {
    this.#order({ do: "connect", url, auth, namespaces: ["/"], transports: this.transports });
    return (await this.said("refused")).data;
  }

  /** Sends an event and returns the ack, whatever it says. */
  async ask(event, args, namespace = "/") {
    const n = (this.#calls += 1);
    this.#order({ do: "call", n, namespace, event, args });
    const { answer, error } = await this.#line((line) => line.what === "answer" && line.n === n);
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
    return (await this.#line(found, ms)).args[0];
  }

  /** The first line of this kind. */
  async said(what) {
    return this.#line((line) => line.what === what);
  }

  #order(order) {
    this.process.child.stdin.write(`${JSON.stringify(order)}\n`);
  }

  async #line(fits, ms = ANSWER_MS) {
    return this.process.line((line) => {
      const said = line.startsWith("{") ? JSON.parse(line, bytes) : {};
      return fits(said) && said;
    }, ms);
  }
}

function bytes(_, value) {
  return typeof value?.$bytes === "string" ? Buffer.from(value.$bytes, "base64") : value;
}
