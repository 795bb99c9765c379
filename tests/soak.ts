/**
 * The soak: thousands of connections over real sockets, with random loads,
 * faults and errors in hooks, all drawn from a printed seed. Every byte that
 * should arrive is checked, and at the end all is as it was before:
 *
 *     deno task soak [MINUTES] [--seed SEED] [--only CONNECTION]
 *
 * With the number of a connection, only that one is made, again and again. The
 * first byte or hook that is wrong ends the soak. The last line counts what was
 * promised as tests are counted, and the exit code is 1 if something is wrong.
 *
 * It runs in a thread of its own, so that this one can end it, whatever it does.
 *
 * @module
 */

import {
  parseWhole,
  runCommand,
  UsageError,
} from "../examples/command_line.ts";
import { quote } from "../examples/quote.ts";
import type { Message, Order, Verdict } from "./soak/messages.ts";

/** How long a soak may take, in ms, beyond twice its time. */
const GRACE = 30_000;
/** A thread that is silent for so long, in ms, does not turn any more. */
const SILENCE = 30_000;
/** How often a line is printed where it cannot be overwritten, in ms. */
const LINE_EVERY = 5_000;
const BAR = 16;
const USAGE = `\
Usage: deno task soak [MINUTES] [--seed SEED] [--only CONNECTION] [--help]

Runs thousands of connections with random loads and faults over real sockets.

  MINUTES            how long; by default 1
  --seed SEED        a number that all of it is drawn from; by default by chance
  --only CONNECTION  make only the one with this number, again and again`;

const isFancy = Deno.stdout.isTerminal() && !Deno.noColor;

/** Watches the thread of the soak, and prints what it tells. */
class Watch {
  readonly #order: Order;
  readonly #worker: Worker;
  readonly #outcome = Promise.withResolvers<number>();
  readonly #startedAt = performance.now();
  #waitsFor = "its start";
  #heardAt = performance.now();
  #printedAt = -Infinity;

  constructor(order: Order) {
    this.#order = order;
    const url = new URL("./soak/run.ts", import.meta.url);
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`uncaught error: ${event.message}`);
    };
  }

  /** Waits for the end; returns the exit code. */
  async run(): Promise<number> {
    const silence = setInterval(() => {
      if (performance.now() - this.#heardAt > SILENCE) this.#onSilence();
    }, 1_000);
    const limit = 2 * this.#order.minutes * 60_000 + GRACE;
    const deadline = setTimeout(() => {
      this.#fail(`it has not ended, and waits for ${this.#waitsFor}`);
    }, limit);
    const code = await this.#outcome.promise;
    clearInterval(silence);
    clearTimeout(deadline);
    this.#worker.terminate();
    return code;
  }

  get #seconds(): number {
    return Math.round((performance.now() - this.#startedAt) / 1_000);
  }

  #onSilence(): void {
    const [running] = new Int32Array(this.#order.running);
    this.#fail(
      `its thread does not turn; the last hook that ran was of connection ${running}` +
        `\nbefore, it waited for ${this.#waitsFor}`,
    );
  }

  #hear(message: Message): void {
    this.#heardAt = performance.now();
    if (message.type === "ready") this.#worker.postMessage(this.#order);
    else if (message.type === "progress") {
      this.#waitsFor = message.waitsFor;
      this.#showProgress(message.line);
    } else if (message.type === "done") {
      print(`\n${message.table}\n`);
      this.#conclude(message.verdicts);
    } else this.#fail(message.text, message.plan);
  }

  #showProgress(line: string): void {
    const total = this.#order.minutes * 60;
    const time = `${this.#seconds} of ${Math.round(total)} s`;
    if (isFancy) {
      const done = Math.round(BAR * Math.min(1, this.#seconds / total));
      const bar = "█".repeat(done) + "░".repeat(BAR - done);
      const { columns } = Deno.consoleSize();
      write(`\r\x1b[K${`${bar} ${time}: ${line}`.slice(0, columns - 1)}`);
    } else if (performance.now() - this.#printedAt >= LINE_EVERY - 500) {
      this.#printedAt = performance.now();
      print(`${time}: ${line}`);
    }
  }

  /** Says what became of each promise. */
  #conclude(verdicts: Verdict[]): void {
    for (const { promise, wrong } of verdicts) {
      const mark = wrong === null ? paint("ok", 32) : paint("FAILED", 31);
      print(`${promise} ... ${mark}${wrong === null ? "" : `: ${wrong}`}`);
    }
    const failed = verdicts.filter(({ wrong }) => wrong !== null).length;
    if (failed > 0) this.#sayHowToRepeat(null);
    this.#end(verdicts.length - failed, failed);
  }

  /** Something is wrong before the end: nothing else has been proved. */
  #fail(text: string, plan: number | null = null): void {
    print(`\n${paint("WRONG", 31)}: ${text}`);
    this.#sayHowToRepeat(plan);
    this.#end(0, 1);
  }

  #sayHowToRepeat(plan: number | null): void {
    const { seed, minutes, only } = this.#order;
    const command = `deno task soak ${minutes} --seed ${seed}`;
    print(
      `\nThe same again: ${command}${only === null ? "" : ` --only ${only}`}`,
    );
    if (plan === null || only !== null) return;
    print(`Nothing but such connections: ${command} --only ${plan}`);
  }

  #end(passed: number, failed: number): void {
    const mark = failed === 0 ? paint("ok", 32) : paint("FAILED", 31);
    print(
      `\n${mark} | ${passed} passed | ${failed} failed (${this.#seconds}s)`,
    );
    this.#outcome.resolve(failed === 0 ? 0 : 1);
  }
}

function paint(text: string, color: number): string {
  return isFancy ? `\x1b[${color}m${text}\x1b[39m` : text;
}

function print(text: string): void {
  if (isFancy) write("\r\x1b[K");
  console.log(text);
}

function write(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

async function soak(order: Omit<Order, "directory">): Promise<number> {
  print(`seed ${order.seed}`);
  const directory = Deno.makeTempDirSync();
  try {
    return await new Watch({ ...order, directory }).run();
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** How long, in minutes. */
function parseMinutes(text: string): number {
  const minutes = /^\d{1,4}(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (minutes > 0) return minutes;
  throw new UsageError(
    `MINUTES must be a number above 0 and below 10000, got ${quote(text)}`,
  );
}

/** The number that an option gives, or `null` without it. */
function parseNumber(name: string, text: string | undefined): number | null {
  return text === undefined ? null : parseWhole(name, text, 0, 9_999_999_999);
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: { seed: { type: "string" }, only: { type: "string" } },
    operands: ["MINUTES"],
    isOptional: true,
  }, ({ seed, only }, [minutes = "1"]) =>
    soak({
      minutes: parseMinutes(minutes),
      only: parseNumber("--only", only),
      seed: parseNumber("--seed", seed) ??
        Math.floor(Math.random() * 2 ** 32),
      running: new SharedArrayBuffer(4),
    }));
}
