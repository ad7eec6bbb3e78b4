import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 15;

/**
 * Tries `check` until it returns without throwing, at most for `ms`; then fails with its last error. `hopeless` ends
 * it early for an error that time won't heal.
 */
export async function eventually(check, ms = 5_000, hopeless = () => false) {
  const deadline = performance.now() + ms;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > deadline || hopeless(error)) throw error;
      await pause(POLL_MS);
    }
  }
}

/** Fails when `promise` takes longer than `ms`. */
export async function within(promise, ms, what) {
  const controller = new AbortController();
  const late = pause(ms, undefined, { signal: controller.signal }).then(() => {
    throw new Error(`${what}: not within ${ms} ms`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    controller.abort();
  }
}
