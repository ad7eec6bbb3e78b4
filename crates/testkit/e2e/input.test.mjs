/** Bad input gets a clear error; what can't be understood at all costs its sender the connection, and nobody else. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { TRANSPORTS } from "./client.mjs";
import { sharedCluster } from "./cluster.mjs";
import { eventually, within } from "./eventually.mjs";
import { frame, pollingSession, rawFrames, rawSession } from "./raw.mjs";

const MAX_PAYLOAD = 1_000_000;

describe("bad requests", { timeout: 60_000 }, () => {
  let it;
  let ada;
  before(async () => {
    it = await sharedCluster({ nodes: 1 });
    ada = await it.connect("ada");
    await ada.join("general");
  });
  after(() => it?.stop());

  const wrong = [
    ["invalid", "conversation:join"],
    ["invalid", "conversation:join", {}],
    ["invalid", "conversation:join", { conversationId: 7 }],
    ["invalid", "conversation:join", { conversationId: "" }],
    ["invalid", "conversation:join", null],
    ["invalid", "conversation:join", { conversationId: "general", after: "yesterday" }],
    ["invalid", "message:send", {}],
    ["invalid", "message:send", { conversationId: "general" }],
    ["invalid", "message:send", { content: "to nowhere" }],
    ["invalid", "message:send", { conversationId: "general", content: { no: "text" } }],
    ["invalid", "message:send", { conversationId: ["general"], content: "x" }],
    ["invalid", "message:send", "just a text"],
    ["invalid", "message:history", { conversationId: "general", before: "x" }],
    ["invalid", "private:message", { content: "to nobody" }],
    ["invalid", "private:message", { recipientUserId: 1, content: "x" }],
    ["invalid", "typing:start", {}],
    ["invalid", "presence:get", { userIds: "ada" }],
    ["too_large", "message:send", { conversationId: "general", content: "x".repeat(5001) }],
    ["not_found", "no:such:event", { any: "thing" }],
    ["not_found", "no:such:event"],
    ["forbidden", "conversation:join", "user:bob"],
    ["forbidden", "conversation:join", { conversationId: "user:bob" }],
    ["forbidden", "conversation:join", "user:ada"],
    ["forbidden", "conversation:join", "doc:plan"],
    ["forbidden", "conversation:join", "dm:bob:carol"],
    ["forbidden", "message:send", { conversationId: "user:bob", content: "forged" }],
    ["forbidden", "message:send", { conversationId: "dm:bob:carol", content: "forged" }],
    ["forbidden", "message:history", { conversationId: "dm:bob:carol" }],
    ["forbidden", "typing:start", { conversationId: "user:bob" }],
    ["forbidden", "typing:start", { conversationId: "dm:bob:carol" }],
  ];
  for (const [code, event, ...args] of wrong) {
    const shown = JSON.stringify(args).slice(0, 60);
    test(`${event} ${shown} is answered ${code}`, { timeout: 10_000 }, async () => {
      const { retryable } = await ada.refusedRequest(code, event, ...args);
      assert.equal(retryable, false);
      assert.equal(ada.socket.connected, true);
    });
  }

  test("nobody joins a room that is another socket's id", { timeout: 10_000 }, async () => {
    const bob = await it.connect("bob");
    await ada.refusedRequest("forbidden", "conversation:join", bob.socket.id);
  });

  test("one of the two of a direct conversation may join it", { timeout: 10_000 }, async () => {
    await ada.join("dm:ada:bob");
  });

  test("without an ack, a failure arrives as an error event", { timeout: 10_000 }, async () => {
    ada.socket.emit("message:send", { conversationId: "general" });
    const { code, message, event, retryable } = await ada.next("error", (error) => error.event === "message:send");
    assert.deepEqual([code, event, retryable, typeof message], ["invalid", "message:send", false, "string"]);
  });

  test("binary where text belongs is an error, not the end", { timeout: 10_000 }, async () => {
    await ada.refusedRequest("invalid", "message:send", { conversationId: "general", content: Buffer.from([1, 2, 3]) });
    await ada.join("general");
  });
});

describe("what can't be understood", { timeout: 90_000 }, () => {
  let it;
  let bystander;
  before(async () => {
    it = await sharedCluster({ nodes: 1 });
    bystander = await it.connect("bystander");
  });
  after(() => it?.stop());

  const untouched = async () => {
    assert.equal(bystander.socket.connected, true);
    await bystander.request("get:online:count");
  };

  const packets = {
    "an empty frame": [""],
    "an unknown engine packet": ["9"],
    "an empty packet": ["4"],
    "an unknown packet type": ["49[]"],
    "no packet at all": ["4zzz"],
    "an event that is an object": ["42{}"],
    "an event without a name": ["42[]"],
    "an event with half a payload": ['42["message:send",{'],
    "brackets without end": [`42${"[".repeat(100_000)}`],
    "objects without end": [`42["x",${'{"a":'.repeat(50_000)}`],
    "text where an attachment is due": ['451-["x",{"_placeholder":true,"num":0}]', '42["get:online:count"]'],
    "an attachment nobody announced": [Buffer.from([1, 2, 3])],
    "more attachments than anyone sends": ['4599999999999-["x"]'],
  };
  for (const [what, sent] of Object.entries(packets)) {
    test(`${what} closes that websocket and no other`, { timeout: 15_000 }, async () => {
      const { socket, closed } = await rawSession(it.nodes[0].url, "mallory");
      for (const packet of sent) socket.send(packet);
      await within(closed, 8_000, "being closed");
      await untouched();
    });
  }

  // Node.js lets these pass; here they may cost the connection as well, and nothing more than that.
  const odd = {
    "an event without a payload": "42",
    "an ack id beyond all numbers": `42${"9".repeat(40)}["get:online:count"]`,
    "an ack that nobody waits for": '4399["x"]',
    "a namespace that is not there": "40/nowhere,",
  };
  for (const [what, packet] of Object.entries(odd)) {
    test(`${what} harms nobody else`, { timeout: 15_000 }, async () => {
      const { socket, closed } = await rawSession(it.nodes[0].url, "mallory");
      socket.send(packet);
      socket.send('421["get:online:count"]');
      const answered = new Promise((resolve) => socket.on("message", (data) => data.toString().startsWith("431[") && resolve()));
      await within(Promise.race([closed, answered]), 8_000, "going on or being closed");
      socket.terminate();
      await untouched();
    });
  }

  const frames = {
    "an unmasked frame": Buffer.from([0x81, 0x02, 0x34, 0x30]),
    "a reserved bit": frame(0xc1, "40"),
    "a reserved opcode": frame(0x83, "40"),
    "a fragmented ping": frame(0x09, "x"),
    "a continuation of nothing": frame(0x80, "40"),
    "text that is not UTF-8": frame(0x81, Buffer.from([0x34, 0x32, 0xff, 0xfe])),
    "a frame of 2^63 bytes": Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
  };
  for (const [what, bytes] of Object.entries(frames)) {
    test(`${what} closes that websocket and no other`, { timeout: 15_000 }, async () => {
      const { socket, closed } = await rawFrames(it.nodes[0].url, "mallory");
      socket.write(bytes);
      await within(closed, 8_000, "being closed");
      await untouched();
    });
  }

  for (const body of ["4zzz", "42[", "9", "bAAA=", '451-["x",{"_placeholder":true,"num":0}]\x1e42["y"]']) {
    test(`${JSON.stringify(body)} posted by polling ends that session and no other`, { timeout: 20_000 }, async () => {
      const { post, poll } = await pollingSession(it.nodes[0].url, "mallory");
      const answer = await post(body);
      assert.ok(answer.status < 500, `status ${answer.status}`);
      await answer.text();
      await eventually(async () => assert.ok(await over(poll), "the session still answers"), 10_000);
      await untouched();
    });
  }

  test("a session id that nobody was given is refused", { timeout: 15_000 }, async () => {
    const { handshake, poll } = await pollingSession(it.nodes[0].url, "ada");
    const { sid } = handshake;
    const other = sid.at(-1) === "A" ? "B" : "A";
    for (const wrong of ["AAAAAAAAAAAAAAAAAAAA", sid.slice(0, -1), `${sid.slice(0, -1)}${other}`, `${sid}x`]) {
      const answer = await poll(wrong);
      assert.ok(answer.status >= 400 && answer.status < 500, `${wrong}: ${answer.status}`);
    }
  });

  test("knowing a socket's id does not open its polling session", { timeout: 15_000 }, async () => {
    const ada = await it.connect("ada", { via: "polling" });
    const { post, poll } = await pollingSession(it.nodes[0].url, "mallory");
    for (const attempt of [() => post("41", ada.socket.id), () => poll(ada.socket.id)]) {
      const { status } = await attempt();
      assert.ok(status >= 400 && status < 500, `status ${status}`);
    }
    await ada.request("get:online:count");
  });

  /** A closing session answers a last time with a close packet or a no-op, an ended one with an error. */
  async function over(poll) {
    const answer = await poll();
    const text = await answer.text();
    return answer.status >= 400 || text === "1" || text.endsWith("\x1e1");
  }
});

