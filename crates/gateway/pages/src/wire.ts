/** The part of the `native` vocabulary that this page speaks. Fields that a server may leave out are optional. */

export type Epoch = string | number;

export interface Cursor {
  epoch: Epoch;
  seq: number;
}

export interface WireMessage {
  id: string;
  conversationId: string;
  senderId: string;
  content: string;
  clientMessageId?: string | null;
  /** The sender, on direct messages. */
  from?: string | null;
  recipientUserId?: string | null;
  seq: number;
  epoch?: Epoch;
  timestamp: string;
}

export interface Joined extends Partial<Cursor> {
  messages?: WireMessage[];
  /** False when there are more messages after the last one of this answer. */
  complete?: boolean;
  members?: (string | { userId: string })[];
}

export interface Page extends Partial<Cursor> {
  messages: WireMessage[];
  complete?: boolean;
}

export interface Sent {
  messageId: string;
  seq: number;
  epoch?: Epoch;
  timestamp: string;
}

export interface Presence {
  userId: string;
  online: boolean;
  lastSeen?: string | null;
}

export interface PresencePage {
  users: Presence[];
  count?: number;
  cursor?: string | null;
}

export interface Connected {
  userId: string;
  socketId: string;
  nodeId: string;
}

export interface Failure {
  /** `error` in an ack, `code` in an `error` event. */
  error?: string;
  code?: string;
  message?: string;
  event?: string;
  retryable?: boolean;
}

/** The conversation of two users, whichever of them asks. */
export function directConversation(a: string, b: string): string {
  return a < b ? `dm:${a}:${b}` : `dm:${b}:${a}`;
}

/** The other side of a direct conversation, undefined when it is not one of `me`. Ids may contain colons. */
export function directPeer(conversationId: string, me: string): string | undefined {
  if (!conversationId.startsWith("dm:")) return undefined;
  const pair = conversationId.slice(3);
  if (pair.startsWith(`${me}:`)) return pair.slice(me.length + 1);
  if (pair.endsWith(`:${me}`)) return pair.slice(0, -me.length - 1);
  return undefined;
}
