import { useState } from "preact/hooks";

import { developmentToken, withToken, type Demo, type Identity } from "../session";
import { Avatar } from "./avatar";
import { Logo } from "./logo";

const NAMES = ["Ada", "Grace", "Alan", "Radia", "Vint", "Almon"];

interface Props {
  server: Demo;
  problem?: string | undefined;
  onIdentity(identity: Identity): void;
}

/** Asks for what the server needs: a name, or a token where it mints none for names. */
export function SignIn({ server, problem: earlier, onIdentity }: Props) {
  const wantsToken = server.auth === "jwt" && !server.devTokens;
  const [problem, setProblem] = useState(earlier);
  const [busy, setBusy] = useState(false);

  const signIn = async (answer: string): Promise<void> => {
    const given = answer.trim();
    if (!given) return;
    setBusy(true);
    try {
      if (wantsToken) onIdentity(withToken(given));
      else if (server.auth === "jwt") onIdentity({ userId: given, token: await developmentToken(given) });
      else onIdentity({ userId: given });
    } catch (error) {
      setProblem((error as Error).message);
      setBusy(false);
    }
  };

  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    void signIn(String(new FormData(event.currentTarget as HTMLFormElement).get("answer") ?? ""));
  };

  return (
    <main class="signin">
      <TrunkLines />
      <section class="signin-card">
        <Logo size={44} />
        <h1>Trunkline</h1>
        <p class="lede">
          One chat, served by many nodes. Whoever you talk to may be connected to another one; you won’t notice.
        </p>
        <form onSubmit={submit}>
          {wantsToken ? (
            <label>
              Access token
              <textarea name="answer" rows={4} required autofocus spellcheck={false} placeholder="eyJhbGciOi…" />
            </label>
          ) : (
            <label>
              Your name
              <input name="answer" required autofocus maxLength={64} autocomplete="nickname" spellcheck={false} placeholder="Ada" />
            </label>
          )}
          <button class="primary" disabled={busy}>
            Join the line
          </button>
          {problem && (
            <p class="form-problem" role="alert">
              {problem}
            </p>
          )}
        </form>
        {!wantsToken && (
          <div class="suggestions" role="group" aria-label="Or be one of these">
            {NAMES.map((name) => (
              <button key={name} class="chip" disabled={busy} onClick={() => void signIn(name)}>
                <Avatar userId={name} size={22} />
                {name}
              </button>
            ))}
          </div>
        )}
      </section>
      {server.nodeId && (
        <p class="signin-foot">
          Served by <strong>{server.nodeId}</strong>
          {server.version && ` · version ${server.version}`}
        </p>
      )}
    </main>
  );
}

/** The background: lines coming in from both sides, meeting in the trunk behind the card. */
function TrunkLines() {
  const ends = [-420, -310, -215, -130, -60, 0, 60, 130, 215, 310, 420];
  return (
    <svg class="trunk-lines" viewBox="-800 -450 1600 900" preserveAspectRatio="xMidYMid slice" fill="none" aria-hidden="true">
      {ends.map((y) => (
        <g key={y}>
          <path d={`M-800 ${y}C-480 ${y} -420 0 -200 0H200C420 0 480 ${y} 800 ${y}`} />
          <circle cx={-657} cy={y * 0.923} r="4" />
          <circle cx={657} cy={y * 0.923} r="4" />
        </g>
      ))}
    </svg>
  );
}
