/** Who gets in: tokens, origins. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";

import { WebSocket } from "ws";

import { TRANSPORTS } from "./client.mjs";
import { JWT_SECRET, sharedCluster, token } from "./cluster.mjs";

describe("with tokens", { timeout: 60_000 }, () => {
  let it;
  before(async () => {
    it = await sharedCluster({ nodes: 2, auth: "jwt" });
  });
  after(() => it?.stop());

  for (const via of Object.keys(TRANSPORTS)) {
    const refusals = [
      ["no token", undefined, "Authentication error: No token provided"],
      ["something that is no token", "nonsense", "Authentication error: Invalid token"],
      ["a token of another server", signed({ sub: "ada", exp: inSeconds(600) }, "another secret, long enough for this"), "Authentication error: Invalid token"],
      ["an unsigned token", unsigned({ sub: "ada", exp: inSeconds(600) }), "Authentication error: Invalid token"],
      ["a token that names nobody", signed({ exp: inSeconds(600) }), "Authentication error: Invalid token"],
      ["an expired token", signed({ sub: "ada", exp: inSeconds(-60) }), "Authentication error: Token expired"],
    ];
    for (const [what, given, message] of refusals) {
      test(`over ${via}, ${what} is refused in the promised words`, { timeout: 15_000 }, async () => {
        const stranger = it.client(undefined, { via, auth: given === undefined ? {} : { token: given } });
        const error = await stranger.refused();
        assert.equal(error.message, message);
        assert.equal(stranger.socket.connected, false);
      });
    }

    test(`over ${via}, a token decides who the user is, whatever else the client says`, { timeout: 15_000 }, async () => {
      const ada = await it.connect(undefined, { via, auth: { token: await token("ada") }, query: { userId: "mallory" } });
      assert.equal(ada.userId, "ada");
    });
  }

  const places = {
    "the query": async () => ({ query: { token: await token("ada") } }),
    "the Authorization header": async () => ({ extraHeaders: { authorization: `Bearer ${await token("ada")}` } }),
  };
  for (const [place, options] of Object.entries(places)) {
    test(`a token in ${place} is taken`, { timeout: 15_000 }, async () => {
      assert.equal((await it.connect(undefined, await options())).userId, "ada");
    });
  }

  for (const claim of ["sub", "userId", "id"]) {
    test(`the user may be named by ${claim}`, { timeout: 15_000 }, async () => {
      const ada = await it.connect(undefined, { auth: { token: signed({ [claim]: "ada", exp: inSeconds(600) }) } });
      assert.equal(ada.userId, "ada");
    });
  }

  test("the greeting says when the token ends", { timeout: 15_000 }, async () => {
    const exp = inSeconds(600);
    const ada = it.client(undefined, { auth: { token: signed({ sub: "ada", exp }) } });
    const { expiresAt, socketId } = await ada.connected();
    assert.equal(Date.parse(expiresAt), exp * 1000);
    assert.equal(socketId, ada.socket.id);
  });

  test("a refused client is not online", { timeout: 15_000 }, async () => {
    const ada = await it.connect(undefined, { auth: { token: await token("counter") } });
    await it.client(undefined, { auth: { token: signed({ sub: "late", exp: inSeconds(-60) }) } }).refused();
    const { users } = await ada.request("presence:get", { userIds: ["late"] });
    assert.equal(users[0].online, false);
  });
});

describe("with a list of origins", { timeout: 60_000 }, () => {
  const GOOD = "https://chat.example";
  const EVIL = "https://evil.example";
  let it;
  let url;
  before(async () => {
    it = await sharedCluster({ nodes: 1, flags: ["--cors-origins", GOOD] });
    url = it.nodes[0].url;
  });
  after(() => it?.stop());

  const polling = (origin, init = {}) =>
    fetch(`${url}/socket.io/?EIO=4&transport=polling&userId=ada`, { ...init, headers: { ...(origin && { origin }), ...init.headers } });

  test("polling from a foreign origin is refused, and not told that it may read the answer", { timeout: 10_000 }, async () => {
    const answer = await polling(EVIL);
    assert.equal(answer.status, 403);
    assert.notEqual(answer.headers.get("access-control-allow-origin"), EVIL);
    assert.notEqual(answer.headers.get("access-control-allow-origin"), "*");
    assert.ok(!(await answer.text()).includes("sid"));
  });

  test("polling from an allowed origin is served with the headers that browsers ask for", { timeout: 10_000 }, async () => {
    const answer = await polling(GOOD);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("access-control-allow-origin"), GOOD);
    assert.match(answer.headers.get("vary") ?? "", /origin/i);
    assert.match(await answer.text(), /^0\{"sid"/);
  });

  test("a preflight of an allowed origin is answered, of a foreign one not", { timeout: 10_000 }, async () => {
    const ask = { method: "OPTIONS", headers: { "access-control-request-method": "POST", "access-control-request-headers": "content-type" } };
    const allowed = await polling(GOOD, ask);
    assert.ok(allowed.ok, `status ${allowed.status}`);
    assert.equal(allowed.headers.get("access-control-allow-origin"), GOOD);
    assert.match(allowed.headers.get("access-control-allow-methods") ?? "", /POST/);
    assert.equal((await polling(EVIL, ask)).headers.get("access-control-allow-origin"), null);
  });

  test("a websocket of a foreign origin is refused before it is one", { timeout: 10_000 }, async () => {
    const socket = new WebSocket(webSocketUrl(url), { origin: EVIL });
    const [, response] = await once(socket, "unexpected-response");
    assert.equal(response.statusCode, 403);
    response.destroy();
  });

  test("a websocket of an allowed origin, or of a program without one, is welcome", { timeout: 10_000 }, async () => {
    for (const options of [{ origin: GOOD }, {}]) {
      const socket = new WebSocket(webSocketUrl(url), options);
      const [data] = await once(socket, "message");
      assert.match(data.toString(), /^0\{"sid"/);
      socket.terminate();
    }
  });
});

function webSocketUrl(url) {
  return `${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket&userId=ada`;
}

function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

function signed(claims, secret = JWT_SECRET) {
  const unsignedPart = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${unsignedPart}.${createHmac("sha256", secret).update(unsignedPart).digest("base64url")}`;
}

function unsigned(claims) {
  return `${encoded({ alg: "none", typ: "JWT" })}.${encoded(claims)}.`;
}

function encoded(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
