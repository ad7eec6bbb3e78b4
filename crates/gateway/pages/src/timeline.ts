/**
 * What one conversation shows. The log's order (`seq`) decides where a message stands; what was sent from here and
 * is not acknowledged yet stands below it. All functions return a new timeline.
 */
import type { Cursor, Epoch, Sent, WireMessage } from "./wire";

export interface Message {
  key: string;
  senderId: string;
  content: string;
  timestamp: string;
  seq: number;
}

export interface Outgoing {
  clientMessageId: string;
  content: string;
  timestamp: string;
  state: "pending" | "failed";
  problem?: string;
}

export interface Notice {
  key: string;
  text: string;
  /** It stands below this message. */
  afterSeq: number;
}

export interface Timeline {
  epoch?: Epoch | undefined;
  /** Everything up to here has been received; where to resume after a lost connection. */
  seq: number;
  /** Ascending, no two with one `seq`. */
  messages: Message[];
  outgoing: Outgoing[];
  notices: Notice[];
  /** Nothing earlier is left to load. */
  complete: boolean;
}

export const EMPTY: Timeline = { seq: 0, messages: [], outgoing: [], notices: [], complete: false };

export type Row =
  | { kind: "day"; key: string; timestamp: string }
  | { kind: "notice"; key: string; text: string }
  | { kind: "message"; key: string; message: Message; first: boolean }
  | { kind: "outgoing"; key: string; message: Outgoing; first: boolean };

export function cursor(timeline: Timeline): Cursor | undefined {
  return timeline.epoch === undefined ? undefined : { epoch: timeline.epoch, seq: timeline.seq };
}

/** Adds messages of the log in any order, each once; those that were waiting for their ack here stop waiting. */
export function merge(timeline: Timeline, incoming: readonly WireMessage[], me: string): Timeline {
  if (incoming.length === 0) return timeline;
  const bySeq = new Map(timeline.messages.map((message) => [message.seq, message]));
  const settled = new Set<string>();
  for (const { id, clientMessageId, senderId, content, timestamp, seq } of incoming) {
    if (senderId === me && clientMessageId) settled.add(clientMessageId);
    const key = bySeq.get(seq)?.key ?? (clientMessageId || id);
    bySeq.set(seq, { key, senderId, content: String(content), timestamp, seq });
  }
  return {
    ...timeline,
    messages: [...bySeq.values()].sort((a, b) => a.seq - b.seq),
    outgoing: timeline.outgoing.filter((message) => !settled.has(message.clientMessageId)),
  };
}

/** Everything up to `seq` is here now. */
export function caughtUp(timeline: Timeline, epoch: Epoch | undefined, seq: number): Timeline {
  return { ...timeline, epoch: epoch ?? timeline.epoch, seq: Math.max(timeline.seq, seq) };
}

/** An empty log, keeping what was not sent yet. */
export function reset(timeline: Timeline): Timeline {
  return { ...EMPTY, outgoing: timeline.outgoing };
}

export function queue(timeline: Timeline, message: Outgoing): Timeline {
  const others = timeline.outgoing.filter(({ clientMessageId }) => clientMessageId !== message.clientMessageId);
  return { ...timeline, outgoing: [...others, message] };
}

export function fail(timeline: Timeline, clientMessageId: string, problem: string): Timeline {
  const outgoing = timeline.outgoing.map((message): Outgoing =>
    message.clientMessageId === clientMessageId ? { ...message, state: "failed", problem } : message,
  );
  return { ...timeline, outgoing };
}

/** The ack of a message: it takes its place in the log, unless it arrived by another way already. */
export function confirm(timeline: Timeline, clientMessageId: string, conversationId: string, sent: Sent, me: string): Timeline {
  const waiting = timeline.outgoing.find((message) => message.clientMessageId === clientMessageId);
  if (!waiting) return timeline;
  const { messageId: id, seq, timestamp } = sent;
  return merge(timeline, [{ id, conversationId, senderId: me, content: waiting.content, clientMessageId, seq, timestamp }], me);
}

export function note(timeline: Timeline, key: string, text: string): Timeline {
  const afterSeq = timeline.messages.at(-1)?.seq ?? 0;
  return { ...timeline, notices: [...timeline.notices, { key, text, afterSeq }].slice(-MAX_NOTICES) };
}

const MAX_NOTICES = 50;
/** Messages of one sender closer together than this are shown as one group. */
const GROUP_MS = 4 * 60_000;

/** The timeline as it is drawn, from the top down. */
export function rows(timeline: Timeline, me: string): Row[] {
  const rows: Row[] = [];
  const notices = [...timeline.notices];
  let sender: string | undefined;
  let last = 0;
  let day = "";
  const startsGroup = (senderId: string, timestamp: string): boolean => {
    const at = Date.parse(timestamp);
    const today = new Date(at).toDateString();
    if (today !== day) {
      rows.push({ kind: "day", key: `day:${today}`, timestamp });
      sender = undefined;
    }
    const first = senderId !== sender || at - last > GROUP_MS;
    [sender, last, day] = [senderId, at, today];
    return first;
  };
  const flushNotices = (before: number): void => {
    while (notices[0] && notices[0].afterSeq < before) {
      const { key, text } = notices.shift() as Notice;
      rows.push({ kind: "notice", key, text });
      sender = undefined;
    }
  };
  for (const message of timeline.messages) {
    flushNotices(message.seq);
    const first = startsGroup(message.senderId, message.timestamp);
    rows.push({ kind: "message", key: message.key, message, first });
  }
  flushNotices(Infinity);
  for (const message of timeline.outgoing) {
    const first = startsGroup(me, message.timestamp);
    rows.push({ kind: "outgoing", key: message.clientMessageId, message, first });
  }
  return rows;
}
