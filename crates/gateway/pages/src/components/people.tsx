import type { Chat } from "../chat";
import { others, type ChatState } from "../state";
import { Avatar } from "./avatar";

/** Who is online in the whole cluster; a click on a name opens a direct conversation. */
export function PeoplePanel({ chat, state, onChosen }: { chat: Chat; state: ChatState; onChosen(): void }) {
  const people = others(state);
  const online = people.filter((person) => person.online);
  const offline = people.filter((person) => !person.online);
  const unseen = (state.onlineCount ?? 0) - online.length - 1;
  const open = (userId: string): void => {
    chat.openDirect(userId);
    onChosen();
  };
  return (
    <aside class="people" aria-label="People">
      <h2 class="list-heading">
        Online <span class="count" data-testid="online-count">{state.onlineCount ?? online.length + 1}</span>
      </h2>
      <ul data-testid="online">
        <li class="person self">
          <Avatar userId={state.me} online={state.link.state === "connected"} size={28} />
          <span class="entry-name">{state.me}</span>
          <span class="you">you</span>
        </li>
        {online.map(({ userId }) => (
          <Person key={userId} userId={userId} online onOpen={open} />
        ))}
      </ul>
      {unseen > 0 && <p class="hint">and {unseen} more</p>}
      {online.length === 0 && unseen <= 0 && (
        <p class="hint">Nobody else yet. Open this page in another window, under another name.</p>
      )}
      {offline.length > 0 && (
        <>
          <h2 class="list-heading">Offline</h2>
          <ul data-testid="offline">
            {offline.map(({ userId }) => (
              <Person key={userId} userId={userId} online={false} onOpen={open} />
            ))}
          </ul>
        </>
      )}
    </aside>
  );
}

function Person({ userId, online, onOpen }: { userId: string; online: boolean; onOpen(userId: string): void }) {
  return (
    <li>
      <button class={online ? "person" : "person away"} onClick={() => onOpen(userId)} title={`Message ${userId}`}>
        <Avatar userId={userId} online={online} size={28} />
        <span class="entry-name">{userId}</span>
      </button>
    </li>
  );
}