describe("the largest payload", { timeout: 60_000 }, () => {
  let it;
  let bystander;
  before(async () => {
    it = await sharedCluster({ nodes: 2 });
    bystander = await it.connect("bystander");
  });
  after(() => it?.stop());

  test("is announced", { timeout: 10_000 }, async () => {
    const { handshake } = await rawSession(it.nodes[0].url, "ada");
    assert.equal(handshake.maxPayload, MAX_PAYLOAD);
  });

  for (const via of Object.keys(TRANSPORTS)) {
    test(`a packet just below it is accepted over ${via}`, { timeout: 20_000 }, async () => {
      const ada = await it.connect(`below-${via}`, { via });
      await ada.refusedRequest("not_found", "no:such:event", "x".repeat(MAX_PAYLOAD - 100));
      await ada.request("get:online:count");
    });

    test(`a packet beyond it costs the connection over ${via}, and no other`, { timeout: 20_000 }, async () => {
      const ada = await it.connect(`beyond-${via}`, { via });
      ada.socket.emit("no:such:event", "x".repeat(MAX_PAYLOAD + 100));
      await within(ada.disconnected, 8_000, "being disconnected");
      assert.equal(bystander.socket.connected, true);
      await bystander.request("get:online:count");
    });
  }

  test("a polling body beyond it is answered 413", { timeout: 10_000 }, async () => {
    const { post } = await pollingSession(it.nodes[0].url, "ada");
    assert.equal((await post(`42["x","${"x".repeat(MAX_PAYLOAD)}"]`)).status, 413);
  });
});
