import type { Socket } from "socket.io-client";

import type { Change, ClientToServerEvents, Code, Message, Position, Send, SendPrivate, Sent, ServerToClientEvents } from "./native.js";

/** A socket that speaks the `native` dialect. */
export type NativeSocket = Socket<ServerToClientEvents, ClientToServerEvents>;

/** Where each conversation was left: plain JSON, to be kept and given back. */
export type Cursors = Record<string, Position>;

export interface ConversationsOptions {
  /** A message, once and in the order of its conversation; one's own too, when it is stored. */
  message(message: Message): void;
  /** A message was changed or taken back. */
  changed?(change: Change): void;
  /** Messages are missing for good, because the server no longer has them: what follows is the latest page. */
  reset?(reset: { conversationId: string } & Position): void;
  /** A cursor moved: keep `conversations.cursors`, if the page is to go on from there. */
  moved?(conversationId: string): void;
  /** Where to go on from. */
  cursors?: Cursors;
  /** How long an answer is waited for before a message is sent again, in milliseconds; 8000. */
  timeout?: number;
}

/** Why a message was refused for good. */
export class Refused extends Error {
  readonly code: Code;
}

/** Follows conversations over a socket that may come and go. */
export class Conversations {
  constructor(socket: NativeSocket, options: ConversationsOptions);
  /** Where each conversation is. */
  readonly cursors: Cursors;
  /**
   * Follows a conversation from its cursor on, now and after each reconnection; without one, from its
   * latest messages on. Resolves when it has caught up; at once while there is no connection.
   */
  join(conversationId: string): Promise<void>;
  /** No longer follows it. */
  leave(conversationId: string): Promise<void>;
  /** Sends until the server has stored it, however often the connection breaks. Rejects with {@link Refused}. */
  send(message: Send | SendPrivate): Promise<Sent>;
  /** Lets go of the socket. What was not acknowledged yet is rejected. */
  close(): void;
}
