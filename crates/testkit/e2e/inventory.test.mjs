/** Every row of INVENTORY.md has a check, every event of every dialect a row, and whatever the declarations name is handled. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { speaking } from "./speaking.mjs";

/** What the documents' clients send and listen to, framework events left out. */
const DOCUMENTS = {
  native: {
    sent: ["conversation:join", "conversation:leave", "message:send", "private:message", "typing:start", "typing:stop", "message:read", "get:online:count"],
    heard: ["connected", "message:new", "typing:start", "typing:stop", "message:read", "user:online", "user:offline", "user:joined"],
  },
  "online-users": {
    sent: ["typing", "joinRoom", "leaveRoom", "sendMessageToRoom", "sendMessage", "requestMissedMessages", "pong"],
    heard: ["getOnlineUsers", "newMessage", "userTyping", "userJoinedRoom", "userJoined", "userLeftRoom", "newRoomMessage", "notification", "missedMessages", "ping", "error"],
  },
  rooms: {
    sent: ["message", "broadcast", "announce", "chat", "join_room", "leave_room", "room_message", "room_announce"],
    heard: ["response", "success", "message", "announcement", "chat_response", "user_joined", "user_left", "error"],
  },
  conversations: {
    sent: ["joinRoom", "leaveRoom", "sendMessage", "typing", "stopTyping"],
    heard: ["receiveMessage", "messageError", "userTyping", "userStoppedTyping", "messagesBatch"],
  },
  showcase: {
    sent: ["join", "send-message", "typing", "stop-typing", "chat-message", "subscribe", "send-notification", "join-document", "edit", "cursor-move", "save-data", "message"],
    heard: [
      ...["welcome", "previous-messages", "user-joined", "new-message", "user-typing", "user-stop-typing", "user-left", "notification", "document-state", "remote-edit"],
      ...["remote-cursor", "message-success", "message-error", "validation-error", "rate-limit-exceeded", "user-count", "server-shutdown"],
    ],
  },
};

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");

/** The events of one side, as the declarations have them. */
function table(dialect, side) {
  const text = read(`../../protocol/typescript/${dialect}.d.ts`);
  const [, rows] = text.match(new RegExp(`interface ${side} \\{\\n([^}]*(?:\\}[^}\\n]+)*)\\n\\}`)) ?? [];
  return [...(rows ?? "").matchAll(/^ {2}"([^"]+)": \(/gm)].map(([, name]) => name);
}

/** The sections of the page, each with its rows as lists of cells. */
function inventory() {
  return read("INVENTORY.md").split(/^## /m).slice(1).map((section) => {
    const [title, ...lines] = section.split("\n");
    const rows = lines.filter((line) => line.startsWith("|")).slice(2).map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
    return { title, rows };
  });
}

/** The source of a test, and whether it runs once for each way of connecting; helpers that its file imports count as its own. */
function find(file, name) {
  const lines = read(file).split("\n");
  const quoted = [`"${name}"`, `\`${name}\``, `\`over \${via}, ${name}\``];
  const at = lines.findIndex((line) => /^\s*test\($/.test(line) || quoted.some((text) => line.trimStart().startsWith(`test(${text}`)));
  if (at < 0) return undefined;
  const indent = lines[at].match(/^\s*/)[0];
  const end = lines.findIndex((line, index) => index >= at && (line === `${indent}});` || (index === at && line.endsWith(");"))));
  const body = lines.slice(at, end + 1).join("\n");
  const loop = lines.findLastIndex((line, index) => index < at && line.includes("for (const via of WAYS)") && line.match(/^\s*/)[0].length < indent.length);
  const closed = loop >= 0 && lines.slice(loop + 1, at).some((line) => line === `${lines[loop].match(/^\s*/)[0]}});`);
  const helpers = [...read("speaking.mjs").matchAll(/^export async function (\w+)[\s\S]*?^\}/gm)].filter(([, helper]) => body.includes(`${helper}(`));
  const whole = [body, ...helpers.map(([text]) => text)].join("\n");
  return { body: whole, both: (loop >= 0 && !closed) || whole.includes("WAYS") };
}

describe("the inventory", { timeout: 120_000 }, () => {
  let it;
  before(async () => {
    const namespaces = Object.keys(DOCUMENTS).map((dialect) => `/${dialect}=${dialect}`);
    it = await speaking(namespaces.join(","), { flags: ["--rate-limit", "off"] });
  });
  after(() => it?.stop());

  for (const { title, rows } of inventory()) {
    const [, dialect, file] = title.match(/^(\S+) \(`([^`]+)`\)$/) ?? [];
    if (!dialect) {
      test(`${title}: each row has its check`, () => {
        for (const [what, check] of rows) {
          const [, in_file, name] = check.match(/^`([^`]+)`: (.+)$/) ?? assert.fail(`${what}: expected a file and a test`);
          assert.ok(find(in_file, name), `${what}: there is no test "${name}" in ${in_file}`);
        }
      });
      continue;
    }
    const names = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    test(`${dialect}: each row has its check, over WebSocket and polling`, () => {
      for (const [sent, heard, name] of rows) {
        const check = find(file, name);
        assert.ok(check, `there is no test "${name}" in ${file}`);
        assert.ok(check.both, `"${name}" runs over one transport alone`);
        const missing = names(sent + heard).filter((event) => !check.body.includes(`"${event}"`) && !check.body.includes(`, ${event})`));
        const shown = missing.filter((event) => !indirectly(check.body, read(file), event));
        assert.deepEqual(shown, [], `"${name}" has nothing to do with them`);
      }
    });

    for (const [side, column] of [["ClientToServerEvents", 0], ["ServerToClientEvents", 1]]) {
      test(`${dialect}: every event of its ${side} has a row, and every row's event is one of them`, () => {
        const listed = new Set(rows.flatMap((row) => names(row[column])));
        assert.deepEqual([...listed].sort(), table(dialect, side).sort());
        const document = DOCUMENTS[dialect][column === 0 ? "sent" : "heard"];
        assert.deepEqual(document.filter((event) => !listed.has(event)), []);
      });
    }
  }

  test("every dialect has a section", () => {
    const sections = inventory().map(({ title }) => title.split(" ")[0]);
    assert.deepEqual(Object.keys(DOCUMENTS).filter((dialect) => !sections.includes(dialect)), []);
  });

  for (const dialect of Object.keys(DOCUMENTS)) {
    test(`${dialect}: whatever is in the table is handled, and nothing else`, { timeout: 60_000 }, async () => {
      const client = await it.open(`inventory-${dialect}`, { to: `/${dialect}` });
      const unknown = (answer) => /there is no event/.test(`${answer?.message} ${answer?.error}`);
      for (const name of table(dialect, "ClientToServerEvents")) {
        const answer = await client.ask(name);
        assert.ok(answer !== undefined && !unknown(answer), `${name}: ${JSON.stringify(answer)}`);
      }
      assert.ok(unknown(await client.ask("no-such:event_at.all")));
    });
  }
});

/**
 * A test may look at what its page shows instead of listening itself: then the page of its file listens. Joining is what
 * `join()` and `activate()` do.
 */
function indirectly(body, file, event) {
  const page = file.match(/^function (?:page|chat)\([\s\S]*?^\}/m)?.[0] ?? "";
  if (page.includes(`"${event}"`) && /\.(shown|view|seen)\b|\.activate\(/.test(body)) return true;
  return event === "conversation:join" && /\.join\(|pair\(/.test(body);
}
