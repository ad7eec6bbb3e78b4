// The `native` dialect. Made from crates/protocol by its tests: change the types there, not here.

/** What clients send. */
export interface ClientToServerEvents {
  "conversation:join": (payload: string | Join, ack?: (answer: Ack<Joined>) => void) => void;
  "conversation:leave": (payload: string | ConversationRef, ack?: (answer: Ack<Left>) => void) => void;
  "conversation:members": (payload: string | ConversationRef, ack?: (answer: Ack<Members>) => void) => void;
  "conversation:list": (payload?: ConversationList, ack?: (answer: Ack<ConversationPage>) => void) => void;
  "message:send": (payload: Send, ack?: (answer: Ack<Sent>) => void) => void;
  "private:message": (payload: SendPrivate, ack?: (answer: Ack<Sent>) => void) => void;
  "message:edit": (payload: Edit, ack?: (answer: Ack<Changed>) => void) => void;
  "message:delete": (payload: Delete, ack?: (answer: Ack<Changed>) => void) => void;
  "message:history": (payload: History, ack?: (answer: Ack<HistoryPage>) => void) => void;
  "messages:missed": (payload?: MissedAsk, ack?: (answer: Ack<Missed>) => void) => void;
  "message:status": (payload: StatusAsk, ack?: (answer: Ack<MessageStatus>) => void) => void;
  "get:online:count": (ack?: (answer: Ack<OnlineCount>) => void) => void;
  "presence:get": (payload: PresenceGet, ack?: (answer: Ack<PresenceUsers>) => void) => void;
  "presence:list": (payload?: PresenceList, ack?: (answer: Ack<PresencePage>) => void) => void;
  "presence:watch": (payload: PresenceGet, ack?: (answer: Ack<PresenceUsers>) => void) => void;
  "presence:unwatch": (payload: PresenceGet, ack?: (answer: Ack<PresenceUsers>) => void) => void;
  "notification:send": (payload: NotificationSend, ack?: (answer: Ack<NotificationSent>) => void) => void;
  "document:join": (payload: DocumentRef, ack?: (answer: Ack<DocumentState>) => void) => void;
  "document:leave": (payload: DocumentRef, ack?: (answer: Ack<Nothing>) => void) => void;
  "document:edit": (payload: DocumentEdit, ack?: (answer: Ack<DocumentVersion>) => void) => void;
  "auth:refresh": (payload: Refresh, ack?: (answer: Ack<Refreshed>) => void) => void;
  "message:delivered": (payload: Delivered, ack?: (answer: Ack<Nothing>) => void) => void;
  "message:read": (payload: Read, ack?: (answer: Ack<Nothing>) => void) => void;
  "typing:start": (payload: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "typing:stop": (payload: Typing, ack?: (answer: Ack<Nothing>) => void) => void;
  "document:cursor": (payload: DocumentCursor, ack?: (answer: Ack<Nothing>) => void) => void;
  "call:signal": (payload: CallSignal, ack?: (answer: Ack<Nothing>) => void) => void;
  "upload:progress": (payload: UploadProgress, ack?: (answer: Ack<Nothing>) => void) => void;
}

/** What clients receive. */
export interface ServerToClientEvents {
  "connected": (payload: Connected) => void;
  "conversation:synced": (payload: Synced) => void;
  "conversation:reset": (payload: Reset) => void;
  "message:new": (payload: Message) => void;
  "message:edited": (payload: Edited) => void;
  "message:deleted": (payload: Deleted) => void;
  "member:joined": (payload: MemberChange) => void;
  "member:left": (payload: MemberChange) => void;
  "user:joined": (payload: UserJoined) => void;
  "user:online": (payload: UserOnline) => void;
  "user:offline": (payload: UserOffline) => void;
  "notification": (payload: Notification) => void;
  "document:edited": (payload: DocumentEdited) => void;
  "auth:expiring": (payload: Expiring) => void;
  "server-shutdown": (payload: ServerShutdown) => void;
  "error": (payload: ErrorEvent) => void;
  "message:delivered": (payload: DeliveredNotice) => void;
  "message:read": (payload: ReadNotice) => void;
  "typing:start": (payload: TypingNotice) => void;
  "typing:stop": (payload: TypingNotice) => void;
  "document:cursor": (payload: DocumentCursorNotice) => void;
  "call:signal": (payload: CallSignalNotice) => void;
  "upload:progress": (payload: UploadProgressNotice) => void;
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

/** A change, in a page of a log. */
export type Change = { "kind": "edited" } & Edited | { "kind": "deleted" } & Deleted;

/** What `message:edit` and `message:delete` answer: the place of the change, which is an entry of its own. */
export type Changed = {
  /** Its number. */
  seq: number,
  /** The log that `seq` counts in. */
  epoch: string,
};

/** What went wrong, for a program to act on. */
export type Code = "invalid" | "unauthenticated" | "forbidden" | "not_found" | "too_large" | "rate_limited" | "conflict" | "unavailable" | "internal";

/** `connected`. */
export type Connected = {
  /** Who the token says this is. */
  userId: string,
  /** This socket. */
  socketId: string,
  /** The node it is on. */
  nodeId: string,
  /** ISO 8601. */
  serverTime: string,
  /** When the token runs out, ISO 8601; absent when it does not. */
  expiresAt?: string,
};

/** `conversation:list`. */
export type ConversationList = {
  /** How many. */
  limit?: number,
  /** Where the last page ended. */
  cursor?: string,
};

/** What `conversation:list` answers: the latest first. */
export type ConversationPage = {
  /** Those this user takes part in. */
  conversations: Array<ConversationSummary>,
  /** Where the next page starts; `null` when this was the last. */
  cursor: string | null,
};

/** An event that names one conversation: the id itself, or an object with it. */
export type ConversationRef = {
  /** Which one. */
  conversationId: string,
};

/** A conversation that the asking user takes part in. */
export type ConversationSummary = {
  /** Which one. */
  conversationId: string,
  /** Absent when it was trimmed or nothing was said yet. */
  lastMessage?: Message,
  /** Messages of others after the last one that this user has read. */
  unread: number,
};

/** `message:delete`. */
export type Delete = {
  /** Which conversation. */
  conversationId: string,
  /** Which of the user's own messages. */
  messageId: string,
};

/** `message:deleted`; `seq` and `epoch` as in `Edited`. */
export type Deleted = {
  /** Which conversation. */
  conversationId: string,
  /** Which message. */
  messageId: string,
  /** Whose. */
  senderId: string,
  /** When it was deleted, ISO 8601. */
  timestamp: string,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** `message:delivered` from a client. */
export type Delivered = {
  /** Which conversation. */
  conversationId: string,
  /** Everything up to this number has arrived. */
  seq: number,
};

/** `message:delivered` to the sender. */
export type DeliveredNotice = {
  /** Which conversation. */
  conversationId: string,
  /** Which message. */
  seq: number,
  /** To whom. */
  userId: string,
};

/** How far a message has come. */
export type DeliveryStatus = "sent" | "delivered" | "read";

/** `document:cursor` from a client. */
export type DocumentCursor = {
  /** Which one. */
  documentId: string,
  /** Where; not looked into. */
  position: any,
};

/** `document:cursor` to the others, volatile. */
export type DocumentCursorNotice = {
  /** Which one. */
  documentId: string,
  /** Whose. */
  userId: string,
  /** Where. */
  position: any,
};

/** `document:edit`: the whole text anew. */
export type DocumentEdit = {
  /** Which one. */
  documentId: string,
  /** The whole text. */
  content: string,
  /** Refuse the edit unless this is still the version; without it the last writer wins. */
  baseVersion?: number,
  /** Where the writer's cursor is; not looked into. */
  cursorPosition?: any,
};

/** `document:edited`. */
export type DocumentEdited = {
  /** Which one. */
  documentId: string,
  /** The whole text. */
  content: string,
  /**
   * The version that the edit made. An event with a smaller one than was seen already is late, and to be ignored.
   * Absent on the way into the store, which fills it in.
   */
  version?: number,
  /** Where the writer's cursor is. */
  cursorPosition?: any,
  /** Who wrote. */
  userId: string,
};

/** `document:join` and `document:leave`. */
export type DocumentRef = {
  /** Which one. */
  documentId: string,
};

/** What `document:join` answers, and what a stale edit is told. */
export type DocumentState = {
  /** The whole text. */
  content: string,
  /** Grows by one with each edit; 0 for a document that nobody wrote yet. */
  version: number,
};

/** What `document:edit` answers. */
export type DocumentVersion = {
  /** The version that this edit made. */
  version: number,
};

/** `message:edit`. */
export type Edit = {
  /** Which conversation. */
  conversationId: string,
  /** Which of the user's own messages. */
  messageId: string,
  /** What it is to say. */
  content: string,
};

/**
 * `message:edited`.
 *
 * `seq` and `epoch` are the change's own; without them on the way into the log, which fills them in.
 */
export type Edited = {
  /** Which conversation. */
  conversationId: string,
  /** Which message. */
  messageId: string,
  /** Whose. */
  senderId: string,
  /** What it says now. */
  content: string,
  /** When it was changed, ISO 8601. */
  timestamp: string,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** `error`: a failure without an ack to carry it, or the last word before the server closes a socket. */
export type ErrorEvent = {
  /** What went wrong. */
  code: string,
  /** For a person. */
  message: string,
  /** The event that failed. */
  event?: string,
  /** Whether the same request may succeed later. */
  retryable: boolean,
};

/** `auth:expiring`: refresh soon, or the connection ends. */
export type Expiring = {
  /** ISO 8601. */
  expiresAt: string,
};

/** `message:history`. */
export type History = {
  /** Which conversation. */
  conversationId: string,
  /** Only what came after this. */
  after?: number,
  /** Only what came before this. */
  before?: number,
  /** How many. */
  limit?: number,
};

/** What `message:history` answers. */
export type HistoryPage = {
  /** In ascending `seq`, as they stand now. */
  messages: Array<Message>,
  /** The entries between them that are no messages but changes of some, in ascending `seq`. */
  changes: Array<Change>,
  /** The log that the numbers count in. */
  epoch: string,
  /** The newest number. */
  seq: number,
  /** Whether the page holds everything that was asked for. */
  complete: boolean,
};

/** `conversation:join`: the id itself, or an object with it. */
export type Join = {
  /** Which one. */
  conversationId: string,
  /** Answer what came after this instead of the latest. */
  after?: Position,
  /** How many messages. */
  limit?: number,
};

/** What `conversation:join` answers. */
export type Joined = {
  /** Which one. */
  conversationId: string,
  /** The log that the numbers count in. */
  epoch: string,
  /** The newest number; 0 when nothing was said yet. */
  seq: number,
  /** In ascending `seq`, as they stand now. */
  messages: Array<Message>,
  /** The entries between them that are no messages but changes of some. */
  changes: Array<Change>,
  /** Whether everything after `after` is in `messages` and `changes`. */
  complete: boolean,
  /** Who is here, this user included. */
  members: Array<Member>,
};

/** What `conversation:leave` answers. */
export type Left = {
  /** Which one. */
  conversationId: string,
};

/** Who is in a conversation now. */
export type Member = {
  /** The user. */
  userId: string,
  /** With how many sockets. */
  sockets: number,
};

/** `member:joined` and `member:left`. */
export type MemberChange = {
  /** Where. */
  conversationId: string,
  /** Who. */
  userId: string,
  /** ISO 8601. */
  timestamp: string,
};

/** What `conversation:members` answers. */
export type Members = {
  /** Who is here. */
  members: Array<Member>,
};

/**
 * A stored message, as `message:new` and in pages.
 *
 * `seq`, `epoch` and `id` are known only once it is stored, so `message:new` leaves here without them and the
 * store fills them in.
 */
export type Message = {
  /** Which conversation. */
  conversationId: string,
  /** Who the sender's token says they are. */
  senderId: string,
  /** What the sender calls themselves, in dialects where they do. */
  senderName?: string,
  /** For a private message: the sender once more. */
  from?: string,
  /** For a private message: whom it is for. */
  recipientUserId?: string,
  /** As the sender gave it. */
  clientMessageId?: string,
  /** ISO 8601. */
  timestamp: string,
  /** When its sender changed it: the number of the last change. `content` is what it says now. */
  editedSeq?: number,
  /** Its sender took it back, and what it said is gone. */
  deleted: boolean,
  /** Its id. */
  id: string,
  /** Its place. */
  seq: number,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The text. */
  content: string,
  /** `text`, `image`, `file` or what the application likes. */
  type?: string,
  /** Where the file is. */
  fileUrl?: string,
  /** What it is called. */
  fileName?: string,
  /** The message this answers. */
  replyTo?: string,
  /** What was sent, where that was no text: `content` is then its JSON. Dialects whose messages may be anything use it. */
  data?: any,
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

/** What `messages:missed` answers, in order. Once it is out, its items count as delivered. */
export type Missed = {
  /** The oldest first. */
  messages: Array<MissedItem>,
  /** Whether that was all. */
  complete: boolean,
};

/** `messages:missed`. */
export type MissedAsk = {
  /** How many. */
  limit?: number,
};

/** Something that arrived for a user while they were away. */
export type MissedItem = { "kind": "message" } & Message | { "kind": "notification" } & Notification;

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

/** `notification:send`. */
export type NotificationSend = {
  /** Whom to. */
  userId: string,
  /** A headline. */
  title: string,
  /** A text. */
  message: string,
  /** What the application likes. */
  type?: string,
  /** What the application likes. */
  data?: any,
};

/** What `notification:send` answers. */
export type NotificationSent = {
  /** The notification's id. */
  id: string,
};

/** What `get:online:count` answers. */
export type OnlineCount = {
  /** Users online on all nodes. */
  count: number,
};

/** A place in a conversation's log. */
export type Position = {
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** `presence:get`. */
export type PresenceGet = {
  /** Whom to look up. */
  userIds: Array<string>,
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

/** What `presence:get` answers. */
export type PresenceUsers = {
  /** In the order asked. */
  users: Array<UserPresence>,
};

/** `message:read` from a client. The message's id finds its conversation and its real sender. */
export type Read = {
  /** Which message. */
  messageId: string,
  /** Who sent it, as the client believes; the log knows better. */
  senderId?: string,
  /** Which conversation, as the client believes. */
  conversationId?: string,
};

/** `message:read` to the sender. */
export type ReadNotice = {
  /** Which message. */
  messageId: string,
  /** By whom. */
  readBy: string,
  /** Which conversation. */
  conversationId: string,
  /** ISO 8601. */
  timestamp: string,
};

/** `auth:refresh`: a new token for the same user. */
export type Refresh = {
  /** The token. */
  token: string,
};

/** What `auth:refresh` answers. */
export type Refreshed = {
  /** When the new token runs out, ISO 8601; `null` when it does not. */
  expiresAt: string | null,
};

/** `conversation:reset`: messages are missing, reload the conversation. */
export type Reset = {
  /** Which one. */
  conversationId: string,
  /** Why. */
  reason: ResetReason,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** Why a cursor can't be honoured. */
export type ResetReason = "trimmed" | "epoch";

/** `message:send`. */
export type Send = {
  /** Where to. */
  conversationId: string,
  /** Makes a repeat harmless. */
  clientMessageId?: string,
  /** The text. */
  content: string,
  /** `text`, `image`, `file` or what the application likes. */
  type?: string,
  /** Where the file is. */
  fileUrl?: string,
  /** What it is called. */
  fileName?: string,
  /** The message this answers. */
  replyTo?: string,
  /** What was sent, where that was no text: `content` is then its JSON. Dialects whose messages may be anything use it. */
  data?: any,
};

/** `private:message`. */
export type SendPrivate = {
  /** Whom to. */
  recipientUserId: string,
  /** Makes a repeat harmless. */
  clientMessageId?: string,
  /** The text. */
  content: string,
  /** `text`, `image`, `file` or what the application likes. */
  type?: string,
  /** Where the file is. */
  fileUrl?: string,
  /** What it is called. */
  fileName?: string,
  /** The message this answers. */
  replyTo?: string,
  /** What was sent, where that was no text: `content` is then its JSON. Dialects whose messages may be anything use it. */
  data?: any,
};

/** What sending answers. */
export type Sent = {
  /** The message's id. */
  messageId: string,
  /** Its place. */
  seq: number,
  /** The log that `seq` counts in. */
  epoch: string,
  /** ISO 8601. */
  timestamp: string,
  /** Whether it had been stored before, under the same `clientMessageId`. */
  duplicate: boolean,
};

/** `server-shutdown`. */
export type ServerShutdown = {
  /** For a person. */
  message: string,
  /** How long to wait before coming back: spread, so that clients don't come all at once. */
  reconnectAfterMs: number,
};

/** `message:status`. */
export type StatusAsk = {
  /** Which conversation. */
  conversationId: string,
  /** Which message. */
  messageId: string,
};

/** `conversation:synced`: everything after the cursor has been delivered. */
export type Synced = {
  /** Which one. */
  conversationId: string,
  /** How many messages were missed. */
  count: number,
  /** The log that `seq` counts in. */
  epoch: string,
  /** The number within it. */
  seq: number,
};

/** `typing:start` and `typing:stop` from a client: to a conversation or to one user. */
export type Typing = {
  /** Where. */
  conversationId?: string,
  /** Or to whom. */
  recipientUserId?: string,
};

/** `typing:start` and `typing:stop` to a client. */
export type TypingNotice = {
  /** Who. */
  userId: string,
  /** Where. */
  conversationId: string,
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

/** `user:joined`. */
export type UserJoined = {
  /** Who. */
  userId: string,
  /** ISO 8601. */
  timestamp: string,
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
