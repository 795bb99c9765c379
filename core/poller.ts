/**
 * An engine that brings the events of the system by itself, beside the runtime.
 *
 * @module
 */

/** Brings the events of its sources while a loop runs. */
export interface Poller {
  /** A loop begins: looks for events now, and again and again. */
  start(): void;
  /** A loop has ended. */
  stop(): void;
  /**
   * Waits, after {@linkcode Poller.stop}, until no operation of the system is in
   * flight.
   *
   * @returns `null` if none is, or another loop needs it.
   */
  settled(): Promise<void> | null;
}

/** The name of the property by which a network names its poller. */
export const POLLER: unique symbol = Symbol("poller");

/** The poller of a network's connections, before there is one. */
export function pollerOf(network: object): Poller | undefined {
  return (network as { readonly [POLLER]?: Poller })[POLLER];
}

/** The pollers of one map. */
export class Pollers {
  readonly #pollers: Poller[] = [];
  #isRunning = false;

  /** A source in the map belongs to `poller`, or to Deno. */
  use(poller: Poller | undefined): void {
    if (poller === undefined || this.#pollers.includes(poller)) return;
    this.#pollers.push(poller);
    if (this.#isRunning) poller.start();
  }

  /** The map's loop begins. */
  start(): void {
    this.#isRunning = true;
    for (const poller of this.#pollers) poller.start();
  }

  /** The map's loop has ended. */
  stop(): void {
    this.#isRunning = false;
    for (const poller of this.#pollers) poller.stop();
  }

  /**
   * Waits until none of them has an operation of the system in flight.
   *
   * @returns `null` if none has.
   */
  settled(): Promise<unknown> | null {
    if (this.#pollers.length === 0) return null;
    const operations = this.#pollers.map((poller) => poller.settled())
      .filter((operation) => operation !== null);
    return operations.length === 0 ? null : Promise.all(operations);
  }
}
