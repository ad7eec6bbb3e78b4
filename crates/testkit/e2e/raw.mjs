/** Connections that do what the stock client never would. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";

import { WebSocket } from "ws";

/** A WebSocket that has gone through both handshakes and sends whatever it is given. */
export async function rawSession(url, userId) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket&userId=${userId}`);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  const opened = await textMessage(socket, "0");
  socket.on("message", (data) => data.toString() === "2" && socket.send("3"));
  socket.send("40");
  await textMessage(socket, "40");
  return { socket, closed, handshake: JSON.parse(opened.slice(1)) };
}

/** A TCP connection behind a finished WebSocket handshake: its bytes are taken for frames. */
export async function rawFrames(url, userId) {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const key = randomBytes(16).toString("base64");
  socket.write(
    `GET /socket.io/?EIO=4&transport=websocket&userId=${userId} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n` +
      `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  const [head] = await once(socket, "data");
  if (!head.toString("latin1").startsWith("HTTP/1.1 101")) throw new Error(`no upgrade: ${head}`);
  socket.resume();
  return { socket, closed };
}

/** A client's frame by the book, whose first byte may be anything. */
export function frame(firstByte, payload) {
  const mask = randomBytes(4);
  const body = Buffer.from(payload).map((byte, index) => byte ^ mask[index % 4]);
  if (body.length > 125) throw new Error("short frames only");
  return Buffer.concat([Buffer.from([firstByte, 0x80 | body.length]), mask, body]);
}

/** A polling session, by hand, whose CONNECT is answered: what is sent to a namespace before ends it. */
export async function pollingSession(url, userId) {
  const base = `${url}/socket.io/?EIO=4&transport=polling&userId=${userId}`;
  const opened = await (await fetch(base)).text();
  const handshake = JSON.parse(opened.slice(1));
  const at = (sid) => `${base}&sid=${encodeURIComponent(sid)}`;
  const post = (body, sid = handshake.sid) => fetch(at(sid), { method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" } });
  const poll = (sid = handshake.sid) => fetch(at(sid), { signal: AbortSignal.timeout(8_000) });
  await (await post("40")).text();
  // The first ping may come before the answer.
  for (let answered = false; !answered; ) {
    const answer = await poll();
    const packets = (await answer.text()).split("\x1e");
    if (answer.status !== 200) throw new Error(`a poll was answered ${answer.status}: ${packets}`);
    answered = packets.some((packet) => packet.startsWith("4"));
  }
  return { handshake, post, poll };
}

function textMessage(socket, prefix) {
  return new Promise((resolve, reject) => {
    const listen = (data) => {
      const text = data.toString();
      if (!text.startsWith(prefix)) return;
      socket.off("message", listen);
      resolve(text);
    };
    socket.on("message", listen);
    socket.once("close", () => reject(new Error(`closed before ${prefix}…`)));
  });
}
