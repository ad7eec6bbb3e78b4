/** Who clients are, by every way of finding out: public keys, key sets, a server that is asked, sessions of a Node.js back end. */
import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, randomUUID, sign as signature } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";

import { createClient } from "redis";

import { TRANSPORTS } from "./client.mjs";
import { sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";

const TEST = { timeout: 60_000 };
const INVALID = "Authentication error: Invalid token";

/** One pair of each kind, and how Node.js signs with it. */
const KINDS = {
  RS256: { pair: generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256", options: {} },
  PS256: { pair: generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256", options: { padding: 6, saltLength: 32 } },
  ES256: { pair: generateKeyPairSync("ec", { namedCurve: "P-256" }), hash: "sha256", options: { dsaEncoding: "ieee-p1363" } },
  EdDSA: { pair: generateKeyPairSync("ed25519"), hash: null, options: {} },
};

for (const [alg, { pair }] of Object.entries(KINDS)) {
  const pem = pair.publicKey.export({ type: "spki", format: "pem" });
  describe(`with a public key for ${alg}`, { timeout: 120_000 }, () => {
    let it;
    before(async () => {
      const flags = ["--jwt-public-key", pem, "--jwt-issuer", "https://login.example", "--jwt-audience", "chat"];
      it = await sharedCluster({ nodes: 2, auth: "jwt", flags });
    });
    after(() => it?.stop());
    const claims = (sub) => ({ sub, iss: "https://login.example", aud: "chat", exp: inSeconds(600) });

    for (const via of Object.keys(TRANSPORTS))
      test(`its tokens let in over ${via}, and say who it is`, TEST, async () => {
        const [ada, bob] = await Promise.all(["ada", "bob"].map((user, at) => it.connect(undefined, { at, via, auth: { token: signed(alg, claims(user)) } })));
        assert.deepEqual([ada.userId, bob.userId], ["ada", "bob"]);
        await ada.request("private:message", { recipientUserId: "bob", content: "hi" });
        assert.equal((await bob.next("message:new")).from, "ada");
      });

    test("tokens of other keys, of other issuers, for others, and those signed with the public key as a secret, do not", TEST, async () => {
      const another = Object.keys(KINDS).find((kind) => kind !== alg);
      const wrong = {
        "another kind of key": signed(another, claims("mallory")),
        "another issuer": signed(alg, { ...claims("mallory"), iss: "https://evil.example" }),
        "another audience": signed(alg, { ...claims("mallory"), aud: "shop" }),
        "no issuer": signed(alg, { sub: "mallory", aud: "chat" }),
        "the public key as a secret": hmac(claims("mallory"), pem),
        "no signature": `${encoded({ alg: "none" })}.${encoded(claims("mallory"))}.`,
        "changed claims": altered(signed(alg, claims("ada")), claims("mallory")),
      };
      for (const [what, token] of Object.entries(wrong)) {
        assert.equal((await it.client(undefined, { at: 0, auth: { token } }).refused()).message, INVALID, what);
      }
      const late = signed(alg, { ...claims("ada"), exp: inSeconds(-60) });
      assert.equal((await it.client(undefined, { at: 0, auth: { token: late } }).refused()).message, "Authentication error: Token expired");
    });

    test("HTTP calls are let in by the same tokens", TEST, async () => {
      const call = (token) => fetch(`${it.nodes[0].url}/api/conversations`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal((await call(signed(alg, claims("ada")))).status, 200);
      assert.equal((await call(hmac(claims("ada"), pem))).status, 401);
    });
  });
}

describe("with a key set", { timeout: 180_000 }, () => {
  const set = { keys: [], status: 200, fetched: 0 };
  let server;
  let it;
  before(async () => {
    server = await serving((request, response) => {
      set.fetched += 1;
      response.writeHead(set.status, { "content-type": "application/json" });
      response.end(JSON.stringify({ keys: set.keys }));
    });
  });
  after(() => {
    server?.close();
    return it?.stop();
  });
  const jwk = (alg, kid) => ({ ...KINDS[alg].pair.publicKey.export({ format: "jwk" }), kid, alg, use: "sig" });
  const come = (token, options) => it.client(undefined, { at: 0, auth: { token }, ...options });

  // One after the other: the set changes on the way.
  test("a server that can't be asked is no reason to call a token wrong; once it answers, tokens let in", TEST, async () => {
    set.status = 503;
    it = await sharedCluster({ nodes: 1, auth: "jwt", flags: ["--jwks-url", `${address(server)}/jwks.json`] });
    const token = signed("RS256", { sub: "ada" }, "one");
    const refused = await come(token).refused();
    assert.deepEqual([refused.message, refused.data?.code], ["Authentication error: Try again later", "unavailable"]);
    set.status = 200;
    // Others that the set may hold, and that are of no use here, do not spoil it.
    const x25519 = { ...generateKeyPairSync("x25519").publicKey.export({ format: "jwk" }), kid: "agreement", use: "enc" };
    const oct = { kty: "oct", kid: "secret", k: Buffer.from("a secret in a public place").toString("base64url"), alg: "HS256" };
    set.keys = [x25519, oct, { kty: "future", kid: "future" }, jwk("RS256", "one"), jwk("ES256", "two"), jwk("EdDSA", "three")];
    // Not asked again at once: a pause keeps invented tokens from making us ask all the time.
    await eventually(async () => {
      const ada = come(token);
      await ada.connected().catch((error) => (ada.socket.disconnect(), Promise.reject(error)));
      assert.equal(ada.userId, "ada");
    }, 30_000);
    assert.ok(set.fetched <= 4, `asked ${set.fetched} times`);
  });

  for (const via of Object.keys(TRANSPORTS))
    test(`keys are found by their id, over ${via}; a secret in the set is none`, TEST, async () => {
      for (const [alg, kid] of [["RS256", "one"], ["ES256", "two"], ["EdDSA", "three"], ["ES256", undefined]]) {
        const ada = come(signed(alg, { sub: `ada-${alg}` }, kid), { via });
        assert.equal((await ada.connected()).userId, `ada-${alg}`);
      }
      for (const token of [
        signed("RS256", { sub: "mallory" }, "two"),
        hmac({ sub: "mallory" }, "a secret in a public place", "secret"),
        signed("PS256", { sub: "mallory" }, "one"),
      ]) {
        assert.equal((await come(token, { via }).refused()).message, INVALID);
      }
    });

  test("a new key is taken when a token names it, and tokens with invented ids don't make the server be asked each time", TEST, async () => {
    const before = set.fetched;
    for (let n = 0; n < 20; n += 1) assert.equal((await come(signed("PS256", { sub: "mallory" }, randomUUID())).refused()).message, INVALID);
    assert.ok(set.fetched - before <= 2, `asked ${set.fetched - before} times`);
    set.keys = [jwk("PS256", "four")];
    await eventually(async () => {
      const ada = come(signed("PS256", { sub: "ada" }, "four"));
      await ada.connected().catch((error) => (ada.socket.disconnect(), Promise.reject(error)));
    }, 30_000);
    assert.equal((await come(signed("RS256", { sub: "ada" }, "one")).refused()).message, INVALID, "a key that was taken out is forgotten");
  });
});

describe("with a server that is asked", { timeout: 180_000 }, () => {
  const asked = [];
  let answer;
  let server;
  let it;
  before(async () => {
    server = await serving(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const question = JSON.parse(Buffer.concat(chunks));
      asked.push({ method: request.method, ...question });
      const [status, body] = answer(question);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    });
    it = await sharedCluster({ nodes: 2, auth: "hook", flags: ["--auth-hook-url", `${address(server)}/who`] });
  });
  after(() => {
    server?.close();
    return it?.stop();
  });
  const passwords = ({ auth }) => (auth?.password === `${auth?.username}'s password` ? [200, { userId: auth.username }] : [401, {}]);
  const come = (username, password, options) => it.client(undefined, { at: 0, auth: { username, password }, ...options });

  for (const via of Object.keys(TRANSPORTS))
    test(`a name and a password are shown to it, over ${via}`, TEST, async () => {
      answer = passwords;
      const [ada, bob] = [come("ada", "ada's password", { via, at: 0 }), come("bob", "bob's password", { via, at: 1 })];
      for (const each of [ada, bob]) await each.connected();
      await ada.request("private:message", { recipientUserId: "bob", content: "hi" });
      assert.equal((await bob.next("message:new")).from, "ada");
      assert.equal((await come("ada", "bob's password", { via }).refused()).message, INVALID);
      assert.equal((await it.client(undefined, { via, at: 0 }).refused()).message, INVALID);
    });

  test("it is told what the client said, and no header but those that say who somebody is", TEST, async () => {
    answer = ({ query }) => [200, { userId: query.name }];
    asked.length = 0;
    const extraHeaders = { cookie: "a=b", authorization: "Bearer t", "x-other": "not told" };
    const ada = it.client(undefined, { at: 0, auth: { any: ["thing"] }, query: { name: "ada" }, extraHeaders });
    assert.equal((await ada.connected()).userId, "ada");
    const [{ method, auth, query, headers, address: from }] = asked;
    assert.deepEqual([method, auth, query.name, from], ["POST", { any: ["thing"] }, "ada", "127.0.0.1"]);
    assert.deepEqual([headers.cookie, headers.authorization, "x-other" in headers], ["a=b", "Bearer t", false]);
  });

  test("what it answers decides: a number for a user, an end, who may notify", TEST, async () => {
    answer = ({ auth }) => [200, { userId: 4711, expiresAt: inSeconds(auth.password === "short" ? 3 : 600), notifies: auth.password !== "short" }];
    const [short, long] = [come("x", "short"), come("x", "long", { at: 1 })];
    const { userId, expiresAt } = await short.connected();
    await long.connected();
    assert.equal(userId, "4711");
    assert.ok(Math.abs(Date.parse(expiresAt) - Date.now()) < 10_000);
    await short.refusedRequest("forbidden", "notification:send", { userId: "somebody", title: "t", message: "m" });
    await long.request("notification:send", { userId: "somebody", title: "t", message: "m" });
    await within(short.disconnected, 20_000, "the end");
    assert.equal(short.received("error").at(-1).code, "token_expired");
    assert.equal(long.socket.connected, true);
  });

  test("a newer token is shown to it too", TEST, async () => {
    answer = ({ auth }) => [200, { userId: "ada", expiresAt: inSeconds(auth.token === "newer" ? 900 : 60) }];
    const ada = come("ada", "x");
    await ada.connected();
    const { expiresAt } = await ada.request("auth:refresh", { token: "newer" });
    assert.ok(Date.parse(expiresAt) > Date.now() + 800_000);
    answer = () => [200, { userId: "somebody else" }];
    await ada.refusedRequest("forbidden", "auth:refresh", { token: "newer" });
    answer = () => [403, {}];
    await ada.refusedRequest("unauthenticated", "auth:refresh", { token: "newer" });
  });

  test("HTTP calls are let in by it", TEST, async () => {
    answer = ({ headers }) => (headers.authorization === "Bearer good" ? [200, { userId: "ada" }] : [401, {}]);
    const call = (token) => fetch(`${it.nodes[1].url}/api/conversations`, { headers: { authorization: `Bearer ${token}` } });
    assert.deepEqual([(await call("good")).status, (await call("bad")).status], [200, 401]);
  });

  test("an answer that makes no sense, an error, and none at all let nobody in, and do not call anybody wrong", TEST, async () => {
    for (const nonsense of [[200, "nonsense"], [200, {}], [500, {}], [302, {}]]) {
      answer = () => nonsense;
      const { message } = await come("ada", "x").refused();
      assert.equal(message, "Authentication error: Try again later", JSON.stringify(nonsense));
    }
    for (const nobody of [{ userId: "" }, { userId: "undefined" }, { userId: null }, { userId: ["ada"] }]) {
      answer = () => [200, nobody];
      assert.equal((await come("ada", "x").refused()).message, INVALID, JSON.stringify(nobody));
    }
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    assert.equal((await come("ada", "x").refused()).message, "Authentication error: Try again later");
  });
});

describe("with sessions of a Node.js back end", { timeout: 180_000 }, () => {
  const SECRET = "keyboard cat, and a few more";
  let it;
  let redis;
  before(async () => {
    it = await sharedCluster({ nodes: 2, auth: "session", flags: ["--session-secret", SECRET, "--namespaces", "/=native,/conversations=conversations"] });
    redis = createClient({ url: it.redis.url });
    await redis.connect();
  });
  after(async () => {
    await redis?.close();
    await it?.stop();
  });

  /** What `express-session` with `connect-redis` writes, and the cookie it hands out. */
  const begin = async (session, seconds = 600) => {
    const id = randomUUID();
    const cookie = { originalMaxAge: seconds * 1000, expires: new Date(Date.now() + seconds * 1000).toISOString(), httpOnly: true, path: "/" };
    await redis.set(`sess:${id}`, JSON.stringify({ cookie, ...session }), { EX: Math.max(seconds, 1) });
    return { id, cookie: `connect.sid=${encodeURIComponent(`s:${id}.${cookieSignature(id, SECRET)}`)}` };
  };
  const come = (cookie, options) => it.client(undefined, { at: 0, extraHeaders: cookie === undefined ? {} : { cookie }, ...options });

  for (const via of Object.keys(TRANSPORTS))
    test(`who is logged in there is in here, over ${via}`, TEST, async () => {
      const [ada, bob] = [come((await begin({ userId: "ada" })).cookie, { via }), come((await begin({ passport: { user: "bob" } })).cookie, { via, at: 1 })];
      for (const each of [ada, bob]) await each.connected();
      assert.deepEqual([ada.userId, bob.userId], ["ada", "bob"]);
      await ada.request("private:message", { recipientUserId: "bob", content: "hi" });
      assert.equal((await bob.next("message:new")).from, "ada");
      const page = come(`theme=dark; ${(await begin({ user: { id: 17 } })).cookie}`, { via, to: "/conversations" });
      await page.open();
      await page.request("joinRoom", "office");
      assert.deepEqual((await page.request("getViewers", "office")).viewers, ["17"]);
    });

  test("no cookie, one of another server, one that was changed, and one whose session is over, do not let in", TEST, async () => {
    const { id, cookie } = await begin({ userId: "ada" });
    const foreign = `connect.sid=${encodeURIComponent(`s:${id}.${cookieSignature(id, "another secret")}`)}`;
    const other = `connect.sid=${encodeURIComponent(`s:${(await begin({ userId: "bob" })).id}.${cookieSignature(id, SECRET)}`)}`;
    const nobody = (await begin({})).cookie;
    for (const [what, shown, message] of [
      ["none", undefined, "Authentication error: No token provided"],
      ["foreign", foreign, INVALID],
      ["other", other, INVALID],
      ["nobody logged in", nobody, INVALID],
      ["unsigned", `connect.sid=${id}`, INVALID],
    ]) {
      assert.equal((await come(shown).refused()).message, message, what);
    }
    await redis.del(`sess:${id}`);
    assert.equal((await come(cookie).refused()).message, "Authentication error: Token expired");
  });

  test("a connection ends with its session", TEST, async () => {
    const ada = come((await begin({ userId: "ada" }, 3)).cookie);
    const { expiresAt } = await ada.connected();
    assert.ok(Math.abs(Date.parse(expiresAt) - Date.now()) < 10_000);
    await within(ada.disconnected, 20_000, "the end");
    assert.equal(ada.received("error").at(-1).code, "token_expired");
  });

  test("HTTP calls are let in by the cookie", TEST, async () => {
    const { cookie } = await begin({ userId: "ada" });
    const call = (headers) => fetch(`${it.nodes[1].url}/api/conversations`, { headers });
    assert.deepEqual([(await call({ cookie })).status, (await call({})).status], [200, 401]);
  });
});

async function serving(handler) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function address(server) {
  return `http://127.0.0.1:${server.address().port}`;
}

function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

function signed(alg, claims, kid) {
  const { pair, hash, options } = KINDS[alg];
  const text = `${encoded({ alg, typ: "JWT", kid })}.${encoded(claims)}`;
  return `${text}.${signature(hash, Buffer.from(text), { key: pair.privateKey, ...options }).toString("base64url")}`;
}

function hmac(claims, secret, kid) {
  const text = `${encoded({ alg: "HS256", typ: "JWT", kid })}.${encoded(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

function altered(token, claims) {
  const [header, , end] = token.split(".");
  return `${header}.${encoded(claims)}.${end}`;
}

/** As the `cookie-signature` package makes it. */
function cookieSignature(id, secret) {
  return createHmac("sha256", secret).update(id).digest("base64").replace(/=+$/, "");
}

function encoded(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
