import type { LinkStatus } from "./link";
import { EMPTY, type Timeline } from "./timeline";
import { directPeer } from "./wire";

export interface Conversation {
  id: string;
  /** The other user of a direct conversation. */
  peer?: string | undefined;
  membership: "out" | "joining" | "in" | "refused";
  timeline: Timeline;
  unread: number;
  members: readonly string[];
  typing: readonly string[];
  loadingEarlier: boolean;
  problem?: string | undefined;
}

export interface Toast {
  key: number;
  tone: "problem" | "info";
  text: string;
}

export interface ChatState {
  me: string;
  link: LinkStatus;
  /** Everybody this page has heard of, and whether they are online. */
  people: ReadonlyMap<string, boolean>;
  /** The server's count: it may know of more people than this page. */
  onlineCount?: number | undefined;
  conversations: ReadonlyMap<string, Conversation>;
  active: string;
  toasts: readonly Toast[];
}

/** Always offered, joined or not. */
export const SUGGESTED = ["general", "engineering", "operations", "random"];

export function initial(me: string, active: string, remembered: readonly string[]): ChatState {
  const conversations = new Map<string, Conversation>();
  for (const id of new Set([...SUGGESTED, ...remembered, active])) {
    const wanted = id === active || remembered.includes(id);
    conversations.set(id, conversation(id, me, wanted ? "joining" : "out"));
  }
  return { me, link: { state: "connecting" }, people: new Map([[me, true]]), conversations, active, toasts: [] };
}

export function conversation(id: string, me: string, membership: Conversation["membership"]): Conversation {
  return {
    id,
    peer: directPeer(id, me),
    membership,
    timeline: EMPTY,
    unread: 0,
    members: [],
    typing: [],
    loadingEarlier: false,
  };
}

/** Applies `change` to one conversation, which is created if this page did not know it. */
export function changed(state: ChatState, id: string, change: (conversation: Conversation) => Conversation): ChatState {
  const before = state.conversations.get(id) ?? conversation(id, state.me, "out");
  const conversations = new Map(state.conversations).set(id, change(before));
  return { ...state, conversations };
}

export function presence(state: ChatState, users: Iterable<readonly [string, boolean]>): ChatState {
  return { ...state, people: new Map([...state.people, ...users]) };
}

export function title({ id, peer }: Conversation): string {
  return peer ?? id;
}

/** Online first, then by name; the user of this page is not among them. */
export function others({ people, me }: ChatState): { userId: string; online: boolean }[] {
  return [...people]
    .filter(([userId]) => userId !== me)
    .map(([userId, online]) => ({ userId, online }))
    .sort((a, b) => Number(b.online) - Number(a.online) || a.userId.localeCompare(b.userId));
}
