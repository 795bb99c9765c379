/**
 * The search for an order of operations that explains their results:
 * {@linkcode findOrder}. The algorithm is that of Wing and Gong with the
 * memory of Lowe: what was done and the state that came of it are tried once.
 *
 * @module
 */

import { canonical } from "./canonical.ts";
import type { Operation } from "./history.ts";
import type { Model } from "./models.ts";

/** Which orders count as explanations. */
export type Consistency = "linearizable" | "sequential";

/** The findings of a search. */
export interface Search {
  readonly verdict: "ok" | "violation" | "unknown";
  /** How many operations were tried. */
  readonly steps: number;
}

/** Settings of {@linkcode findOrder}. */
export interface SearchOptions {
  consistency: Consistency;
  /** How many operations to try at most. */
  limit: number;
  /** More operations, each of which may take effect at any time, any times. */
  repeatable?: readonly Operation[];
}

/**
 * With repeated operations a list takes ever longer states, without an end. A
 * state of so many letters stops that; the number is a choice.
 */
const LONGEST_STATE = 200;

/** A choice that can be taken back. */
interface Choice<State> {
  readonly candidates: readonly number[];
  next: number;
  readonly state: State;
  /** The operation that led here, if it is done by that; otherwise -1. */
  readonly chosen: number;
}

/**
 * Looks for an order in which the model gives the results of the operations.
 * Those without a return are free to have no effect.
 */
export function findOrder<State>(
  operations: readonly Operation[],
  model: Model<State>,
  { consistency, limit, repeatable = [] }: SearchOptions,
): Search {
  const pending = new Pending(operations, consistency, repeatable);
  const seen = new Set<string>();
  const stack = [choiceAt(pending, model.initial, -1)];
  let steps = 0;
  while (pending.mustStill > 0) {
    const top = stack.at(-1);
    if (top === undefined) return { verdict: "violation", steps };
    const index = top.candidates[top.next++];
    if (index === undefined) {
      stack.pop();
      if (top.chosen >= 0) pending.undo(top.chosen);
      continue;
    }
    if (++steps > limit) return { verdict: "unknown", steps: limit };
    const operation = pending.operations[index]!;
    const isOnce = index < pending.count;
    const state = explain(operation, model, top.state, isOnce);
    if (state === NONE) continue;
    if (isOnce) pending.do(index);
    const text = canonical(state);
    if (!isOnce && text.length > LONGEST_STATE) {
      return { verdict: "unknown", steps };
    }
    const key = `${pending.key()} ${text}`;
    if (!seen.has(key)) {
      seen.add(key);
      stack.push(choiceAt(pending, state as State, isOnce ? index : -1));
    } else if (isOnce) pending.undo(index);
  }
  return { verdict: "ok", steps };
}

function choiceAt<State>(
  pending: Pending,
  state: State,
  chosen: number,
): Choice<State> {
  return { candidates: pending.candidates(), next: 0, state, chosen };
}

const NONE = Symbol("no state");

/** The state after an operation, if it can have returned what it did. */
function explain<State>(
  operation: Operation,
  model: Model<State>,
  before: State,
  isOnce: boolean,
): State | typeof NONE {
  const { name, args, returned, result } = operation;
  const outcome = model.apply(before, name, args);
  if (returned === Infinity || !isOnce) {
    // Without an effect it is as well left out.
    const isIdle = canonical(outcome.state) === canonical(before);
    return isIdle ? NONE : outcome.state;
  }
  const isRight = !("result" in outcome) ||
    canonical(outcome.result) === canonical(result);
  return isRight ? outcome.state : NONE;
}

/** Which operations have still to find their place. */
class Pending {
  /** By their calls, then those without a return, then the repeatable ones. */
  readonly operations: readonly Operation[];
  /** How many of them take effect only once. */
  readonly count: number;
  /** How many of them have returned, and are not done. */
  mustStill: number;
  readonly #isSequential: boolean;
  readonly #returned: number;
  readonly #isDone: boolean[];
  readonly #repeatable: readonly number[];
  /** All before this one are done. */
  #first = 0;

  constructor(
    operations: readonly Operation[],
    consistency: Consistency,
    repeatable: readonly Operation[],
  ) {
    const isOpen = ({ returned }: Operation) => returned === Infinity;
    const sorted = operations.toSorted((a, b) => a.called - b.called);
    const returned = sorted.filter((operation) => !isOpen(operation));
    // Repeating the same call is no news.
    const more = new Map(
      repeatable.map((call) => [canonical([call.name, call.args]), call]),
    );
    const count = this.count = operations.length;
    this.operations = [...returned, ...sorted.filter(isOpen), ...more.values()];
    this.mustStill = this.#returned = returned.length;
    this.#isSequential = consistency === "sequential";
    this.#isDone = operations.map(() => false);
    this.#repeatable = Array.from(more.values(), (_, i) => count + i);
  }

  do(index: number): void {
    this.#isDone[index] = true;
    if (index < this.#returned) this.mustStill--;
    while (this.#isDone[this.#first]) this.#first++;
  }

  undo(index: number): void {
    this.#isDone[index] = false;
    if (index < this.#returned) this.mustStill++;
    this.#first = Math.min(this.#first, index);
  }

  /** What is done, as a short text. */
  key(): string {
    let key = `${this.#first}`;
    let more = this.#returned - this.mustStill -
      Math.min(this.#first, this.#returned);
    let index = this.#first + 1;
    for (; more > 0; index++) {
      if (!this.#isDone[index]) continue;
      key += `,${index}`;
      more--;
    }
    index = Math.max(this.#first, this.#returned);
    for (; index < this.#isDone.length; index++) {
      if (this.#isDone[index]) key += `,${index}`;
    }
    return key;
  }

  /** Which operations may come next. */
  candidates(): number[] {
    const next = this.#isSequential
      ? this.#nextOfClients()
      : this.#beforeFirstReturn();
    return [...next, ...this.#repeatable];
  }

  #beforeFirstReturn(): number[] {
    const found: number[] = [];
    let firstReturn = Infinity;
    for (let i = this.#first; i < this.#isDone.length; i++) {
      if (this.#isDone[i]) continue;
      const { called, returned } = this.operations[i]!;
      if (called < firstReturn) found.push(i);
      // Later ones were called later still: only those without a return are left.
      else if (i < this.#returned) i = this.#returned - 1;
      else break;
      firstReturn = Math.min(firstReturn, returned);
    }
    return found;
  }

  /**
   * The next operation of each client; before that, those without a return, whose
   * client has gone on without waiting for them.
   */
  #nextOfClients(): number[] {
    const next = new Map<string, number>();
    const found: number[] = [];
    for (let i = this.#first; i < this.#isDone.length; i++) {
      if (this.#isDone[i]) continue;
      const { client, called } = this.operations[i]!;
      const before = this.operations[next.get(client) ?? -1];
      if (before !== undefined && before.called < called) continue;
      found.push(i);
      if (i < this.#returned) next.set(client, i);
    }
    return found;
  }
}
