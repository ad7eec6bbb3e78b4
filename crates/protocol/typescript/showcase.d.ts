// The `showcase` dialect. Made from crates/protocol by its tests: change the types there, not here.

/** What clients send. */
export interface ClientToServerEvents {
  "join": (payload: Username, ack?: (answer: Ack<Nothing>) => void) => void;
  "send-message": (payload: SendMessage, ack?: (answer: Ack<Status>) => void) => void;
  "chat-message": (payload: SendMessage, ack?: (answer: Ack<Status>) => void) => void;
  "message": (payload: Data, ack?: (answer: Ack<Status>) => void) => void;
  "typing": (payload?: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "stop-typing": (payload?: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "subscribe": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "send-notification": (payload: SendNotification, ack?: (answer: Ack<Nothing>) => void) => void;
  "join-document": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "leave-document": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "edit": (payload: Edit, ack?: (answer: Ack<Nothing>) => void) => void;
  "cursor-move": (payload: CursorMove, ack?: (answer: Ack<Nothing>) => void) => void;
  "save-data": (payload: SaveData, ack?: (answer: Ack<Nothing>) => void) => void;
}

/** What clients receive. */
export interface ServerToClientEvents {
  "welcome": (payload: Welcome) => void;
  "previous-messages": (payload: Array<ChatMessage>) => void;
  "user-joined": (payload: UserCount) => void;
  "user-left": (payload: UserCount) => void;
  "new-message": (payload: ChatMessage) => void;
  "user-typing": (payload: UserTyping) => void;
  "user-stop-typing": (payload: UserTyping) => void;
  "user-count": (payload: number) => void;
  "notification": (payload: Notification) => void;
  "document-state": (payload: DocumentState) => void;
  "remote-edit": (payload: RemoteEdit) => void;
  "remote-cursor": (payload: RemoteCursor) => void;
  "message-success": () => void;
  "message-error": (payload: ErrorNote) => void;
  "validation-error": (payload: ErrorNote) => void;
  "rate-limit-exceeded": () => void;
  "server-shutdown": (payload: ServerShutdown) => void;
}

/** The answer to an event. */
export type Ack<T> = (T & { success: true }) | { success: false; status: "error"; error: string; code: Code };

/** `new-message`, and in `previous-messages`. `new-message` leaves here without its id, which the store fills in. */
export type ChatMessage = {
  /** Its id. */
  id?: string,
  /** What the sender calls themselves, or their user id. */
  username: string,
  /** Who the sender is. */
  userId: string,
  /** Where it was said. */
  room: string,
  /** What. */
  text: string,
  /** Milliseconds since 1970. */
  timestamp: number,
};

/** What went wrong, for a program to act on. */
export type Code = "invalid" | "unauthenticated" | "forbidden" | "not_found" | "too_large" | "rate_limited" | "conflict" | "unavailable" | "internal";

/** `cursor-move`. */
export type CursorMove = {
  /** In which document. */
  docId: string | number,
  /** Where. */
  position: any,
};

/** `message`: 1 to `MESSAGE_CHARS` characters and a time. */
export type Data = {
  /** What. */
  text: string,
  /** When, as the client says, in milliseconds since 1970; the server's time counts. */
  timestamp: number,
};

/** `document-state`. */
export type DocumentState = {
  /** The whole text. */
  content: string,
};

/** `edit`: the whole text anew, the last writer wins. */
export type Edit = {
  /** Which document. */
  docId: string | number,
  /** The whole text. */
  content: string,
  /** Where the writer's cursor is. */
  cursorPosition?: any,
};

/** `validation-error` and `message-error`. */
export type ErrorNote = {
  /** For a person. */
  error: string,
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

/** `remote-cursor`. */
export type RemoteCursor = {
  /** In which document. */
  docId: string,
  /** Whose. */
  userId: string,
  /** Where. */
  position: any,
};

/** `remote-edit`. */
export type RemoteEdit = {
  /** Which document. */
  docId: string,
  /** The whole text. */
  content: string,
  /**
   * The version that the edit made: a smaller one than was seen already is late.
   * Absent on the way into the store, which fills it in.
   */
  version?: number,
  /** Where the writer's cursor is. */
  cursorPosition?: any,
  /** Who wrote. */
  userId: string,
};

/** `save-data`. */
export type SaveData = {
  /** Whose, or what. */
  name: string | number,
};

/** `send-message` and `chat-message`. */
export type SendMessage = {
  /** What. */
  text: string | number,
  /** When, as the client says; the server's time counts. */
  timestamp?: any,
};

/** `send-notification`. */
export type SendNotification = {
  /** Whom to. */
  userId: string | number,
  /** A headline. */
  title?: string | number,
  /** A text. */
  message?: string | number,
};

/** `server-shutdown`. */
export type ServerShutdown = {
  /** For a person. */
  message: string,
  /** How long to wait before coming back: spread, so that clients don't come all at once. */
  reconnectAfterMs: number,
};

/** What sending answers to a client that asks. */
export type Status = {
  /** `ok`. */
  status: string,
};

/** `typing` and `stop-typing`: nothing, or who. */
export type Typing = {
  /** The name of somebody who did not `join` with one. */
  username?: string | number,
};

/** `user-joined` and `user-left`. */
export type UserCount = {
  /** Who. */
  username: string,
  /** How many are in the chat now. */
  userCount: number,
};

/** `user-typing` and `user-stop-typing`. */
export type UserTyping = {
  /** Who. */
  username: string,
};

/** `join`: a bare name, or an object with it. */
export type Username = string;

/** `welcome`. */
export type Welcome = {
  /** For a person. */
  message: string,
};
