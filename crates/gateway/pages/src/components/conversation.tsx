import { useEffect, useRef, useState } from "preact/hooks";

import type { Chat } from "../chat";
import { typingText } from "../format";
import { conversation, title, type ChatState, type Conversation } from "../state";
import { Avatar } from "./avatar";
import { Leave, Menu, People, Send } from "./icons";
import { Status } from "./status";
import { TimelineView } from "./timeline";

/** The longest message that a server takes. */
const CONTENT_CHARS = 5000;

interface Props {
  chat: Chat;
  state: ChatState;
  onConversations(): void;
  onPeople(): void;
}

export function ConversationView({ chat, state, onConversations, onPeople }: Props) {
  const open = state.conversations.get(state.active) ?? conversation(state.active, state.me, "out");
  return (
    <main class="conversation">
      <header class="conversation-head">
        <button class="icon-button narrow-only" onClick={onConversations} aria-label="Conversations">
          <Menu />
        </button>
        {open.peer && <Avatar userId={open.peer} online={state.people.get(open.peer) ?? false} size={34} />}
        <div class="conversation-title">
          <h1>
            {!open.peer && <span class="hash">#</span>}
            {title(open)}
          </h1>
          <p>{subtitle(open, state)}</p>
        </div>
        <Status link={state.link} />
        {!open.peer && open.membership === "in" && (
          <button
            class="icon-button wide-only"
            onClick={() => void chat.leave(open.id)}
            aria-label={`Leave ${title(open)}`}
            title="Leave this conversation"
          >
            <Leave />
          </button>
        )}
        <button class="icon-button medium-only" onClick={onPeople} aria-label="People">
          <People />
        </button>
      </header>
      <Banner chat={chat} state={state} />
      <TimelineView key={open.id} chat={chat} conversation={open} me={state.me} />
      <p class="typing" aria-live="polite" data-testid="typing">
        {open.typing.length > 0 && (
          <>
            <span class="typing-dots" aria-hidden="true">
              <i /><i /><i />
            </span>
            {typingText(open.typing)}
          </>
        )}
      </p>
      <Composer key={`composer:${open.id}`} chat={chat} conversation={open} />
    </main>
  );
}

function subtitle({ peer, members, membership }: Conversation, { people }: ChatState): string {
  if (peer) return people.get(peer) ? "online" : "offline: they get it when they come back";
  if (membership === "refused" || membership === "out") return "you are not in this conversation";
  if (membership === "joining") return "joining…";
  return members.length === 1 ? "only you are here" : `${members.length} people here`;
}

/** What stands in the way of chatting, if anything does. */
function Banner({ chat, state: { link } }: { chat: Chat; state: ChatState }) {
  if (link.state === "connected" || link.state === "connecting") return null;
  const again = link.state === "refused" || link.state === "closed";
  return (
    <div class={`banner ${link.state}`} role="status">
      <span>
        {link.problem ?? "The connection was lost"}
        {link.state === "reconnecting" && ". Looking for another node; what you write is kept."}
      </span>
      {again && (
        <button class="small" onClick={() => chat.reconnect()}>
          Connect again
        </button>
      )}
    </div>
  );
}

function Composer({ chat, conversation: { id, peer, membership, problem } }: { chat: Chat; conversation: Conversation }) {
  const [text, setText] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    // Not on touch screens: the keyboard would cover what the user came to read.
    if (matchMedia("(hover: hover)").matches) area.current?.focus();
  }, []);

  if (membership === "out" || membership === "refused") {
    return (
      <div class="composer-closed">
        <p>{problem ?? "You have left this conversation."}</p>
        <button class="primary" onClick={() => chat.open(id)}>
          Join
        </button>
      </div>
    );
  }

  const send = (): void => {
    if (!text.trim()) return;
    chat.send(id, text.trim());
    setText("");
    area.current?.focus();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={area}
        rows={1}
        aria-label={`Message ${peer ?? `#${id}`}`}
        maxLength={CONTENT_CHARS}
        placeholder={`Message ${peer ?? `#${id}`}`}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          chat.keystroke(id, event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      <button class="send" aria-label="Send" disabled={!text.trim()}>
        <Send />
      </button>
    </form>
  );
}
