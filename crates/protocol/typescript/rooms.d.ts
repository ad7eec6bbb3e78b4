// The `rooms` dialect. Made from crates/protocol by its tests: change the types there, not here.

/** What clients send. */
export interface ClientToServerEvents {
  "broadcast": (payload: any, ack?: (answer: Ack<Nothing>) => void) => void;
  "announce": (payload: any, ack?: (answer: Ack<Nothing>) => void) => void;
  "chat": (payload: Chat, ack?: (answer: Ack<Nothing>) => void) => void;
  "join_room": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "leave_room": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "room_message": (payload: RoomMessage, ack?: (answer: Ack<Nothing>) => void) => void;
  "room_announce": (payload: RoomMessage, ack?: (answer: Ack<Nothing>) => void) => void;
  "message": (payload: any, ack?: (answer: Ack<Nothing>) => void) => void;
}

/** What clients receive. */
export interface ServerToClientEvents {
  "response": (payload: Response) => void;
  "success": (payload: Note) => void;
  "announcement": (payload: any) => void;
  "chat_response": (payload: ChatResponse) => void;
  "user_joined": (payload: UserJoined) => void;
  "user_left": (payload: UserLeft) => void;
  "notification": (payload: Notification) => void;
  "server-shutdown": (payload: ServerShutdown) => void;
  "error": (payload: ErrorMessage) => void;
  "message": (payload: any) => void;
}

/** The answer to an event. */
export type Ack<T> = (T & { success: true }) | { success: false; error: Code; message: string; retryable: boolean };

/** `chat`. */
export type Chat = {
  /** Anything; comes back. */
  message?: any,
};

/** `chat_response`. */
export type ChatResponse = {
  /** `ok`. */
  status: string,
  /** What was sent; absent when nothing was. */
  echo?: any,
};

/** What went wrong, for a program to act on. */
export type Code = "invalid" | "unauthenticated" | "forbidden" | "not_found" | "too_large" | "rate_limited" | "conflict" | "unavailable" | "internal";

/** `error`: a handler failed. */
export type ErrorMessage = {
  /** For a person. */
  message: string,
};

/** `success`. */
export type Note = {
  /** For a person. */
  message: string,
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

/** `response`. */
export type Response = {
  /** Always the same text. */
  message: string,
  /** What was sent; absent when nothing was. */
  data?: any,
};

/** `room_message` and `room_announce`. */
export type RoomMessage = {
  /** Where to. */
  roomId: string | number,
  /** Anything. */
  message: any,
};

/** `server-shutdown`. */
export type ServerShutdown = {
  /** For a person. */
  message: string,
  /** How long to wait before coming back: spread, so that clients don't come all at once. */
  reconnectAfterMs: number,
};

/** `user_joined`. */
export type UserJoined = {
  /** Who. */
  socketId: string,
  /** Where. */
  roomId: string,
};

/** `user_left`. */
export type UserLeft = {
  /** Who. */
  socketId: string,
  /** Where. */
  roomId: string,
};
