/**
 * Whether a history can be explained by some order of its operations:
 * {@linkcode checkHistory}, {@linkcode assertLinearizable}.
 *
 * @module
 */

import { checkInteger, checkMethods, showValue } from "../core/arguments.ts";
import { checkOptions, type OptionNames } from "../core/option_names.ts";
import { type History, labelOf, type Operation } from "./history.ts";
import { drawHistory } from "./history_picture.ts";
import type { Model } from "./models.ts";
import { type Consistency, findOrder, type Search } from "./order_search.ts";

export type { Consistency };

/** Options of {@linkcode checkHistory}. */
export interface CheckHistoryOptions {
  /**
   * Which orders explain a history. `"linearizable"`: each operation takes effect
   * between its call and its return. `"sequential"`: the operations of each
   * client take effect in their order.
   *
   * @default {"linearizable"}
   */
  consistency?: Consistency | undefined;
  /**
   * How many operations to try at most, for each part of the model: with many
   * operations at once, the search can take forever.
   *
   * @default {1_000_000}
   */
  limit?: number | undefined;
}

const OPTIONS: OptionNames<CheckHistoryOptions> = {
  consistency: true,
  limit: true,
};

const CONSISTENCIES: readonly unknown[] = ["linearizable", "sequential"];
/** A second or so, with a small state. */
const LIMIT = 1_000_000;
/** For each try to leave out operations, and for all together: a second or so. */
const TRY_LIMIT = 100_000;
const SHRINK_LIMIT = 1_000_000;

/** The findings of {@linkcode checkHistory}. */
export class HistoryResult {
  /**
   * Whether there is an order that explains the history; `"unknown"` if the limit
   * was reached before that was clear.
   */
  readonly verdict: "ok" | "violation" | "unknown";
  /** Which orders count. */
  readonly consistency: Consistency;
  /**
   * The operations that no order explains, wherever the others are; for
   * `"unknown"`, those of the part that was not decided.
   */
  readonly operations: readonly Operation[];
  /** How many operations were tried. */
  readonly steps: number;

  /**
   * Made by {@linkcode checkHistory}.
   *
   * @param search What the search has found.
   * @param consistency Which orders count.
   * @param operations The operations that are to be shown.
   */
  constructor(
    search: Search,
    consistency: Consistency,
    operations: readonly Operation[],
  ) {
    this.verdict = search.verdict;
    this.steps = search.steps;
    this.consistency = consistency;
    this.operations = operations;
  }

  /** The verdict in words; after a violation, with a picture of its operations. */
  toString(): string {
    const { verdict, consistency, operations, steps } = this;
    if (verdict === "ok") return `The history is ${consistency}`;
    if (verdict === "unknown") {
      return `It is unknown whether the history is ${consistency}: ${steps} ` +
        `tries did not suffice for ${operations.length} operations. Raise ` +
        "limit, or use a model with partOf(), or fewer calls at once";
    }
    return `The history is not ${consistency}: no order explains\n` +
      drawHistory(operations);
  }
}

/**
 * Looks for an order of operations in which a model gives the same results. A
 * call without a return may take effect at any time after it, or never.
 *
 * The search tries each combination of done operations and state once (Wing
 * and Gong, Lowe). Linearizability is checked for each part of the model alone;
 * sequential consistency needs all parts together, and so costs far more.
 *
 * @param history What to check.
 * @param model What the service is meant to do.
 * @param options Which orders count, and when to give up.
 * @returns The verdict, and after a violation the smallest set of operations
 * that was found for it.
 * @throws {TypeError | RangeError} If an option or the model is wrong.
 *
 * @example The smallest set of operations that cannot be explained
 * ```ts
 * import { checkHistory, History, mapModel } from "@asyncore/asyncore/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const history = new History();
 * const slow = history.call("x", "put", "k", 1);
 * history.call("y", "get", "k").returns(1);
 * history.call("y", "put", "other", 5).returns();
 * history.call("y", "get", "k").returns(undefined);
 * slow.returns();
 * const { verdict, operations } = checkHistory(history, mapModel());
 * assertEquals(verdict, "violation");
 * assertEquals(operations.map(String), ['y: get("k") → 1', 'y: get("k")']);
 * ```
 */
