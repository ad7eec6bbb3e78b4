import { io, type Socket } from "socket.io-client";

import { developmentToken, parameter, type Demo, type Identity } from "./session";
import type { Connected, Failure } from "./wire";

export interface LinkStatus {
  /** `refused`: the server does not let this user in. `closed`: it told us to stay away, or we left. */
  state: "connecting" | "connected" | "reconnecting" | "refused" | "closed";
  transport?: string | undefined;
  nodeId?: string | undefined;
  socketId?: string | undefined;
  roundTripMs?: number | undefined;
  /** Why it is not connected, for the user. */
  problem?: string | undefined;
}

/** A request that the server refused, or that got no answer. */
export class RequestFailed extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryable: boolean,
  ) {
    super(message);
  }
}

export interface LinkEvents {
  status(change: Partial<LinkStatus>): void;
  /** A new session has begun: the server knows of no conversation that this socket was in before. */
  up(): void;
  down(): void;
  connected(who: Connected): void;
  event(name: string, payload: unknown): void;
}

const ANSWER_MS = 10_000;
const REFRESHES_IN_A_ROW = 2;

/** The connection to whichever node the load balancer picks, made again when it is lost. */
export class Link {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  #token: string | undefined;
  #refreshes = 0;

  constructor(
    private readonly server: Demo,
    private readonly identity: Identity,
    events: LinkEvents,
  ) {
    this.#events = events;
    this.#token = identity.token;
    this.#socket = io({
      autoConnect: false,
      transports: parameter("transport") === "polling" ? ["polling"] : ["websocket", "polling"],
      tryAllTransports: true,
      reconnectionDelay: 300,
      reconnectionDelayMax: 4000,
      ...(server.auth === "insecure-query" ? { query: { userId: identity.userId } } : {}),
      auth: (answer) => answer(server.auth === "jwt" ? { token: this.#token } : {}),
    });
    this.#listen();
  }

  open(): void {
    this.#events.status({ state: "connecting", problem: undefined });
    this.#socket.connect();
  }

  close(): void {
    this.#socket.disconnect();
  }

  /**
   * Sends an event and waits for its ack.
   * @throws RequestFailed also at once while there is no connection: nothing is kept for later.
   */
  async request<T>(event: string, ...payload: unknown[]): Promise<T> {
    if (!this.#socket.connected) throw new RequestFailed("unavailable", "Not connected", true);
    let answer: ({ success?: boolean } & Failure) | undefined;
    try {
      answer = await this.#socket.timeout(ANSWER_MS).emitWithAck(event, ...payload);
    } catch {
      throw new RequestFailed("unavailable", this.#socket.connected ? "The server did not answer in time" : "The connection was lost", true);
    }
    if (answer?.success) return answer as T;
    throw new RequestFailed(answer?.error ?? "internal", answer?.message ?? `${event} failed`, answer?.retryable ?? false);
  }

  /** Fire and forget: dropped while there is no connection. */
  tell(event: string, payload: unknown): void {
    if (this.#socket.connected) this.#socket.emit(event, payload);
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => {
      this.#refreshes = 0;
      const engine = socket.io.engine;
      engine.on("upgrade", () => this.#events.status({ transport: engine.transport.name }));
      this.#events.status({ state: "connected", transport: engine.transport.name, socketId: socket.id, problem: undefined });
      this.#events.up();
    });
    socket.on("disconnect", (reason) => {
      const state = socket.active ? "reconnecting" : "closed";
      const problem = reason === "io server disconnect" ? "The server closed this connection" : "The connection was lost";
      this.#events.status({ state, problem, transport: undefined, roundTripMs: undefined });
      this.#events.down();
    });
    socket.on("connect_error", (error) => {
      if (socket.active) this.#events.status({ state: "reconnecting", problem: "No node can be reached" });
      else void this.#refused(error.message);
    });
    socket.on("connected", (who: Connected) => {
      this.#events.status({ nodeId: who.nodeId });
      this.#events.connected(who);
    });
    socket.on("auth:expiring", () => void this.#refresh().catch(() => undefined));
    socket.onAny((name: string, payload: unknown) => this.#events.event(name, payload));
  }

  async #refused(problem: string): Promise<void> {
    const expired = problem.includes("expired");
    if (expired && this.server.devTokens && this.#refreshes < REFRESHES_IN_A_ROW) {
      this.#refreshes += 1;
      try {
        this.#token = await developmentToken(this.identity.userId);
        return this.open();
      } catch {
        // The refusal below tells the user what matters.
      }
    }
    this.#events.status({ state: "refused", problem });
  }

  /** A server that can't refresh closes the socket when the token ends; connecting again then takes the new one. */
  async #refresh(): Promise<void> {
    if (!this.server.devTokens) return;
    this.#token = await developmentToken(this.identity.userId);
    await this.request("auth:refresh", { token: this.#token });
  }
}
