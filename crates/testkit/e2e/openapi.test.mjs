/** The description at `/api/openapi.json`: it names every call of the HTTP interface, and what is answered is what it says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { Ajv2020 } from "ajv/dist/2020.js";

import { sharedCluster } from "./cluster.mjs";

const KEY = "a-key-that-only-tests-know";
const TEST = { timeout: 60_000 };
const USER = { "x-user-id": "oa-ada" };
const BACK_END = { authorization: `Bearer ${KEY}` };

/** For each call one that succeeds, and those that fail in the ways described. */
const CALLS = {
  "POST /api/messages": [
    [201, { headers: USER, body: { receiverId: "oa-bob", text: "hello" } }],
    [201, { headers: USER, body: { conversationId: "oa", content: "hi", type: "image", fileUrl: "u", fileName: "f", replyTo: "r", clientMessageId: "c" } }],
    [400, { headers: USER, body: { text: "to nobody" } }],
    [401, { body: { receiverId: "oa-bob", text: "hello" } }],
    [403, { headers: USER, body: { conversationId: "user:oa-bob", content: "forged" } }],
    [413, { headers: USER, body: { receiverId: "oa-bob", text: "x".repeat(5001) } }],
  ],
  "GET /api/conversations": [
    [200, { headers: USER, query: "limit=1" }],
    [200, { headers: { "x-user-id": "oa-nobody" } }],
    [400, { headers: USER, query: "limit=many" }],
    [401, {}],
  ],
  "GET /api/conversations/{id}/messages": [
    [200, { headers: USER, at: { id: "oa" } }],
    [200, { headers: USER, at: { id: "oa-changed" } }],
    [200, { headers: USER, at: { id: "oa-nothing" }, query: "after=0&limit=5" }],
    [400, { headers: USER, at: { id: "oa" }, query: "before=x" }],
    [401, { at: { id: "oa" } }],
    [403, { headers: USER, at: { id: "dm:oa-bob:oa-eve" } }],
  ],
  "GET /api/messages/missed": [
    [200, { headers: { "x-user-id": "oa-away" }, query: "limit=10" }],
    [200, { headers: USER }],
    [400, { headers: USER, query: "limit=many" }],
    [401, {}],
  ],
  "GET /api/users": [[200, { headers: USER, query: "limit=1" }], [200, { headers: USER }], [400, { headers: USER, query: "cursor=not%20ours" }], [401, {}]],
  "GET /api/users/{id}": [[200, { headers: USER, at: { id: "oa-bob" } }], [200, { headers: USER, at: { id: "oa-never" } }], [401, { at: { id: "oa-bob" } }]],
  "POST /api/v1/emit": [
    [200, { headers: BACK_END, body: { event: "x", args: [1, "two", { three: [null] }], rooms: ["oa"], users: ["oa-bob"], except: ["oa-x"], volatile: true } }],
    [200, { headers: BACK_END, body: { event: "x" } }],
    [400, { headers: BACK_END, body: {} }],
    [401, { body: { event: "x" } }],
    [404, { headers: BACK_END, body: { event: "x", namespace: "/nowhere" } }],
    [413, { headers: BACK_END, body: { event: "x", rooms: Array.from({ length: 1001 }, (_, n) => `${n}`) } }],
  ],
  "POST /api/v1/messages": [
    [201, { headers: { ...BACK_END, "idempotency-key": "oa-1" }, body: { senderId: "system", recipientUserId: "oa-away", content: "hi" } }],
    [201, { headers: BACK_END, body: { senderId: "system", conversationId: "oa", content: "hi" } }],
    [400, { headers: BACK_END, body: { senderId: "undefined", conversationId: "oa", content: "x" } }],
    [401, { body: {} }],
    [403, { headers: BACK_END, body: { senderId: "system", conversationId: "doc:x", content: "x" } }],
    [409, { headers: { ...BACK_END, "idempotency-key": "oa-1" }, body: { senderId: "system", recipientUserId: "oa-away", content: "other" } }],
    [413, { headers: BACK_END, body: { senderId: "system", conversationId: "oa", content: "x".repeat(5001) } }],
  ],
  "POST /api/v1/notifications": [
    [201, { headers: BACK_END, body: { userIds: ["oa-away", "oa-bob"], title: "t", message: "m", type: "like", data: { n: [1] } } }],
    [201, { headers: BACK_END, body: { userId: "oa-away", title: "t", message: "m" } }],
    [400, { headers: BACK_END, body: { title: "t", message: "m" } }],
    [401, { body: {} }],
    [413, { headers: BACK_END, body: { userIds: Array.from({ length: 1001 }, (_, n) => `${n}`), title: "t", message: "m" } }],
  ],
  "POST /api/v1/nodes/{id}/drain": [
    [401, { at: { id: "node-2" } }],
    [404, { headers: BACK_END, at: { id: "no-such-node" } }],
    [202, { headers: BACK_END, at: { id: "node-2" } }],
  ],
  "GET /health/live": [[200, {}]],
  "GET /health/ready": [[200, {}]],
  "GET /api/socket/health": [[200, {}]],
  "GET /api/demo": [[200, {}]],
  "POST /api/demo/token": [[404, { body: { userId: "ada" } }]],
};

