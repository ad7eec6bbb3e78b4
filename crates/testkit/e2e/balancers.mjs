/** Balancers that know nothing of sessions: one of our own, which is as unkind as can be, and those that people use. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { access, writeFile } from "node:fs/promises";
import { Agent, createServer, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";

import { eventually } from "./eventually.mjs";
import { onFreePort, Process } from "./processes.mjs";

const START_MS = 15_000;
const NGINX = process.env.NGINX ?? "/usr/sbin/nginx";

/** Why a test with nginx can't run, or false. */
export const withoutNginx = await access(NGINX).then(
  () => false,
  () => `${NGINX} is not installed`,
);

/** Picks another node at random for every single request and upgrade. */
export async function randomBalancer(nodes) {
  const agent = new Agent({ keepAlive: true });
  const pick = () => {
    const [host, port] = nodes[Math.floor(Math.random() * nodes.length)].address.split(":");
    return { host, port: Number(port) };
  };
  const server = createServer((request, response) => {
    const headers = { ...request.headers, "x-forwarded-for": request.socket.remoteAddress };
    const onward = httpRequest({ ...pick(), agent, method: request.method, path: request.url, headers });
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    // A client that gives up gives up at the node, too.
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, client, head) => {
    const { host, port } = pick();
    const node = connect(port, host, () => {
      const lines = [`GET ${request.url} HTTP/1.1`];
      for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
      node.write(`${lines.join("\r\n")}\r\n\r\n`);
      node.write(head);
      node.pipe(client).pipe(node);
    });
    node.setNoDelay(true);
    client.setNoDelay(true);
    for (const [one, other] of [[node, client], [client, node]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  // Idle connections are the clients' to close: an end in the middle of a request would be the balancer's fault.
  server.keepAliveTimeout = 120_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      agent.destroy();
    },
  };
}

/** HAProxy, round robin. */
export async function haproxy(directory, nodes) {
  return started(directory, "haproxy.cfg", (port) => haproxyConfig(port, nodes), (file) => ["haproxy", ["-db", "-f", file]]);
}

/** What a plain Kubernetes Service does: any node for each connection, without a look at what is said on it. */
export async function service(directory, nodes) {
  return started(directory, "service.cfg", (port) => serviceConfig(port, nodes), (file) => ["haproxy", ["-db", "-f", file]]);
}

/** nginx, round robin. */
export async function nginx(directory, nodes) {
  const config = (port) => nginxConfig(directory, port, nodes);
  return started(directory, "nginx.conf", config, (file) => [NGINX, ["-p", directory, "-e", "stderr", "-c", file]]);
}

async function started(directory, name, config, command) {
  return onFreePort(async (port) => {
    const file = join(directory, name);
    await writeFile(file, config(port));
    const process = new Process(...command(file));
    const url = `http://127.0.0.1:${port}`;
    await eventually(
      async () => {
        if (!process.alive) throw new Error(`the balancer ended:\n${process.lines.join("\n")}`);
        assert.equal((await fetch(`${url}/health/ready`)).status, 200);
      },
      START_MS,
      () => !process.alive,
    );
    return { process, url };
  });
}

/** No stickiness on purpose: any request may reach any node. */
function haproxyConfig(port, nodes) {
  const servers = nodes.map(({ id, address }) => `  server ${id} ${address} check inter 500ms`);
  return `
global
  maxconn 2000
defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option redispatch
  retries 2
  retry-on conn-failure 503
frontend public
  bind 127.0.0.1:${port}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /health/ready
${servers.join("\n")}
`;
}

function serviceConfig(port, nodes) {
  return `
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
frontend public
  bind 127.0.0.1:${port}
  default_backend nodes
backend nodes
  balance random(1)
${nodes.map(({ id, address }) => `  server ${id} ${address}`).join("\n")}
`;
}

/** As deploy/nginx, with the paths and ports of a test. */
function nginxConfig(directory, port, nodes) {
  return `
daemon off;
# One process: a worker would outlive a master that is killed.
master_process off;
pid ${directory}/nginx.pid;
error_log stderr error;
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream trunkline { ${nodes.map(({ address }) => `server ${address};`).join(" ")} keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://trunkline;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_read_timeout 60s;
      proxy_next_upstream error timeout http_503;
    }
  }
}
`;
}
