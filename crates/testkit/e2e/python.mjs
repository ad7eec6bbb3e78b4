/** A client in Python, remote-controlled. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { RemoteClient } from "./remote.mjs";

const HERE = fileURLToPath(new URL("python", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));

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

class PythonClient extends RemoteClient {
  constructor(python, transports) {
    super(python, [join(HERE, "client.py")]);
    this.transports = transports;
  }

  async connect(url, auth, namespaces = ["/"]) {
    this.order({ do: "connect", url, auth, namespaces, transports: this.transports });
    const { what, transport, error } = await this.line(({ what }) => what === "ready" || what === "failed");
    assert.equal(what, "ready", error);
    assert.equal(transport, this.transports.at(-1));
  }

  /** What the server says when it refuses this client. */
  async refused(url, auth) {
    this.order({ do: "connect", url, auth, namespaces: ["/"], transports: this.transports });
    return (await this.said("refused")).data;
  }
}
