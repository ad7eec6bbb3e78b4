import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { defineConfig, type Plugin } from "vite";

/** The bundles that a Node.js Socket.IO server offers under `/socket.io/`, from the installed client package. */
const CLIENT_BUNDLES = ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js"];

/** Puts the stock client into `dist/socket.io/`: the gateway serves it to pages that load it with a script tag. */
function stockClient(): Plugin {
  const bundles = join(dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json")), "dist");
  return {
    name: "stock-client",
    apply: "build",
    generateBundle() {
      for (const bundle of CLIENT_BUNDLES.flatMap((name) => [name, `${name}.map`])) {
        this.emitFile({ type: "asset", fileName: `socket.io/${bundle}`, source: readFileSync(join(bundles, bundle)) });
      }
    },
  };
}

const gateway = process.env["TRUNKLINE_URL"] ?? "http://127.0.0.1:3000";

export default defineConfig({
  plugins: [stockClient()],
  build: { target: "es2022", modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/socket.io": { target: gateway, ws: true },
      "/api": { target: gateway },
    },
  },
});
