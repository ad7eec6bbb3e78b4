// The `conversations` dialect. Made from crates/protocol by its tests: change the types there, not here.

/** What clients send. */
export interface ClientToServerEvents {
  "joinRoom": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "leaveRoom": (payload: string | number, ack?: (answer: Ack<Nothing>) => void) => void;
  "sendMessage": (payload: SendMessage, ack?: (answer: Ack<Sent>) => void) => void;
  "editMessage": (payload: EditMessage, ack?: (answer: Ack<Nothing>) => void) => void;
  "deleteMessage": (payload: MessageRef, ack?: (answer: Ack<Nothing>) => void) => void;
  "messageStatus": (payload: MessageRef, ack?: (answer: Ack<MessageStatus>) => void) => void;
  "getViewers": (payload: string | number, ack?: (answer: Ack<Viewers>) => void) => void;
  "typing": (payload: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "stopTyping": (payload: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "messageDelivered": (payload: MessageRef, ack?: (answer: Ack<Nothing>) => void) => void;
  "messageRead": (payload: MessageRef, ack?: (answer: Ack<Nothing>) => void) => void;
  "callSignal": (payload: CallSignal, ack?: (answer: Ack<Nothing>) => void) => void;
  "uploadProgress": (payload: UploadProgress, ack?: (answer: Ack<Nothing>) => void) => void;
}

/** What clients receive. */
export interface ServerToClientEvents {
  "receiveMessage": (payload: ReceiveMessage) => void;
  "messagesBatch": (payload: Array<ReceiveMessage>) => void;
  "messageError": (payload: MessageError) => void;
  "messageEdited": (payload: MessageEdited) => void;
  "messageDeleted": (payload: MessageDeleted) => void;
  "userTyping": (payload: TypingNotice) => void;
  "userStoppedTyping": (payload: TypingNotice) => void;
  "userViewing": (payload: TypingNotice) => void;
  "userStoppedViewing": (payload: TypingNotice) => void;
  "userOnline": (payload: UserOnline) => void;
  "userOffline": (payload: UserOffline) => void;
  "notification": (payload: Notification) => void;
  "server-shutdown": (payload: ServerShutdown) => void;
  "error": (payload: MessageError) => void;
  "messageDelivered": (payload: Receipt) => void;
  "messageRead": (payload: Receipt) => void;
  "callSignal": (payload: CallSignalNotice) => void;
  "uploadProgress": (payload: UploadProgressNotice) => void;
}

/** The answer to an event. */
export type Ack<T> = (T & { success: true }) | { success: false; error: Code; message: string; retryable: boolean };

/** `call:signal` from a client. */
export type CallSignal = {
  /** Whom to. */
  userId: string,
  /** A WebRTC offer, answer or candidate; not looked into. */
  data: any,
};

/** `call:signal` to that user. */
export type CallSignalNotice = {
  /** Who. */
  from: string,
  /** As it was sent. */
  data: any,
};

/** What went wrong, for a program to act on. */
export type Code = "invalid" | "unauthenticated" | "forbidden" | "not_found" | "too_large" | "rate_limited" | "conflict" | "unavailable" | "internal";

/** How far a message has come. */
export type DeliveryStatus = "sent" | "delivered" | "read";

/** `editMessage`. */
export type EditMessage = {
  /** Which of the user's own messages. */
  messageId: string,
  /** Where, as the client believes. */
  conversationId?: string | number,
  /** What it is to say. */
  content: string | number,
};

/** `messageDeleted`. */
export type MessageDeleted = {
  /** Where. */
  conversationId: string,
  /** Which message. */
  messageId: string,
  /** ISO 8601. */
  timestamp: string,
};

/** `messageEdited`. */
export type MessageEdited = {
  /** Where. */
  conversationId: string,
  /** Which message. */
  messageId: string,
  /** What it says now. */
  content: string,
  /** ISO 8601. */
  timestamp: string,
};

/** `messageError`. */
export type MessageError = {
  /** For a person. */
  error: string,
};

/** An event about one message. Its id finds its conversation. */
export type MessageRef = {
  /** Which one. */
  messageId: string,
  /** Where, as the client believes. */
  conversationId?: string | number,
};

/** What `message:status` answers. */
export type MessageStatus = {
  /** The furthest that anybody but the sender is. */
  status: DeliveryStatus,
  /** On whose devices it is; those who read it too. */
  deliveredTo: Array<string>,
  /** Who read it. */
  readBy: Array<string>,
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

/** `messageDelivered` and `messageRead` to the sender. */
export type Receipt = {
  /** Where. */
  conversationId: string,
  /** Which message, and all of the conversation's before it. */
  messageId?: string,
  /** Its number in the conversation, when that is what is known. */
  seq?: number,
  /** Who has it, or read it. */
  userId: string,
};

/** `receiveMessage`. */
export type ReceiveMessage = {
  /** Where. */
  conversationId: string,
  /** What. */
  message: StoredMessage,
};

/** `sendMessage`. Everything may be missing here: what has to be there is said in the document's own words. */
export type SendMessage = {
  /** Where to. */
  conversationId?: string | number,
  /** Who, as the client says; believed only of guests. */
  senderId?: string | number,
  /** What. */
  content?: string | number,
  /** `text`, `image` or `file`. */
  type?: string,
  /** Where the file is. */
  fileUrl?: string,
  /** What it is called. */
  fileName?: string,
  /** Makes a repeat harmless. */
  clientMessageId?: string | number,
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

/** A message as it is stored. It leaves here without ids, which the store fills in. */
export type StoredMessage = {
  /** Where. */
  conversationId: string,
  /** Who. */
  senderId: string,
  /** What. */
  content: string,
  /** `text`, `image` or `file`, or what another dialect's client said. */
  type: string,
  /** Where the file is. */
  fileUrl?: string,
  /** What it is called. */
  fileName?: string,
  /** `sent`: further on `messageStatus` tells. */
  status: DeliveryStatus,
  /** ISO 8601. */
  timestamp: string,
  /** As the sender gave it. */
  clientMessageId?: string,
  /** The id. */
  id: string,
  /** The id. */
  _id: string,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** `typing` and `stopTyping`. */
export type Typing = {
  /** Where. */
  conversationId: string | number,
  /** Who, as the client says; believed only of guests. */
  userId?: string | number,
};

/** `userTyping`, `userStoppedTyping`, `userViewing` and `userStoppedViewing`. */
export type TypingNotice = {
  /** Where. */
  conversationId: string,
  /** Who. */
  userId: string,
};

/** `upload:progress` from a client. */
export type UploadProgress = {
  /** Where. */
  conversationId: string,
  /** Which upload, a name of the client's choosing. */
  uploadId: string,
  /** What is uploaded. */
  fileName: string,
  /** 0 to 100. */
  percent: number,
};

/** `upload:progress` to the others. */
export type UploadProgressNotice = {
  /** Where. */
  conversationId: string,
  /** Who. */
  userId: string,
  /** Which upload. */
  uploadId: string,
  /** What is uploaded. */
  fileName: string,
  /** 0 to 100. */
  percent: number,
};

/** `user:offline`. */
export type UserOffline = {
  /** Who. */
  userId: string,
  /** ISO 8601. */
  lastSeen: string,
};

/** `user:online`. */
export type UserOnline = {
  /** Who. */
  userId: string,
};

/** What `getViewers` answers. */
export type Viewers = {
  /** Who has the conversation open. */
  viewers: Array<string>,
};
