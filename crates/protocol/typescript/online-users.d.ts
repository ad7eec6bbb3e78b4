// The `online-users` dialect. Made from crates/protocol by its tests: change the types there, not here.

/** What clients send. */
export interface ClientToServerEvents {
  "typing": (payload: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "joinRoom": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "leaveRoom": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "sendMessageToRoom": (payload: RoomMessage, ack?: (answer: Ack<Sent>) => void) => void;
  "sendMessage": (payload: RoomMessage | DirectSend, ack?: (answer: Ack<Sent>) => void) => void;
  "requestMissedMessages": (ack?: (answer: Ack<Nothing>) => void) => void;
  "listOnlineUsers": (payload?: PresenceList, ack?: (answer: Ack<PresencePage>) => void) => void;
  "pong": () => void;
}

/** What clients receive. */
export interface ServerToClientEvents {
  "getOnlineUsers": (payload: Array<string>) => void;
  "onlineUsersChanged": (payload: OnlineUsersChanged) => void;
  "newMessage": (payload: DirectMessage) => void;
  "userTyping": (payload: UserTyping) => void;
  "userJoinedRoom": (payload: UserJoinedRoom) => void;
  "userJoined": (payload: UserLeftRoom) => void;
  "userLeftRoom": (payload: UserLeftRoom) => void;
  "newRoomMessage": (payload: NewRoomMessage) => void;
  "notification": (payload: Notification) => void;
  "missedMessages": (payload: Array<DirectMessage>) => void;
  "ping": () => void;
  "server-shutdown": (payload: ServerShutdown) => void;
  "error": (payload: ErrorMessage) => void;
}

/** The answer to an event. */
export type Ack<T> = (T & { success: true }) | { success: false; error: Code; message: string; retryable: boolean };

/** What went wrong, for a program to act on. */
export type Code = "invalid" | "unauthenticated" | "forbidden" | "not_found" | "too_large" | "rate_limited" | "conflict" | "unavailable" | "internal";

/**
 * `newMessage`, in `missedMessages`, and what `POST /api/messages` answers.
 *
 * `newMessage` leaves here without its ids, which the store fills in.
 */
export type DirectMessage = {
  /** Who. */
  senderId: string,
  /** To whom. */
  receiverId: string,
  /** What. */
  text: string,
  /** ISO 8601. */
  timestamp: string,
  /** The id. */
  id: string,
  /** The id. */
  _id: string,
};

/** `sendMessage` to one user. */
export type DirectSend = {
  /** Whom to. */
  receiverId: string | number,
  /** What. */
  text: string | number,
};

/** `error`: a handler failed. */
export type ErrorMessage = {
  /** For a person. */
  message: string,
};

/** `newRoomMessage`; its id is filled in by the store. */
export type NewRoomMessage = {
  /** Who. */
  userId: string,
  /** Where. */
  roomId: string,
  /** As it was sent. */
  message: any,
  /** ISO 8601. */
  timestamp: string,
  /** The id. */
  id: string,
  /** The id. */
  _id: string,
};

/** An ack that adds nothing to `success`. */
export type Nothing = Record<symbol, never>;

/** `notification`, and in what was missed. */
export type Notification = {
  /** Its id. */
  id: string,
  /** Who sent it; absent when a back end did. */
  senderId?: string,
  /** `info` unless its sender said otherwise. */
  type: string,
  /** A headline. */
  title: string,
  /** A text. */
  message: string,
  /** What its sender put there. */
  data?: any,
  /** ISO 8601. */
  timestamp: string,
};

/** `onlineUsersChanged`, in place of `getOnlineUsers` while more users are online than are told in one list. */
export type OnlineUsersChanged = {
  /** Who came. */
  online: Array<string>,
  /** Who went. */
  offline: Array<string>,
  /** How many there are now. */
  count: number,
};

/** `presence:list`. */
export type PresenceList = {
  /** How many. */
  limit?: number,
  /** Where the last page ended. */
  cursor?: string,
};

/** What `presence:list` answers. */
export type PresencePage = {
  /** Users online. */
  users: Array<UserPresence>,
  /** How many there are in all. */
  count: number,
  /** Where the next page starts; `null` when this was the last. */
  cursor: string | null,
};

/** `sendMessageToRoom`, and `sendMessage` to a room. */
export type RoomMessage = {
  /** Where to. */
  roomId: string | number,
  /** Anything. */
  message: any,
};

/** What sending answers to a client that asks. */
export type Sent = {
  /** The message's id. */
  messageId: string,
  /** ISO 8601. */
  timestamp: string,
};

/** `server-shutdown`. */
export type ServerShutdown = {
  /** For a person. */
  message: string,
  /** How long to wait before coming back: spread, so that clients don't come all at once. */
  reconnectAfterMs: number,
};

/** `typing`. */
export type Typing = {
  /** To whom. */
  receiverId: string | number,
  /** Whether it goes on; a client that leaves it out has begun. */
  isTyping?: boolean,
};

/** `userJoinedRoom`. */
export type UserJoinedRoom = {
  /** Who. */
  userId: string,
  /** Where. */
  roomId: string,
  /** ISO 8601. */
  timestamp: string,
};

/** `userLeftRoom`, and `userJoined`, which the one who joined hears too. */
export type UserLeftRoom = {
  /** Who. */
  userId: string,
  /** Where. */
  roomId: string,
};

/** One user's presence. */
export type UserPresence = {
  /** Who. */
  userId: string,
  /** Whether online. */
  online: boolean,
  /** ISO 8601; absent for a user who was never seen. */
  lastSeen?: string,
  /** With how many sockets. */
  sockets: number,
};

/** `userTyping`. */
export type UserTyping = {
  /** Who. */
  userId: string,
  /** Whether it goes on. */
  isTyping: boolean,
};
