const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

export function timeOf(timestamp: string): string {
  const at = Date.parse(timestamp);
  return Number.isNaN(at) ? "" : clock.format(at);
}

export function dayOf(timestamp: string): string {
  const at = Date.parse(timestamp);
  if (Number.isNaN(at)) return "";
  const midnight = (time: number): number => new Date(time).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(at) - midnight(Date.now())) / 86_400_000);
  return days > -2 ? capitalised(relative.format(days, "day")) : date.format(at);
}

/** One or two letters that stand for a user. */
export function initials(userId: string): string {
  const words = userId.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...(word ?? "")][0]) : [...(words[0] ?? "?")].slice(0, 1);
  return letters.join("").toUpperCase();
}

/** A hue in degrees, always the same for the same user. */
export function hue(userId: string): number {
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of userId) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return hash % 360;
}

/** "Ada is typing…", "Ada and Alan are typing…", "Ada, Alan and 2 others are typing…" */
export function typingText(users: readonly string[]): string {
  const [first, second] = users;
  if (first === undefined) return "";
  if (second === undefined) return `${first} is typing…`;
  if (users.length === 2) return `${first} and ${second} are typing…`;
  const others = users.length - 2;
  return `${first}, ${second} and ${others} ${others === 1 ? "other" : "others"} are typing…`;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
