/**
 * Reads a table of states. connection.ts, sending.ts and listener.ts have the
 * tables.
 *
 * @module
 */

/** A table: for each state, the next state after each event. */
export type States = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The events of a table. */
export type EventOf<T extends States> = {
  [State in keyof T]: keyof T[State];
}[keyof T];

/** The next state after an event. An event that the state does not list changes nothing. */
export function next<T extends States>(
  states: T,
  state: keyof T,
  event: EventOf<T>,
): keyof T {
  const transitions: Readonly<Record<string, string>> = states[state]!;
  return transitions[event as string] ?? state;
}
