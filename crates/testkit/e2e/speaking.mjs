/** Clients of the documents' dialects, on the nodes of a shared cluster. */
import assert from "node:assert/strict";

import { eventually, within } from "./eventually.mjs";
import { sharedCluster, token } from "./cluster.mjs";

/** The two ways of connecting that every document's client is tested with. */
export const WAYS = ["websocket", "polling"];

/** What never arrives can't be waited for: what is sent after it has arrived instead. */
export function nothing(client, event, fits = () => true) {
  assert.deepEqual(client.received(event).filter(fits), [], `${event} reached somebody it was not for`);
}

/**
 * Whether a client that is closed may not get what it was sent last: our own lane writes it, and reads on until the client has
 * hung up; the library of the other one may stop writing first, or leave bytes unread, which resets the connection.
 */
export const mayMissTheLastWord = (via) => via === "websocket" && process.env.TRUNKLINE_WEBSOCKET_LANE === "off";

/**
 * A node of a cluster in which `dialect` is spoken goes: its clients, by whichever way they came, hear so before it does, and
 * those who listen to `last` why they were closed.
 */
export async function saysGoodbye(t, dialect, last) {
  const it = await speaking(`/=${dialect}`, { nodes: 1, flags: ["--drain-window", "500ms"] });
  t.after(() => it.stop());
  const clients = await Promise.all(WAYS.map((via) => it.open(`leaving-${via}`, { via })));
  it.nodes[0].process.signal("SIGTERM");
  for (const client of clients) {
    const { message, reconnectAfterMs } = await client.next("server-shutdown", undefined, 15_000);
    assert.ok(message.length > 0 && reconnectAfterMs >= 0);
    await within(client.disconnected, 15_000, "being closed");
    const lastWord = client.received(last).at(-1);
    if (lastWord === undefined && mayMissTheLastWord(client.via)) continue;
    const [why] = Object.values(lastWord ?? {});
    assert.ok(typeof why === "string" && why.length > 0, `${last} says why, over ${client.via}`);
  }
}

/**
 * A cluster of two nodes whose namespaces are bound as `namespaces` says.
 *
 * `open(user, options)` connects the stock client; `at` is the node, `to` the namespace, `via` the transport. Under
 * `insecure-query` the user goes into the query, otherwise a token into `auth`; without a user there is neither.
 */
export async function speaking(namespaces, options = {}) {
  const it = await sharedCluster({ nodes: 2, ...options, flags: ["--namespaces", namespaces, ...(options.flags ?? [])] });
  const make = async (user, { to = "/", at = 0, auth, query, ...rest } = {}) => {
    const jwt = it.auth === "jwt" && user !== undefined && auth === undefined;
    const made = it.client(undefined, {
      at,
      to,
      ...rest,
      query: query ?? (it.auth === "insecure-query" && user !== undefined ? { userId: user } : {}),
      auth: auth ?? (jwt ? { token: await token(user) } : {}),
    });
    made.userId = user;
    return made;
  };
  return Object.assign(it, {
    make,
    open: async (user, opts) => (await make(user, opts)).open(),
    /** The message of the refusal. */
    refusal: async (user, opts) => (await (await make(user, opts)).refused()).message,
    post: async (path, body, { as, at = 0, headers = {} } = {}) => {
      const who = as === undefined ? {} : it.auth === "jwt" ? { authorization: `Bearer ${await token(as)}` } : { "x-user-id": as };
      const response = await fetch(`${it.nodes[at].url}${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { "content-type": "application/json", ...who, ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      return { status: response.status, body: await response.json() };
    },
    /** Until the cluster knows that exactly these are online. */
    settled: (client, users) => eventually(() => assert.deepEqual([...(client.received("getOnlineUsers").at(-1) ?? [])].sort(), [...users].sort()), 15_000),
  });
}
