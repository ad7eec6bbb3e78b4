import { useEffect, useState } from "preact/hooks";

import type { Chat } from "../chat";
import { title, type ChatState } from "../state";
import { useStore } from "../store";
import { ConversationView } from "./conversation";
import { PeoplePanel } from "./people";
import { Sidebar } from "./sidebar";
import { Toasts } from "./toasts";

type Drawer = "conversations" | "people" | undefined;

interface Props {
  chat: Chat;
  onSignOut(): void;
  /** The server did not let this user in, not even once. */
  onRefused(problem: string): void;
}

/** The three columns; on a narrow screen the outer two are drawers. */
export function ChatFrame({ chat, onSignOut, onRefused }: Props) {
  const state = useStore(chat.store);
  const [drawer, setDrawer] = useState<Drawer>();
  const close = (): void => setDrawer(undefined);

  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape") close();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  useEffect(() => {
    document.title = pageTitle(state);
  }, [state]);

  const { state: linkState, nodeId, problem } = state.link;
  const neverIn = linkState === "refused" && nodeId === undefined;
  useEffect(() => {
    if (neverIn) onRefused(problem ?? "The server refused the connection");
  }, [neverIn]);

  return (
    <div class="frame" data-drawer={drawer}>
      <Sidebar chat={chat} state={state} onChosen={close} onSignOut={onSignOut} />
      <ConversationView
        chat={chat}
        state={state}
        onConversations={() => setDrawer("conversations")}
        onPeople={() => setDrawer(drawer === "people" ? undefined : "people")}
      />
      <PeoplePanel chat={chat} state={state} onChosen={close} />
      {drawer && <button class="scrim" aria-label="Close" onClick={close} />}
      <Toasts toasts={state.toasts} onDismiss={(key) => chat.dismiss(key)} />
    </div>
  );
}

function pageTitle({ conversations, active }: ChatState): string {
  const unread = [...conversations.values()].reduce((sum, conversation) => sum + conversation.unread, 0);
  const open = conversations.get(active);
  const name = open ? `${open.peer ? "" : "#"}${title(open)} · ` : "";
  return `${unread ? `(${unread}) ` : ""}${name}Trunkline`;
}