export function checkHistory<State>(
  history: History,
  model: Model<State>,
  options: CheckHistoryOptions = {},
): HistoryResult {
  checkOptions(options, OPTIONS);
  checkMethods("model", model, ["apply"]);
  const { consistency = "linearizable", limit = LIMIT } = options;
  checkInteger("limit", limit, 1);
  if (!CONSISTENCIES.includes(consistency)) {
    throw new TypeError(
      `consistency must be "linearizable" or "sequential", got ${
        showValue(consistency)
      }`,
    );
  }
  const isLinear = consistency === "linearizable";
  const parts = isLinear
    ? partsOf(history.operations, model)
    : [history.operations];
  const whole: Model<unknown> = isLinear ? model : wholeOf(model);
  let steps = 0;
  let unknown: HistoryResult | null = null;
  for (const operations of parts) {
    const search = findOrder(operations, whole, { consistency, limit });
    steps += search.steps;
    if (search.verdict === "violation") {
      const smallest = new Violation(operations, whole, consistency).smallest();
      return new HistoryResult({ ...search, steps }, consistency, smallest);
    }
    if (search.verdict === "unknown") {
      unknown ??= new HistoryResult(search, consistency, operations);
    }
  }
  return unknown ??
    new HistoryResult({ verdict: "ok", steps }, consistency, []);
}

/**
 * Checks that a history is linearizable: each operation seems to take effect at
 * one moment between its call and its return.
 *
 * @param history What to check.
 * @param model What the service is meant to do.
 * @param options When to give up.
 * @throws {Error} If it is not, with a picture of the smallest set of operations
 * that no order explains; or if that is still unknown at the limit.
 *
 * @example A register in a simulation
 * ```ts
 * import { assertLinearizable, registerModel, SimNetwork } from "@asyncore/asyncore/testing";
 *
 * const sim = new SimNetwork();
 * const history = sim.history();
 * sim.host("client").run(async () => {
 *   // here: client.write(1), with a client of your protocol
 *   await history.record("client", "write", [1], () => Promise.resolve());
 * });
 * await sim.run();
 * assertLinearizable(history, registerModel());
 * ```
 */
export function assertLinearizable<State>(
  history: History,
  model: Model<State>,
  options: Omit<CheckHistoryOptions, "consistency"> = {},
): void {
  const linear = { ...options, consistency: "linearizable" } as const;
  const result = checkHistory(history, model, linear);
  if (result.verdict !== "ok") throw new Error(`${result}`);
}

/** The operations on each part of a model. */
function partsOf(
  operations: readonly Operation[],
  model: Model<never> | Model<unknown>,
): readonly (readonly Operation[])[] {
  if (model.partOf === undefined) return [operations];
  return [
    ...Map.groupBy(
      operations,
      ({ name, args }) => model.partOf!(name, args),
    ).values(),
  ];
}

/** A model whose state holds the states of all parts. */
function wholeOf<State>(model: Model<State>): Model<unknown> {
  if (model.partOf === undefined) return model as Model<unknown>;
  return {
    initial: new Map<string, State>(),
    apply: (state, name, args) => {
      const states = state as Map<string, State>;
      const part = model.partOf!(name, args);
      const before = states.get(part) ?? model.initial;
      const outcome = model.apply(before, name, args);
      return { ...outcome, state: new Map(states).set(part, outcome.state) };
    },
  };
}

/** An operation whose return is not known, or left aside. */
class Unreturned implements Operation {
  readonly client: string;
  readonly name: string;
  readonly args: readonly unknown[];
  readonly called: number;
  readonly returned = Infinity;
  readonly result = undefined;
  readonly times: readonly [call: number, end: number];

