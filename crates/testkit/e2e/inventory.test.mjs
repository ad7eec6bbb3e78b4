/** Every event that the dialects' documents name is in the dialect's table, and every event in a table is handled. */
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
    heard: ["receiveMessage", "messageError", "userTyping", "userStoppedTyping"],
  },
  showcase: {
    sent: ["join", "send-message", "typing", "stop-typing", "chat-message", "subscribe", "send-notification", "join-document", "edit", "cursor-move", "save-data", "message"],
    heard: [
      ...["previous-messages", "user-joined", "new-message", "user-typing", "user-stop-typing", "user-left", "notification", "document-state", "remote-edit", "remote-cursor"],
      ...["message-success", "message-error", "validation-error", "rate-limit-exceeded", "user-count", "server-shutdown"],
    ],
  },
};

/** The rows of one side, as the declarations have them. */
function table(dialect, side) {
  const text = readFileSync(new URL(`../../protocol/typescript/${dialect}.d.ts`, import.meta.url), "utf8");
  const [, rows] = text.match(new RegExp(`interface ${side} \\{\\n([^}]*(?:\\}[^}\\n]+)*)\\n\\}`)) ?? [];
  return [...(rows ?? "").matchAll(/^ {2}"([^"]+)": \(/gm)].map(([, name]) => name);
}

describe("the inventory", { timeout: 120_000 }, () => {
  let it;
  before(async () => {
    const namespaces = Object.keys(DOCUMENTS).map((dialect) => `/${dialect}=${dialect}`);
    it = await speaking(namespaces.join(","), { flags: ["--rate-limit", "off"] });
  });
  after(() => it?.stop());

  for (const [dialect, { sent, heard }] of Object.entries(DOCUMENTS)) {
    test(`${dialect}: what its document names is in the table`, () => {
      const [client, server] = [table(dialect, "ClientToServerEvents"), table(dialect, "ServerToClientEvents")];
      assert.deepEqual(sent.filter((name) => !client.includes(name)), []);
      assert.deepEqual(heard.filter((name) => !server.includes(name)), []);
    });

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