describe("the description of the HTTP interface", { timeout: 180_000 }, () => {
  let it;
  let api;
  before(async () => {
    it = await sharedCluster({ nodes: 2, flags: ["--api-key", KEY] });
    api = await (await fetch(`${it.nodes[0].url}/api/openapi.json`)).json();
    await it.connect("oa-bob", { at: 1 });
    const ada = await it.connect("oa-ada", { at: 0 });
    const { messageId } = await ada.request("message:send", { conversationId: "oa-changed", content: "first" });
    await ada.request("message:edit", { conversationId: "oa-changed", messageId, content: "second" });
    const gone = await ada.request("message:send", { conversationId: "oa-changed", content: "third" });
    await ada.request("message:delete", { conversationId: "oa-changed", messageId: gone.messageId });
  });
  after(() => it?.stop());

  const operations = () => Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation]));

  test("has every call that the reference tells of, and each is tried here", TEST, () => {
    assert.match(api.openapi, /^3\.1/);
    const described = operations().map(([name]) => name).sort();
    assert.deepEqual(described, Object.keys(CALLS).sort());
    const reference = readFileSync(new URL("../../../docs/reference.md", import.meta.url), "utf8");
    const calls = [...reference.matchAll(/`(GET|POST) (\/[^`? ]+)/g)].map(([, method, path]) => `${method} ${path}`);
    assert.ok(calls.length > 8, "the reference has a table of calls");
    assert.deepEqual(calls.filter((call) => !described.includes(call)), []);
    const open = Object.entries(api.paths).filter(([, item]) => Object.values(item).some(({ tags }) => tags.includes("open"))).map(([path]) => path);
    assert.deepEqual(described.filter((call) => !calls.includes(call) && !open.includes(call.split(" ")[1])), [], "the reference leaves out calls");
  });

  test("says of each call what it does, who may, and how it fails", TEST, () => {
    for (const [name, { summary, tags, security, responses }] of operations()) {
      assert.ok(summary?.length > 0, name);
      const open = tags.includes("open");
      assert.equal(Boolean(security?.length), !open, name);
      if (!open) for (const status of ["400", "401", "503"]) assert.ok(responses[status], `${name}: ${status}`);
      for (const [status, { description }] of Object.entries(responses)) assert.ok(description.length > 0, `${name}: ${status}`);
    }
  });

  for (const [name, tries] of Object.entries(CALLS)) {
    test(`${name} answers as described`, TEST, async () => {
      const [, operation] = operations().find(([described]) => described === name);
      const [method, path] = name.split(" ");
      for (const [expected, { headers = {}, body, at = {}, query }] of tries) {
        const filled = path.replace(/\{(\w+)\}/g, (_, parameter) => encodeURIComponent(at[parameter]));
        const response = await fetch(`${it.nodes[0].url}${filled}${query ? `?${query}` : ""}`, {
          method,
          headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
          body: body === undefined ? undefined : JSON.stringify(body),
        });
        const text = await response.text();
        assert.equal(response.status, expected, text);
        const described = operation.responses[expected];
        assert.ok(described, `${expected} is not described`);
        const [[type, { schema }]] = Object.entries(described.content);
        assert.ok(response.headers.get("content-type").startsWith(type));
        if (type === "application/json") fits(api, { ...resolved(api, schema), unevaluatedProperties: false }, JSON.parse(text));
        if (expected < 300 && body) fits(api, operation.requestBody.content["application/json"].schema, body);
      }
    });
  }
});

/** Its own copy of what a reference at the top points at: further keywords beside `$ref` are fine, but not inside it. */
function resolved(api, schema) {
  return schema.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

function fits(api, schema, value) {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  const validate = ajv.compile({ ...schema, components: api.components });
  assert.ok(validate(value), `${ajv.errorsText(validate.errors)} in ${JSON.stringify(value)}`);
}
