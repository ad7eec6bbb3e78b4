/** Conversations over a Socket.IO connection that may break: no gaps, no repeats, nothing lost. */

const PAGE = 200;
const RETRY_MS = 300;

export class Refused extends Error {
  constructor({ error, message }) {
    super(message);
    this.name = "Refused";
    this.code = error;
  }
}

export class Conversations {
  cursors;
  #socket;
  #options;
  #followed = new Map(); // conversation → true once joined on this connection
  #working = new Map(); // conversation → the tail of what is done with it, one thing after the other
  #unsent = new Map(); // clientMessageId → what still has to be stored
  #listeners;
  #userId;

  constructor(socket, options) {
    this.#socket = socket;
    this.#options = { timeout: 8000, ...options };
    this.cursors = structuredClone(options.cursors ?? {});
    this.#listeners = {
      connect: () => this.#connected(),
      connected: ({ userId }) => (this.#userId = userId),
      disconnect: () => this.#followed.forEach((_, conversation) => this.#followed.set(conversation, false)),
      "message:new": (message) => this.#arrived(message.conversationId, message, () => this.#options.message(message)),
      "message:edited": (edit) => this.#arrived(edit.conversationId, edit, () => this.#options.changed?.({ kind: "edited", ...edit })),
      "message:deleted": (gone) => this.#arrived(gone.conversationId, gone, () => this.#options.changed?.({ kind: "deleted", ...gone })),
    };
    for (const [event, listener] of Object.entries(this.#listeners)) socket.on(event, listener);
  }

  join(conversationId) {
    if (!this.#followed.has(conversationId)) this.#followed.set(conversationId, false);
    return this.#next(conversationId, () => this.#enter(conversationId));
  }

  async leave(conversationId) {
    this.#followed.delete(conversationId);
    if (this.#socket.connected) await this.#ask("conversation:leave", { conversationId }).catch(() => undefined);
  }

  send(message) {
    const clientMessageId = message.clientMessageId ?? globalThis.crypto.randomUUID();
    const kept = { message: { ...message, clientMessageId }, sending: false };
    const stored = new Promise((resolve, reject) => Object.assign(kept, { resolve, reject }));
    this.#unsent.set(clientMessageId, kept);
    this.#deliver();
    return stored;
  }

  close() {
    for (const [event, listener] of Object.entries(this.#listeners)) this.#socket.off(event, listener);
    for (const { reject } of this.#unsent.values()) reject(new Error("closed before the message was stored"));
    this.#unsent.clear();
    this.#followed.clear();
  }

  #connected() {
    for (const conversationId of this.#followed.keys()) this.join(conversationId).catch(() => undefined);
    this.#deliver();
  }

  /** One by one in the order of sending; the first that can't be stored now holds up the others, or their order would be lost. */
  async #deliver() {
    const [[clientMessageId, kept] = []] = this.#unsent;
    if (kept === undefined || kept.sending || !this.#socket.connected) return;
    kept.sending = true;
    const event = "recipientUserId" in kept.message ? "private:message" : "message:send";
    try {
      const sent = await this.#ask(event, kept.message);
      this.#unsent.delete(clientMessageId);
      kept.resolve(sent);
      if (this.#followed.has(kept.message.conversationId)) this.#own(kept.message, sent);
    } catch (error) {
      if (error instanceof Refused) {
        this.#unsent.delete(clientMessageId);
        kept.reject(error);
      } else {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    kept.sending = false;
    this.#deliver();
  }

  /** The server does not tell a socket what it sent itself. */
  #own(message, { messageId: id, seq, epoch, timestamp }) {
    const own = { type: "text", ...message, senderId: this.#userId, id, seq, epoch, timestamp };
    this.#arrived(message.conversationId, own, this.#userId && (() => this.#options.message(own)));
  }

  /** Something of a conversation's log came in: handed on if it is the next, dropped if it was there, else what lies between is read. */
  #arrived(conversationId, { seq, epoch }, handle) {
    this.#next(conversationId, async () => {
      const cursor = this.cursors[conversationId];
      if (handle && cursor === undefined) return this.#move(conversationId, { seq, epoch }, handle);
      if (cursor?.epoch === epoch && seq <= cursor.seq) return;
      if (handle && cursor?.epoch === epoch && seq === cursor.seq + 1) return this.#move(conversationId, { seq, epoch }, handle);
      await this.#fill(conversationId);
    }).catch(() => undefined); // after the next reconnection, or the next message, it is read again
  }

  async #enter(conversationId) {
    if (!this.#socket.connected) return; // joined with the connection
    const after = this.cursors[conversationId];
    const page = await this.#ask("conversation:join", { conversationId, ...(after && { after, limit: PAGE }) });
    this.#followed.set(conversationId, true);
    this.#take(conversationId, page);
    if (!page.complete && after?.epoch === page.epoch) await this.#fill(conversationId);
  }

  /** Reads what lies between the cursor and the end of the log. */
  async #fill(conversationId) {
    for (;;) {
      const cursor = this.cursors[conversationId];
      const page = await this.#ask("message:history", { conversationId, ...(cursor && { after: cursor.seq }), limit: PAGE });
      this.#take(conversationId, page);
      const moved = this.cursors[conversationId];
      if (page.complete || moved.seq >= page.seq || moved.seq === cursor?.seq) return;
    }
  }

  #take(conversationId, { messages, changes = [], epoch, seq, complete }) {
    const cursor = this.cursors[conversationId];
    const entries = [...messages, ...changes].sort((a, b) => a.seq - b.seq);
    const begins = entries[0]?.seq ?? seq + 1;
    const lost = cursor && cursor.seq > 0 && (cursor.epoch !== epoch || (!complete && begins > cursor.seq + 1));
    if (lost) {
      this.cursors[conversationId] = { epoch, seq: begins - 1 };
      this.#options.reset?.({ conversationId, epoch, seq });
    }
    const known = this.cursors[conversationId]?.seq ?? 0;
    for (const entry of entries) {
      const handle = entry.kind === undefined ? () => this.#options.message(entry) : () => this.#options.changed?.(entry);
      if (entry.seq > known) this.#move(conversationId, { seq: entry.seq, epoch }, handle);
    }
    const end = complete || !cursor ? seq : (entries.at(-1)?.seq ?? known);
    if (end > (this.cursors[conversationId]?.seq ?? -1)) this.#move(conversationId, { seq: end, epoch }, () => undefined);
  }

  #move(conversationId, position, handle) {
    this.cursors[conversationId] = position;
    handle();
    this.#options.moved?.(conversationId);
  }

  #next(conversationId, work) {
    const before = this.#working.get(conversationId) ?? Promise.resolve();
    const done = before.catch(() => undefined).then(work);
    this.#working.set(conversationId, done);
    done.catch(() => undefined).finally(() => this.#working.get(conversationId) === done && this.#working.delete(conversationId));
    return done;
  }

  /** The answer, if it is a success. Fails with `Refused` when asking again won't help. */
  #ask(event, payload) {
    return new Promise((resolve, reject) => {
      this.#socket.timeout(this.#options.timeout).emit(event, payload, (late, answer) => {
        if (late) reject(late);
        else if (answer.success) resolve(answer);
        else reject(answer.retryable ? new Error(answer.message) : new Refused(answer));
      });
    });
  }
}
