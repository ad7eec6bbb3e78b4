/** A server forgets a typist after 5 s, so a writer is announced again a little earlier than that. */
const ANNOUNCE_MS = 3_000;
const IDLE_MS = 3_000;
const FORGET_MS = 6_000;

/** Tells the others when this user starts and stops writing, and no more often than needed. */
export class Writing {
  #conversationId: string | undefined;
  #announced = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly tell: (event: "typing:start" | "typing:stop", conversationId: string) => void) {}

  keystroke(conversationId: string): void {
    if (this.#conversationId !== conversationId) this.stop();
    if (Date.now() - this.#announced > ANNOUNCE_MS) {
      this.#announced = Date.now();
      this.#conversationId = conversationId;
      this.tell("typing:start", conversationId);
    }
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.stop(), IDLE_MS);
  }

  stop(): void {
    clearTimeout(this.#idle);
    if (this.#conversationId !== undefined) this.tell("typing:stop", this.#conversationId);
    this.#conversationId = undefined;
    this.#announced = 0;
  }
}

/** Who is writing elsewhere. A stop that never arrives is made up for. */
export class Typists {
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(private readonly changed: (conversationId: string, userId: string, typing: boolean) => void) {}

  start(conversationId: string, userId: string): void {
    const key = this.#forget(conversationId, userId);
    this.#timers.set(key, setTimeout(() => this.stop(conversationId, userId), FORGET_MS));
    this.changed(conversationId, userId, true);
  }

  stop(conversationId: string, userId: string): void {
    if (this.#timers.delete(this.#forget(conversationId, userId))) this.changed(conversationId, userId, false);
  }

  #forget(conversationId: string, userId: string): string {
    const key = JSON.stringify([conversationId, userId]);
    clearTimeout(this.#timers.get(key));
    return key;
  }
}
