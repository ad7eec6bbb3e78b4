import type { LinkStatus } from "../link";

const WORDS: Record<LinkStatus["state"], string> = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  refused: "Refused",
  closed: "Disconnected",
};

const POPOVER = "link-details";

/** Which node serves this page, over what, and how fast; the details are a click away. */
export function Status({ link }: { link: LinkStatus }) {
  const connected = link.state === "connected";
  return (
    <div class="status">
      <button class={`status-pill ${link.state}`} popovertarget={POPOVER} data-testid="status" data-node={link.nodeId} data-state={link.state}>
        <i class="lamp" />
        {connected ? (
          <>
            <strong>{link.nodeId ?? "connected"}</strong>
            <span class="status-more">{link.transport}</span>
            {link.roundTripMs !== undefined && <span class="status-more">{milliseconds(link.roundTripMs)}</span>}
          </>
        ) : (
          WORDS[link.state]
        )}
      </button>
      <div id={POPOVER} class="status-details" popover="auto">
        <h3>This connection</h3>
        <dl>
          <Fact name="State" value={WORDS[link.state]} />
          <Fact name="Node" value={link.nodeId} />
          <Fact name="Transport" value={link.transport} />
          <Fact name="Round trip" value={link.roundTripMs === undefined ? undefined : milliseconds(link.roundTripMs)} />
          <Fact name="Socket" value={link.socketId} />
        </dl>
        <p>Every node shows the same conversations. Reload the page and the load balancer may pick another one.</p>
      </div>
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string | undefined }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value ?? "–"}</dd>
    </>
  );
}

function milliseconds(duration: number): string {
  return duration < 10 ? `${duration.toFixed(1)} ms` : `${Math.round(duration)} ms`;
}
