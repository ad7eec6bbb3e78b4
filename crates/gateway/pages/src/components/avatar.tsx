import { hue, initials } from "../format";

/** Initials on a colour of the user's own; a dot says whether they are online, where that is known. */
export function Avatar({ userId, online, size = 32 }: { userId: string; online?: boolean | undefined; size?: number }) {
  return (
    <span class="avatar" style={`--hue:${hue(userId)};--size:${size}px`} aria-hidden="true">
      {initials(userId)}
      {online !== undefined && <i class={online ? "dot online" : "dot"} />}
    </span>
  );
}