  constructor(
    operation: Operation,
    client: string = operation.client,
    called: number = operation.called,
  ) {
    this.client = client;
    this.name = operation.name;
    this.args = operation.args;
    this.called = called;
    this.times = [operation.times[0], Infinity];
  }

  toString(): string {
    return `${this.client}: ${labelOf(this)}`;
  }
}

/** Finds the operations that matter in a history that no order explains. */
class Violation {
  readonly #model: Model<unknown>;
  readonly #consistency: Consistency;
  readonly #operations: readonly Operation[];
  /** Left out: they may take effect at any time, any times. */
  #repeatable: readonly Operation[] = [];
  /** Left out: they may take effect at any time, once. */
  #once: readonly Operation[] = [];
  #stepsLeft = SHRINK_LIMIT;

  constructor(
    operations: readonly Operation[],
    model: Model<unknown>,
    consistency: Consistency,
  ) {
    this.#operations = operations;
    this.#model = model;
    this.#consistency = consistency;
  }

  #fails(
    operations: readonly Operation[],
    limit: number = LIMIT,
    repeatable: readonly Operation[] = [],
  ): boolean {
    const options = { consistency: this.#consistency, limit, repeatable };
    const { verdict, steps } = findOrder(operations, this.#model, options);
    this.#stepsLeft -= steps;
    return verdict === "violation";
  }

  /**
   * First the shortest beginning that fails. Then operations are left out, ever
   * fewer at once, as long as the rest fails whenever those took effect: so it is
   * not their absence that makes the failure.
   */
  smallest(): readonly Operation[] {
    let shown = this.#shortestBeginning();
    this.#stepsLeft = SHRINK_LIMIT;
    // The cause is mostly near the end.
    for (let kept = 1; kept < shown.length; kept *= 2) {
      const rest = shown.slice(-kept);
      if (!this.#leavesOut(shown.slice(0, -kept), rest)) continue;
      shown = rest;
      break;
    }
    let size = shown.length;
    while (size > 1) {
      size = Math.ceil(size / 2);
      for (let end = shown.length; end > 0; end -= size) {
        const start = Math.max(0, end - size);
        const rest = [...shown.slice(0, start), ...shown.slice(end)];
        if (this.#leavesOut(shown.slice(start, end), rest)) shown = rest;
      }
    }
    return shown;
  }

  #leavesOut(
    operations: readonly Operation[],
    rest: readonly Operation[],
  ): boolean {
    if (this.#stepsLeft <= 0) return false;
    const limit = TRY_LIMIT;
    // That they may repeat makes it simpler: the search need not know which are done.
    const repeatable = [...this.#repeatable, ...operations];
    if (this.#fails([...rest, ...this.#once], limit, repeatable)) {
      this.#repeatable = repeatable;
      return true;
    }
    // A client of its own for each, so that it may come before all others.
    const free = operations.map((operation, i) =>
      new Unreturned(operation, `\0${this.#once.length + i}`, -1)
    );
    const once = [...this.#once, ...free];
    if (!this.#fails([...rest, ...once], limit, this.#repeatable)) return false;
    this.#once = once;
    return true;
  }

  #shortestBeginning(): readonly Operation[] {
    const returns = this.#operations.map(({ returned }) => returned)
      .filter((returned) => returned < Infinity).sort((a, b) => a - b);
    let [fine, failing] = [-1, returns.length - 1];
    while (failing - fine > 1) {
      const middle = (fine + failing) >> 1;
      if (this.#fails(this.#until(returns[middle]!))) failing = middle;
      else fine = middle;
    }
    return this.#until(returns[failing]!);
  }

  /** The knowledge when the operation with this return had returned. */
  #until(end: number): readonly Operation[] {
    return this.#operations.filter(({ called }) => called < end)
      .map((operation) =>
        operation.returned <= end ? operation : new Unreturned(operation)
      );
  }
}
