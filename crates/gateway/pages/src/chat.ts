import { Link, RequestFailed } from "./link";
import { parameter, type Demo, type Identity } from "./session";
import { changed, conversation, initial, presence, SUGGESTED, type ChatState, type Conversation, type Toast } from "./state";
import { Store } from "./store";
import * as timeline from "./timeline";
import { Typists, Writing } from "./typing";
import { directConversation, type Connected, type Failure, type Joined, type Page, type PresencePage, type Sent, type WireMessage } from "./wire";

const MEASURE_MS = 5_000;
const TOAST_MS = 6_000;
const PRESENCE_PAGE = 200;
const HISTORY_PAGE = 50;

type Fields = Record<string, unknown>;

/** What the page knows and does: events of the server and of the user go in, {@link ChatState} comes out. */
export class Chat {
  readonly store: Store<ChatState>;
  readonly #link: Link;
  readonly #typists = new Typists((id, userId, typing) => this.#typing(id, userId, typing));
  readonly #writing = new Writing((event, id) => this.#link.tell(event, this.#typingTarget(id)));
  #measuring: ReturnType<typeof setInterval> | undefined;
  #keys = 0;

  constructor(server: Demo, identity: Identity) {
    const active = parameter("conversation") ?? "general";
    this.store = new Store(initial(identity.userId, active, rememberedConversations(identity.userId)));
    this.#link = new Link(server, identity, {
      status: (change) => this.store.update((state) => ({ ...state, link: { ...state.link, ...change } })),
      up: () => this.#up(),
      down: () => this.#down(),
      connected: (who) => this.#connected(who),
      event: (name, payload) => this.#event(name, payload),
    });
  }

  start(): void {
    this.#link.open();
  }

  stop(): void {
    clearInterval(this.#measuring);
    this.#writing.stop();
    this.#link.close();
  }

  /** Shows a conversation, and joins it when this user is not in it yet. */
  open(id: string): void {
    this.#writing.stop();
    this.store.update((state) => changed({ ...state, active: id }, id, (known) => ({ ...known, unread: 0 })));
    const { membership } = this.#conversation(id);
    if (membership === "out" || membership === "refused") void this.#enter(id);
  }

  openDirect(userId: string): void {
    this.open(directConversation(this.#me, userId));
  }

  async leave(id: string): Promise<void> {
    try {
      await this.#link.request("conversation:leave", { conversationId: id });
    } catch (error) {
      return this.#report(`Could not leave ${id}`, error);
    }
    this.store.update((state) => {
      const conversations = new Map(state.conversations);
      if (SUGGESTED.includes(id)) conversations.set(id, conversation(id, state.me, "out"));
      else conversations.delete(id);
      const joined = [...conversations.values()].find(({ membership }) => membership === "in");
      return { ...state, conversations, active: state.active === id ? (joined?.id ?? "general") : state.active };
    });
    this.#rememberConversations();
  }

  send(id: string, content: string): void {
    this.#writing.stop();
    const message = { clientMessageId: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, content };
    void this.#deliver(id, { ...message, timestamp: new Date().toISOString(), state: "pending" });
  }

  retry(id: string, clientMessageId: string): void {
    const message = this.#conversation(id).timeline.outgoing.find((one) => one.clientMessageId === clientMessageId);
    if (message) void this.#deliver(id, { ...message, state: "pending" });
  }

  keystroke(id: string, text: string): void {
    if (text.trim()) this.#writing.keystroke(id);
    else this.#writing.stop();
  }

  async loadEarlier(id: string): Promise<void> {
    const { timeline: shown, loadingEarlier } = this.#conversation(id);
    const before = shown.messages[0]?.seq;
    const nothing = shown.complete || before === undefined || before <= 1;
    if (nothing || loadingEarlier || this.store.value.link.state !== "connected") return;
    this.#change(id, (known) => ({ ...known, loadingEarlier: true }));
    try {
      const page = await this.#link.request<Page>("message:history", { conversationId: id, before, limit: HISTORY_PAGE });
      this.#merge(id, page.messages);
      if (page.messages.length === 0) this.#change(id, (known) => ({ ...known, timeline: { ...known.timeline, complete: true } }));
    } catch (error) {
      this.#report("Could not load earlier messages", error);
    } finally {
      this.#change(id, (known) => ({ ...known, loadingEarlier: false }));
    }
  }

  reconnect(): void {
    this.#link.open();
  }

  dismiss(key: number): void {
    this.store.update((state) => ({ ...state, toasts: state.toasts.filter((toast) => toast.key !== key) }));
  }

  get #me(): string {
    return this.store.value.me;
  }

  #conversation(id: string): Conversation {
    return this.store.value.conversations.get(id) ?? conversation(id, this.#me, "out");
  }

  #change(id: string, change: (conversation: Conversation) => Conversation): void {
    this.store.update((state) => changed(state, id, change));
  }

  #up(): void {
    clearInterval(this.#measuring);
    this.#measuring = setInterval(() => void this.#measure(), MEASURE_MS);
    const entered = [...this.store.value.conversations.values()]
      .filter(({ membership }) => membership === "joining" || membership === "in")
      .map(({ id }) => this.#enter(id));
    // Measured last: behind the joins it would show their time too.
    void Promise.allSettled([...entered, this.#whoIsOnline()]).then(() => this.#measure());
  }

  #down(): void {
    clearInterval(this.#measuring);
    this.store.update((state) => {
      const conversations = new Map(state.conversations);
      for (const [id, known] of conversations) {
        const membership = known.membership === "in" ? "joining" : known.membership;
        conversations.set(id, { ...known, membership, typing: [] });
      }
      return { ...state, conversations };
    });
  }

  /** The token may name another user than the one this page expected. */
  #connected({ userId }: Connected): void {
    if (userId === this.#me) return;
    this.store.update((state) => presence({ ...state, me: userId }, [[userId, true]]));
  }

  /** Joins, or comes back to, a conversation: what was missed first, then what could not be sent. */
  async #enter(id: string): Promise<void> {
    this.#change(id, (known) => ({ ...known, membership: "joining", problem: undefined }));
    const after = timeline.cursor(this.#conversation(id).timeline);
    try {
      const joined = await this.#link.request<Joined>("conversation:join", { conversationId: id, ...(after ? { after } : {}) });
      if (after && joined.epoch !== undefined && joined.epoch !== after.epoch) this.#startOver(id);
      this.#merge(id, joined.messages ?? []);
      if (after) await this.#catchUp(id, joined);
      const members = (joined.members ?? []).map((member) => (typeof member === "string" ? member : member.userId));
      this.#change(id, (known) => ({
        ...known,
        membership: "in",
        members: [...new Set([...members, this.#me])],
        timeline: timeline.caughtUp(known.timeline, joined.epoch, joined.seq ?? 0),
      }));
      this.store.update((state) => presence(state, members.map((userId) => [userId, true])));
      this.#rememberConversations();
    } catch (error) {
      const lost = error instanceof RequestFailed && error.retryable;
      this.#change(id, (known) => ({ ...known, membership: lost ? "joining" : "refused", problem: messageOf(error) }));
      if (!lost || this.store.value.link.state === "connected") this.#report(`Could not join ${id}`, error);
      return;
    }
    for (const message of this.#conversation(id).timeline.outgoing) {
      if (message.state === "pending") void this.#deliver(id, message);
    }
  }

  /** A join answers one page of what was missed; the rest is read from the history. */
  async #catchUp(id: string, joined: Joined): Promise<void> {
    let page: { complete?: boolean; messages?: WireMessage[] } = joined;
    while (page.complete === false && page.messages?.length) {
      const after = page.messages.at(-1)?.seq;
      page = await this.#link.request<Page>("message:history", { conversationId: id, after, limit: 500 });
      this.#merge(id, page.messages ?? []);
    }
  }

  async #deliver(id: string, message: timeline.Outgoing): Promise<void> {
    this.#change(id, (known) => ({ ...known, timeline: timeline.queue(known.timeline, message) }));
    const { peer, membership } = this.#conversation(id);
    if (membership !== "in") return; // entering sends what waits, in order
    const { clientMessageId, content } = message;
    try {
      const sent = peer
        ? await this.#link.request<Sent>("private:message", { recipientUserId: peer, content, clientMessageId })
        : await this.#link.request<Sent>("message:send", { conversationId: id, content, clientMessageId });
      this.#change(id, (known) => ({ ...known, timeline: timeline.confirm(known.timeline, clientMessageId, id, sent, this.#me) }));
    } catch (error) {
      // Without a connection it stays pending: coming back sends it again, and its id keeps it from arriving twice.
      if (this.store.value.link.state !== "connected") return;
      this.#change(id, (known) => ({ ...known, timeline: timeline.fail(known.timeline, clientMessageId, messageOf(error)) }));
      this.#report("Message not sent", error);
    }
  }

  #event(name: string, payload: unknown): void {
    const fields = (typeof payload === "object" && payload !== null ? payload : {}) as Fields;
    const text = (field: string): string => (typeof fields[field] === "string" ? fields[field] : "");
    const userId = text("userId");
    const id = text("conversationId") || (userId && directConversation(this.#me, userId));
    switch (name) {
      case "message:new":
        return this.#received(fields as unknown as WireMessage);
      case "typing:start":
        return userId === this.#me ? undefined : this.#typists.start(id, userId);
      case "typing:stop":
        return this.#typists.stop(id, userId);
      case "user:online":
      case "user:joined":
        return this.#presence(userId, true);
      case "user:offline":
        return this.#presence(userId, false);
      case "member:joined":
        return this.#member(id, userId, true);
      case "member:left":
        return this.#member(id, userId, false);
      case "conversation:reset":
        this.#startOver(id);
        return void this.#enter(id);
      case "error":
        return this.#toast("problem", (fields as Failure).message ?? "The server reported an error");
      case "server-shutdown":
        return this.#toast("info", text("message") || "This node is shutting down: moving to another one");
    }
  }

  #received(message: WireMessage): void {
    const id = message.conversationId;
    this.#typists.stop(id, message.senderId);
    this.#merge(id, [message]);
    this.#change(id, (known) => {
      const seen = this.store.value.active === id && document.visibilityState === "visible";
      const unread = seen || message.senderId === this.#me ? known.unread : known.unread + 1;
      const shown = known.membership === "in" ? timeline.caughtUp(known.timeline, message.epoch, message.seq) : known.timeline;
      return { ...known, unread, timeline: shown };
    });
    // A first direct message opens its conversation here, with what was said before.
    const { membership, peer } = this.#conversation(id);
    if (peer && membership === "out") void this.#enter(id);
  }

  #merge(id: string, messages: readonly WireMessage[]): void {
    this.#change(id, (known) => ({ ...known, timeline: timeline.merge(known.timeline, messages, this.#me) }));
  }

  #startOver(id: string): void {
    this.#change(id, (known) => ({ ...known, timeline: timeline.reset(known.timeline) }));
  }

  #member(id: string, userId: string, joined: boolean): void {
    if (!userId || userId === this.#me) return;
    if (joined) this.#presence(userId, true);
    this.#change(id, (known) => {
      const rest = known.members.filter((member) => member !== userId);
      const text = joined ? `${userId} joined` : `${userId} left`;
      const shown = known.peer ? known.timeline : timeline.note(known.timeline, `notice:${++this.#keys}`, text);
      return { ...known, members: joined ? [...rest, userId] : rest, timeline: shown };
    });
  }

  #presence(userId: string, online: boolean): void {
    if (!userId) return;
    const known = this.store.value.people.get(userId);
    this.store.update((state) => presence(state, [[userId, online]]));
    if (known !== online) void this.#measure();
  }

  /** The online count, and with it how long a question to the server takes. */
  async #measure(): Promise<void> {
    const asked = performance.now();
    try {
      const { count } = await this.#link.request<{ count: number }>("get:online:count");
      const roundTripMs = performance.now() - asked;
      this.store.update((state) => ({ ...state, onlineCount: count, link: { ...state.link, roundTripMs } }));
    } catch {
      // Only a display: it is asked for again soon.
    }
  }

  async #whoIsOnline(): Promise<void> {
    try {
      const { users } = await this.#link.request<PresencePage>("presence:list", { limit: PRESENCE_PAGE });
      const listed = new Map(users.map(({ userId, online }) => [userId, online] as const));
      this.store.update((state) => {
        // Whoever went offline while this page was away is not in the list.
        const gone = [...state.people.keys()].filter((userId) => userId !== state.me && !listed.has(userId));
        return presence(state, [...gone.map((userId) => [userId, false] as const), ...listed]);
      });
    } catch {
      // A server without the list: the events tell who comes and goes.
    }
  }

  #typing(id: string, userId: string, typing: boolean): void {
    if (!this.store.value.conversations.has(id)) return;
    this.#change(id, (known) => {
      const rest = known.typing.filter((typist) => typist !== userId);
      return { ...known, typing: typing ? [...rest, userId] : rest };
    });
  }

  #typingTarget(id: string): Fields {
    const { peer } = this.#conversation(id);
    return peer ? { recipientUserId: peer } : { conversationId: id };
  }

  #report(what: string, error: unknown): void {
    this.#toast("problem", `${what}: ${messageOf(error)}`);
  }

  #toast(tone: Toast["tone"], text: string): void {
    const key = ++this.#keys;
    this.store.update((state) => ({ ...state, toasts: [...state.toasts.filter((toast) => toast.text !== text), { key, tone, text }].slice(-4) }));
    setTimeout(() => this.dismiss(key), TOAST_MS);
  }

  #rememberConversations(): void {
    const joined = [...this.store.value.conversations.values()].filter(({ membership }) => membership === "in" || membership === "joining");
    localStorage.setItem(conversationsKey(this.#me), JSON.stringify(joined.map(({ id }) => id)));
  }
}

function conversationsKey(userId: string): string {
  return `trunkline.conversations.${userId}`;
}

function rememberedConversations(userId: string): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(conversationsKey(userId)) ?? "[]");
    return Array.isArray(stored) ? stored.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
