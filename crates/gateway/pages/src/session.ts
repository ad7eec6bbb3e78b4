/** Who the user of this page is: from the address, from an earlier visit, or from the sign-in form. */

export interface Demo {
  auth: "jwt" | "insecure-query";
  nodeId?: string;
  version?: string;
  /** `POST /api/demo/token` mints tokens: development only. */
  devTokens: boolean;
}

export interface Identity {
  /** Under `jwt` a wish until the server confirms it with `connected`. */
  userId: string;
  token?: string;
}

const USER_KEY = "trunkline.user";
const TOKEN_KEY = "trunkline.token";

/** How this server wants its users to sign in. A server that doesn't say is taken for one that asks for a name only. */
export async function demo(): Promise<Demo> {
  try {
    const response = await fetch("/api/demo", { headers: { accept: "application/json" } });
    if (response.ok) return (await response.json()) as Demo;
  } catch {
    // Not reachable: the connection itself will say so, with retries.
  }
  return { auth: "insecure-query", devTokens: false };
}

/** The identity that needs no question, if there is one. A token is taken out of the address bar. */
export async function remembered(server: Demo): Promise<Identity | undefined> {
  const userId = parameter("user") ?? localStorage.getItem(USER_KEY) ?? undefined;
  if (server.auth === "insecure-query") return userId ? { userId } : undefined;
  const token = tokenFromAddress() ?? sessionStorage.getItem(TOKEN_KEY) ?? undefined;
  if (token) return withToken(token);
  return server.devTokens && userId ? { userId, token: await developmentToken(userId) } : undefined;
}

/** Keeps the name for the next visit and the token for this tab. */
export function remember(identity: Identity): void {
  if (!parameter("user")) localStorage.setItem(USER_KEY, identity.userId);
  if (identity.token) sessionStorage.setItem(TOKEN_KEY, identity.token);
}

export function forget(): void {
  localStorage.removeItem(USER_KEY);
  sessionStorage.removeItem(TOKEN_KEY);
  const address = new URL(location.href);
  address.searchParams.delete("user");
  history.replaceState(null, "", address);
}

/** The name in a token, for display before the server answers; the server alone decides whether it is valid. */
export function withToken(token: string): Identity {
  return { userId: subject(token) ?? "", token };
}

/** @throws Error with a text for the user when the server does not mint one. */
export async function developmentToken(userId: string): Promise<string> {
  const response = await fetch("/api/demo/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ userId }),
  });
  const answer = (await response.json().catch(() => ({}))) as { token?: string; message?: string };
  if (!response.ok || !answer.token) throw new Error(answer.message ?? `No token for ${userId} (${response.status})`);
  return answer.token;
}

export function parameter(name: string): string | undefined {
  return new URLSearchParams(location.search).get(name)?.trim() || undefined;
}

function tokenFromAddress(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get("token")?.trim() || undefined;
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

function subject(token: string): string | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const id = claims["sub"] ?? claims["userId"] ?? claims["id"];
    return id === undefined ? undefined : String(id);
  } catch {
    return undefined;
  }
}
