import { useState } from "preact/hooks";

import type { Chat } from "../chat";
import { title, type ChatState, type Conversation } from "../state";
import { Avatar } from "./avatar";
import { Leave, Plus } from "./icons";
import { Logo } from "./logo";
import { ThemeButton } from "./theme";

interface Props {
  chat: Chat;
  state: ChatState;
  /** Something was chosen: a drawer may close. */
  onChosen(): void;
  onSignOut(): void;
}

export function Sidebar({ chat, state, onChosen, onSignOut }: Props) {
  const all = [...state.conversations.values()];
  const direct = all.filter(({ peer }) => peer !== undefined);
  const open = (id: string): void => {
    chat.open(id);
    onChosen();
  };
  return (
    <nav class="sidebar" aria-label="Conversations">
      <header class="brand">
        <Logo />
        <span>Trunkline</span>
      </header>
      <div class="sidebar-lists">
        <List heading="Conversations" entries={all.filter(({ peer }) => peer === undefined)} state={state} onOpen={open} />
        <NewConversation onName={open} />
        {direct.length > 0 && <List heading="Direct messages" entries={direct} state={state} onOpen={open} />}
      </div>
      <footer class="me">
        <Avatar userId={state.me} online={state.link.state === "connected"} />
        <span class="me-name">{state.me}</span>
        <ThemeButton />
        <button class="icon-button" onClick={onSignOut} aria-label="Sign out" title="Sign out">
          <Leave />
        </button>
      </footer>
    </nav>
  );
}

interface ListProps {
  heading: string;
  entries: readonly Conversation[];
  state: ChatState;
  onOpen(id: string): void;
}

function List({ heading, entries, state, onOpen }: ListProps) {
  return (
    <section>
      <h2 class="list-heading">{heading}</h2>
      <ul>
        {entries.map((entry) => (
          <li key={entry.id}>
            <button
              class={`entry ${entry.membership}`}
              aria-current={entry.id === state.active ? "page" : undefined}
              onClick={() => onOpen(entry.id)}
            >
              {entry.peer ? <Avatar userId={entry.peer} online={state.people.get(entry.peer) ?? false} size={24} /> : <span class="hash">#</span>}
              <span class="entry-name">{title(entry)}</span>
              {entry.unread > 0 && (
                <span class="badge" aria-label={`${entry.unread} unread`}>
                  {entry.unread > 99 ? "99+" : entry.unread}
                </span>
              )}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function NewConversation({ onName }: { onName(name: string): void }) {
  const [name, setName] = useState<string>();
  if (name === undefined) {
    return (
      <button class="entry add" onClick={() => setName("")}>
        <span class="hash"><Plus /></span>
        <span class="entry-name">Join another</span>
      </button>
    );
  }
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (name.trim()) onName(name.trim());
    setName(undefined);
  };
  return (
    <form class="new-conversation" onSubmit={submit}>
      <span class="hash">#</span>
      <input
        aria-label="Name of the conversation"
        placeholder="name, then Enter"
        maxLength={64}
        autofocus
        ref={(input) => input?.focus()}
        value={name}
        onInput={(event) => setName(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && setName(undefined)}
        onBlur={() => setName(undefined)}
      />
    </form>
  );
}
