/** The declarations of every dialect, used by a typed socket.io-client program: what is right compiles, what is wrong does not. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL("types", import.meta.url));
const TSC = fileURLToPath(new URL("node_modules/.bin/tsc", import.meta.url));

const { stdout } = spawnSync(TSC, ["--project", HERE, "--pretty", "false"], { encoding: "utf8", cwd: HERE });
const errors = [...stdout.matchAll(/^([\w-]+\.ts)\((\d+),\d+\): (.*)$/gm)].map(([, file, line, text]) => ({ file, line: Number(line), text }));

for (const file of readdirSync(HERE).filter((name) => name.endsWith(".ts"))) {
  test(`${file} compiles but for what is wrong in it`, () => {
    const lines = readFileSync(join(HERE, file), "utf8").split("\n");
    const wrong = lines.flatMap((line, index) => (line.endsWith("// wrong") ? [index + 1] : []));
    assert.ok(wrong.length > 0);
    const found = errors.filter((error) => error.file === file);
    assert.deepEqual([...new Set(found.map(({ line }) => line))], wrong, JSON.stringify(found, undefined, 1));
  });
}

test("nothing else is wrong", () => {
  const files = readdirSync(HERE);
  assert.deepEqual(stdout.split("\n").filter((line) => / error /.test(line) && !files.some((file) => line.startsWith(`${file}(`))), []);
});
