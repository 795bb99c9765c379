/**
 * Keys of members that only the library's own modules use. The documentation
 * leaves those members out.
 *
 * @module
 */

/** Of a dispatcher: its present socket, or `null`. */
export const ENTRY: unique symbol = Symbol("entry");

/** Of a dispatcher: its connection. Throws if it has none. */
export const CONNECTION: unique symbol = Symbol("connection");

/** Of a dispatcher: its map, even if a class overrides `map`. */
export const MAP: unique symbol = Symbol("map");

/** Of a dispatcher: whether its log ignores lines of a type. */
export const IGNORES: unique symbol = Symbol("ignores");

/** Of a dispatcher: logs a line that the library writes by itself. */
export const WRITE_LINE: unique symbol = Symbol("write line");

/** Of a map: the engine that runs its passes. */
export const REACTOR: unique symbol = Symbol("reactor");

/** Of a dispatcher: its socket, if that is a connection, or `null`. */
export const CURRENT: unique symbol = Symbol("current");

/** Of a dispatcher: its open socket. Throws if it has none. */
export const SOCKET: unique symbol = Symbol("socket");

/** Of a dispatcher: turns its new socket into a connection or a listener. */
export const OPEN: unique symbol = Symbol("open");

/** Of a dispatcher: goes on with work that waited for room, or for its turn. */
export const WAKE: unique symbol = Symbol("wake");

/** Of a dispatcher: what its buffered bytes have to pass (see gate.ts). */
export const GATE: unique symbol = Symbol("gate");

/** Of a dispatcher: sends a piece of what was buffered, through its `send()`. */
export const SEND_THROUGH: unique symbol = Symbol("send through");

/** Of a chat: it overrides `initiateSend()`. */
export const INITIATES: unique symbol = Symbol("initiates");

/** Of a dispatcher: a write event would bring the loop nearer to its end. */
export const HAS_OUTPUT: unique symbol = Symbol("has output");

/**
 * Of a dispatcher: gives up the bytes that it has received and not handed out, for
 * the next dispatcher of its connection. It gets a function that sends what waits
 * at the gate, and calls it when nothing of its own forbids to hand over.
 */
export const HAND_OVER: unique symbol = Symbol("hand over");

/**
 * Of a network: makes a channel of a file that Deno has opened, so that no read of
 * it holds a thread; `null` if Deno has to read it.
 */
export const FILE_CHANNEL: unique symbol = Symbol("file channel");

/**
 * Of a channel: both sides are in this process. Closing it takes no bytes from the
 * peer, so `close()` does not wait for the peer's end.
 */
export const IN_PROCESS: unique symbol = Symbol("in process");
