import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import type { Chat } from "../chat";
import { dayOf, timeOf } from "../format";
import type { Conversation } from "../state";
import { rows, type Row } from "../timeline";
import { Avatar } from "./avatar";
import { Pending, Sent } from "./icons";

/** As close to the end as counts as reading the newest message. */
const AT_END_PX = 80;

/** The messages. It stays at the end while the reader is there, and stays put while they read further up. */
export function TimelineView({ chat, conversation, me }: { chat: Chat; conversation: Conversation; me: string }) {
  const scroller = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const before = useRef({ height: 0, firstKey: "" });
  const drawn = rows(conversation.timeline, me);
  const { messages, complete, outgoing } = conversation.timeline;
  const firstKey = messages[0]?.key ?? "";

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    const grewAtTop = before.current.firstKey !== "" && before.current.firstKey !== firstKey;
    if (atEnd.current) box.scrollTop = box.scrollHeight;
    else if (grewAtTop) box.scrollTop += box.scrollHeight - before.current.height;
    before.current = { height: box.scrollHeight, firstKey };
  }, [conversation.timeline, firstKey]);

  useLayoutEffect(() => {
    atEnd.current = true;
  }, [outgoing.length]);

  const onScroll = (): void => {
    const box = scroller.current;
    if (!box) return;
    atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
    if (box.scrollTop < AT_END_PX) void chat.loadEarlier(conversation.id);
  };

  return (
    <div class="timeline" ref={scroller} onScroll={onScroll} role="log" aria-label="Messages" tabIndex={0} data-testid="timeline">
      <div class="timeline-rows">
        {messages.length > 0 && !complete && (messages[0]?.seq ?? 1) > 1 && (
          <button class="small earlier" disabled={conversation.loadingEarlier} onClick={() => void chat.loadEarlier(conversation.id)}>
            {conversation.loadingEarlier ? "Loading…" : "Earlier messages"}
          </button>
        )}
        {drawn.every(({ kind }) => kind === "notice") && conversation.membership === "in" && <Empty conversation={conversation} />}
        {drawn.map((row) => (
          <RowView key={row.key} row={row} chat={chat} conversationId={conversation.id} me={me} />
        ))}
      </div>
    </div>
  );
}

function Empty({ conversation: { id, peer } }: { conversation: Conversation }) {
  return (
    <div class="empty">
      {peer ? <Avatar userId={peer} size={56} /> : <span class="empty-hash">#</span>}
      <h2>{peer ? `You and ${peer}` : id}</h2>
      <p>{peer ? "Only the two of you can read this." : "Nothing has been said here yet. Be the first."}</p>
    </div>
  );
}

function RowView({ row, chat, conversationId, me }: { row: Row; chat: Chat; conversationId: string; me: string }) {
  switch (row.kind) {
    case "day":
      return <h3 class="day"><span>{dayOf(row.timestamp)}</span></h3>;
    case "notice":
      return <p class="notice">{row.text}</p>;
    case "message": {
      const { senderId, content, timestamp } = row.message;
      const mine = senderId === me;
      return (
        <Bubble
          mine={mine}
          first={row.first}
          senderId={senderId}
          timestamp={timestamp}
          content={content}
          state="sent"
          onSender={() => chat.openDirect(senderId)}
        >
          {mine && <span class="tick" role="img" aria-label="Sent"><Sent /></span>}
        </Bubble>
      );
    }
    case "outgoing": {
      const { content, timestamp, state, problem, clientMessageId } = row.message;
      return (
        <Bubble mine first={row.first} senderId={me} timestamp={timestamp} content={content} state={state}>
          {state === "pending" ? (
            <span class="tick" role="img" aria-label="Being sent"><Pending /></span>
          ) : (
            <button class="small retry" title={problem} onClick={() => chat.retry(conversationId, clientMessageId)}>
              Not sent. Try again
            </button>
          )}
        </Bubble>
      );
    }
  }
}

interface BubbleProps {
  mine: boolean;
  first: boolean;
  senderId: string;
  timestamp: string;
  content: string;
  state: "sent" | "pending" | "failed";
  children?: ComponentChildren;
  onSender?(): void;
}

function Bubble({ mine, first, senderId, timestamp, content, state, children, onSender }: BubbleProps) {
  return (
    <article class={`message ${mine ? "mine" : "theirs"} ${state}${first ? " first" : ""}`} data-state={state}>
      {!mine && (first ? <Avatar userId={senderId} size={32} /> : <span class="avatar-space" />)}
      <div class="message-body">
        {!mine && first && (
          <button class="sender" onClick={onSender} title={`Message ${senderId}`}>
            {senderId}
          </button>
        )}
        <div class="bubble">
          <p>{linked(content)}</p>
          <span class="meta">
            <time dateTime={timestamp}>{timeOf(timestamp)}</time>
            {children}
          </span>
        </div>
      </div>
    </article>
  );
}

/** Web addresses as links; everything else stays the text it is. */
function linked(content: string): ComponentChildren {
  return content.split(/(https?:\/\/[^\s<>"]+)/g).map((part, index) =>
    index % 2 === 1 ? (
      <a key={index} href={part} target="_blank" rel="noopener noreferrer">
        {part}
      </a>
    ) : (
      part
    ),
  );
}
