/**
 * Keys of the members that the library's own modules share. A program never
 * needs them, so the documentation leaves those members out.
 *
 * @module
 */

/** Of a dispatcher: its socket's present life, or `null`. */
export const ENTRY: unique symbol = Symbol("entry");

/** Of a dispatcher: the same, or an error that says why an action needs it. */
export const CONNECTION: unique symbol = Symbol("connection");

/** Of a dispatcher: its map, which an override of `map` cannot hide. */
export const MAP: unique symbol = Symbol("map");

/** Of a dispatcher: how long its connections may last. */
export const LIMITS: unique symbol = Symbol("limits");

/** Of a dispatcher: whether nobody would see a line of a type in its log. */
export const IGNORES: unique symbol = Symbol("ignores");

/** Of a dispatcher: logs a line of the library's own. */
export const WRITE_LINE: unique symbol = Symbol("write line");

/** Of a map: the engine that runs its passes. */
export const REACTOR: unique symbol = Symbol("reactor");
