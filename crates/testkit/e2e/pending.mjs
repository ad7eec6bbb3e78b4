/**
 * What is promised for later: the tests are written, are skipped, and say what they wait for.
 * `E2E_PENDING=1` runs them all the same.
 */
const pending = (reason) => (process.env.E2E_PENDING ? false : reason);

/** Sockets of one polling or upgraded connection that differ by more than their namespace. */
export const NAMESPACE_IDS = pending("needs socket ids per namespace: on the socketioxide lane all sockets of a connection have one id, and what one sends leaves out the others");

/** A close of the WebSocket lane as Node.js does it: python-socketio takes the engine's close packet for a request to stay away. */
