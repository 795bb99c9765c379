/** What must hold for any input, and how it is tried. */

import fc from "fast-check";
import { cpuTime } from "../support.ts";
import { type FuzzOptions, readOptions } from "./options.ts";
import type { Watch } from "./watchdog.ts";

/** Something that holds for any input. */
export interface Property<T> {
  /** A sentence that says what holds. */
  name: string;
  /** To try one input costs as much as to try so many of a cheap property. */
  cost?: number;
  /** How many ms of a processor one input may take, with much to spare. */
  budget?: number;
  /** Where inputs come from. */
  input: fc.Arbitrary<T>;
  /** Inputs to begin with, in any case. */
  examples?: T[];
  /** Throws if it does not hold. */
  check(input: T): void | Promise<void>;
}

/** A second for what takes a millisecond is generous. */
const BUDGET = 1_000;
/** A slow input gets so many tries: perhaps it was the garbage. */
const TRIES = 3;
/** How many ms to look for a smaller input that fails. */
const SHRINKING = 20_000;
/** How often to tell how far it is, in ms. */
const TELLING = 5_000;
/** The most characters of an input to show. */
const SHOWN = 20_000;

/** As `run.ts` tells them; the usual ones where the tests are run without it. */
const options: FuzzOptions = Deno.args.length > 0
  ? JSON.parse(Deno.args[0]!)
  : readOptions({}, []);
const { seed } = options;
const print = console.log;

/** How many inputs were begun, and which of them failed first. */
const counts = new Int32Array(new SharedArrayBuffer(8));
const watchdog = new Worker(import.meta.resolve("./watchdog.ts"), {
  type: "module",
});
addEventListener("unload", () => watchdog.terminate());

/** Adds a test that tries a property. */
export function fuzz<T>(property: Property<T>): void {
  Deno.test(property.name, () => tryOut(property));
}

/** Tries a property until an input fails, and then smaller ones. */
async function tryOut<T>(property: Property<T>): Promise<void> {
  const { name, cost = 1, examples = [] } = property;
  const isReplay = options.path !== undefined;
  const runs = isReplay
    ? 1
    : Math.max(Math.ceil(options.runs / cost), examples.length);
  print(`seed ${seed}, ${isReplay ? `path ${options.path}` : `${runs} runs`}`);
  const command = `deno task fuzz --only "${name}" --seed ${seed}`;
  if (!isReplay) {
    watchdog.postMessage({ counts, name, command } satisfies Watch);
  }
  try {
    const trial = new Trial(property, runs);
    const details = await fc.check(
      fc.asyncProperty(property.input, (input) => trial.run(input)),
      {
        seed,
        numRuns: runs,
        examples: examples.map((input): [T] => [input]),
        endOnFailure: isReplay,
        ...isReplay && { path: options.path! },
      },
    );
    if (!details.failed) return;
    const { counterexample, counterexamplePath, numRuns, numShrinks } = details;
    throw new Error(
      `${name}: does not hold for input ${numRuns}, made smaller ${numShrinks} times:\n` +
        `${show(counterexample?.[0])}\nTry it again:\n` +
        `  ${command} --path ${counterexamplePath}`,
      { cause: details.errorInstance },
    );
  } finally {
    counts.fill(0);
  }
}

/** The inputs of one property, one after the other. */
class Trial<T> {
  readonly #property: Property<T>;
  readonly #runs: number;
  #done = 0;
  #told = performance.now();
  #failedAt = Infinity;

  constructor(property: Property<T>, runs: number) {
    this.#property = property;
    this.#runs = runs;
  }

  async run(input: T): Promise<void> {
    const now = performance.now();
    // Smaller inputs that are not tried count as holding: that ends the search.
    if (now - this.#failedAt > SHRINKING) return;
    if (options.path !== undefined) print(show(input));
    Atomics.add(counts, 0, 1);
    this.#tell(now);
    try {
      await checkInTime(this.#property, input);
    } catch (error) {
      this.#failedAt = Math.min(this.#failedAt, now);
      Atomics.compareExchange(counts, 1, 0, Atomics.load(counts, 0));
      throw error;
    }
    this.#done++;
  }

  #tell(now: number): void {
    if (now - this.#told < TELLING) return;
    this.#told = now;
    const isFailed = this.#failedAt < Infinity;
    print(
      isFailed
        ? "does not hold; looking for a smaller input"
        : `${this.#done} of ${this.#runs} runs`,
    );
  }
}

async function checkInTime<T>(property: Property<T>, input: T): Promise<void> {
  const { budget = BUDGET } = property;
  let fastest = Infinity;
  for (let tries = 0; tries < TRIES; tries++) {
    const start = cpuTime();
    await property.check(input);
    fastest = Math.min(fastest, cpuTime() - start);
    if (fastest <= budget) return;
  }
  throw new Error(
    `It took ${Math.round(fastest)} ms of a processor, more than ${budget} ms`,
  );
}

/** An input as one line of plain ASCII, to be pasted into a test. */
function show(input: unknown): string {
  const line = `${JSON.stringify(input)}`.replace(
    /[^ -~]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  if (line.length <= SHOWN) return line;
  return `${line.slice(0, SHOWN)}… (${line.length} characters)`;
}
