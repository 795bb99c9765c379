/**
 * Which hosts cannot reach which: {@linkcode Partitions}.
 *
 * @module
 */

/** More than there can be hosts: two of their numbers make one number. */
export const MAX_HOSTS = 4_096;

/** A number for the way from one host to another. */
export function routeOf(from: number, to: number): number {
  return from * MAX_HOSTS + to;
}

/** The partitions of a network, which may overlap. */
export class Partitions {
  /** How many there are on each route. */
  readonly #counts = new Map<number, number>();
  /** Counts calls of `heal()`, so that an older partition ends no newer one. */
  #generation = 0;

  isPartitioned(from: number, to: number): boolean {
    return this.#counts.size > 0 && this.#counts.has(routeOf(from, to));
  }

  /** Partitions one way; the returned function ends that. */
  add(from: number, to: number): () => void {
    const route = routeOf(from, to);
    const generation = this.#generation;
    this.#counts.set(route, (this.#counts.get(route) ?? 0) + 1);
    return () => {
      if (generation !== this.#generation) return;
      const count = this.#counts.get(route)! - 1;
      if (count > 0) this.#counts.set(route, count);
      else this.#counts.delete(route);
    };
  }

  /** Ends all. */
  heal(): void {
    this.#counts.clear();
    this.#generation++;
  }
}
