/**
 * What a load is, and what it is run with.
 *
 * @module
 */

import type { Order, Traffic } from "./client/traffic.ts";
import type { Competitor } from "./competitors.ts";
import type { Machine } from "./machine.ts";
import { type Launch, Program } from "./program.ts";
import type { Sample } from "./stats.ts";

/** What one measurement of one server has found. */
export interface Finding {
  /** Under which conditions, such as the connections and the message size. */
  title: string;
  sample: Sample;
}

/** A competitor that is ready to be measured, again and again. */
export interface Session extends AsyncDisposable {
  measure(): Promise<Finding[]>;
}

/** Work that all competitors do, one after the other. */
export interface Load {
  /** The word that picks it. */
  id: string;
  /** What is counted: `message`, `line`, … */
  unit: string;
  /** The reference first. */
  competitors: Competitor[];
  /** How many rounds are enough, where each takes its time. */
  mostRounds?: number;
  /** Why `competitor` cannot take part; `null` if it can. */
  excludes?(competitor: Competitor): string | null;
  /** Starts one of them, and lets it warm up. */
  open(competitor: Competitor, bench: Bench): Promise<Session>;
}

/** What a server has used so far. */
export interface Mark {
  /** Processor time, user and system, in µs. */
  cpu: number;
  /** Resident memory, in bytes. */
  rss: number;
}

/** How much a server works before it is measured, in seconds of its processor. */
const WARM = 0.3;
/** How long it works before that is looked at, in seconds. */
const PIECE = 0.2;
const MOST_TRIES = 15;

/** What the loads are run with. */
export class Bench {
  readonly machine: Machine;
  /** How long to measure. */
  readonly seconds: number;

  constructor(machine: Machine, seconds: number) {
    this.machine = machine;
    this.seconds = seconds;
  }

  /** Has a server work until its code is compiled: by what it used, not by the clock. */
  async warmUp(
    server: Server,
    work: (seconds: number) => Promise<unknown>,
  ): Promise<void> {
    const enough = Math.min(WARM, this.seconds) * 1_000_000;
    const { cpu } = await server.mark();
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      await work(Math.min(PIECE, this.seconds));
      if ((await server.mark()).cpu - cpu >= enough) return;
    }
  }

  /** The command that starts a competitor. */
  launchOf({ runtime, file, args = [] }: Competitor, pinned = true): Launch {
    const { runtimes, pins } = this.machine;
    const flags = {
      deno: ["run", "-A", "--no-check"],
      node: [],
      python: ["-B", "-W", "ignore"],
    };
    return {
      command: runtimes[runtime]!.command,
      args: [...flags[runtime], `servers/${file}`, ...args],
      core: pinned ? pins?.server : undefined,
    };
  }

  /** Starts a server; `args` are further arguments. */
  async serve(competitor: Competitor, args: string[] = []): Promise<Server> {
    const launch = this.launchOf(competitor);
    launch.args.push(...args);
    const server = new Server(launch);
    server.port = Number(await server.answer());
    return server;
  }

  /** Starts a client: another one for each server, as descriptors are few. */
  startClient(file = "client/main.ts"): Client {
    const args = ["run", "-A", "--no-check", file];
    const core = this.machine.pins?.client;
    return new Client({ command: Deno.execPath(), args, core });
  }
}

/** A client that can be given orders. */
export class Client extends Program {
  /**
   * Has the client do something.
   *
   * @throws {Error} If the server failed.
   */
  async order(order: Order): Promise<Traffic> {
    const answer = JSON.parse(await this.ask(JSON.stringify(order)));
    if (answer.error) throw new Error(answer.error);
    return answer;
  }
}

/** A server that can be asked what it has used. */
export class Server extends Program {
  port = 0;

  async mark(): Promise<Mark> {
    return JSON.parse(await this.ask("mark"));
  }
}

/**
 * Puts together a session: what was started before it failed is ended.
 *
 * @param start Starts programs, each of which it gives to the stack.
 */
export async function openSession(
  start: (stack: AsyncDisposableStack) => Promise<Session["measure"]>,
): Promise<Session> {
  await using stack = new AsyncDisposableStack();
  const measure = await start(stack);
  const started = stack.move();
  return { measure, [Symbol.asyncDispose]: () => started.disposeAsync() };
}

/** What the same numbers say of each message. */
export function sampleOf(traffic: Traffic, before: Mark, after: Mark): Sample {
  const { messages, seconds, p50, p99, p999, busy } = traffic;
  return {
    cpu: (after.cpu - before.cpu) / messages,
    rate: messages / seconds,
    p50,
    p99,
    p999,
    busy,
  };
}
