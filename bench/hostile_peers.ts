/**
 * What honest clients feel of hostile ones:
 *
 *     deno run -A bench/hostile_peers.ts [SECONDS]
 *
 * A hundred clients exchange lines with a server in another process, first
 * alone, then beside a thousand peers who never read, who send a byte a second,
 * who send without an end, or who say nothing at all, and who come again
 * whenever they are cut. The table shows the latency of the honest ones.
 *
 * @module
 */

import { engineFlags } from "../tools/with_std.ts";

const HONEST = 100;
/** How many ms an honest client thinks between an answer and the next line. */
const PAUSE = 50;
/** No connection is cut before this age, in ms: the server's `idleTimeout`. */
const SHORTEST_LIMIT = 5_000;

const encoder = new TextEncoder();
const LINE = encoder.encode(`${"x".repeat(63)}\n`);

/** What the server has seen. */
export interface ServerStats {
  /** How many peers were cut because they were idle. */
  idle: number;
  /** How many were cut because their time was over. */
  lifetime: number;
  /** How many were cut because they sent without an end. */
  overflow: number;
  /** The most bytes that waited to be sent to one peer. */
  mostBuffered: number;
  /** The most bytes that were collected of one line. */
  mostHeld: number;
  /** The resident memory, in bytes. */
  rss: number;
  /** How many connections there were. */
  peers: number;
}

/** What came of a measurement. */
interface Outcome {
  /** How long each exchange took, in ms, sorted: with honest clients alone. */
  quiet: number[];
  /** The same beside the hostile ones. */
  hostile: number[];
  /** Before the hostile ones came. */
  before: ServerStats;
  /** While they were there. */
  during: ServerStats;
}

/** The value below which the share `p` of sorted values lies. */
function percentile(sorted: number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]!;
}

/** Waits for so many ms. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

/** A program beside this one, which prints a number when it is ready. */
class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly number: number;

  private constructor(child: Deno.ChildProcess, number: number) {
    this.#child = child;
    this.number = number;
  }
  static async start(command: string, ...args: string[]): Promise<Program> {
    const child = new Deno.Command(command, {
      args,
      cwd: import.meta.dirname!,
      stdout: "piped",
    }).spawn();
    const output = child.stdout.getReader();
    const { value } = await output.read();
    output.releaseLock();
    return new Program(child, Number(new TextDecoder().decode(value)));
  }
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await this.#child.stdout.cancel();
    await this.#child.status;
  }
}

/** Starts a server; its number is its port. */
export async function startServer(): Promise<Program> {
  const flags = ["-A", "--quiet", "--no-check"];
  flags.push(...engineFlags(flags));
  return await Program.start(
    Deno.execPath(),
    ...["run", ...flags, "hostile_server.ts"],
  );
}

/** Starts the hostile peers, and waits until all are there. */
export async function startAttack(
  port: number,
  niceness: number,
): Promise<Program> {
  const attackers = ["python3", "hostile_attack.py", `${port}`];
  return await Program.start("nice", "-n", `${niceness}`, ...attackers);
}

/** A connection that says lines and reads answers. */
class Client implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #buffer = new Uint8Array(4_096);

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }
  static async connect(port: number): Promise<Client> {
    return new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
  }
  /** Says a line, and returns the one that comes back. */
  async exchange(line: Uint8Array): Promise<string> {
    await this.#conn.write(line);
    let answer = "";
    while (!answer.endsWith("\n")) {
      const length = await this.#conn.read(this.#buffer);
      if (length === null) throw new Error("The server has cut an honest one");
      answer += new TextDecoder().decode(this.#buffer.subarray(0, length));
    }
    return answer;
  }
  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

/** Asks a server what it has seen. */
export async function statsOf(port: number): Promise<ServerStats> {
  using client = await Client.connect(port);
  return JSON.parse(await client.exchange(encoder.encode("STATS\n")));
}

/** Exchanges lines while `goesOn()`, on a new connection every second. */
export async function beHonest(
  port: number,
  goesOn: () => boolean,
  times: number[],
): Promise<void> {
  await pause(Math.random() * PAUSE);
  let change = performance.now() + Math.random() * 1_000;
  while (goesOn()) {
    const opened = performance.now();
    try {
      using client = await Client.connect(port);
      while (performance.now() < change && goesOn()) {
        const started = performance.now();
        const answer = await client.exchange(LINE);
        times.push(performance.now() - started);
        if (answer.length !== LINE.length) throw new Error(`Got ${answer}`);
        await pause(PAUSE);
      }
    } catch (error) {
      // On a machine with other work, an honest client may seem silent too.
      if (performance.now() - opened < SHORTEST_LIMIT) throw error;
    }
    change += 1_000;
  }
}

/** Has all honest clients talk for so long; their times, sorted. */
async function measureHonest(port: number, ms: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + ms;
  const goesOn = () => performance.now() < end;
  await Promise.all(
    Array.from({ length: HONEST }, () => beHonest(port, goesOn, times)),
  );
  return times.sort((a, b) => a - b);
}

/** Measures against a server of its own, for `ms` each time. */
async function measure(ms: number): Promise<Outcome> {
  await using server = await startServer();
  const port = server.number;
  await measureHonest(port, ms / 4); // Warms up.
  const quiet = await measureHonest(port, ms);
  const before = await statsOf(port);
  // The honest clients' own wait for a processor is not to be measured.
  await using _attack = await startAttack(port, 19);
  const hostile = await measureHonest(port, ms);
  return { quiet, hostile, before, during: await statsOf(port) };
}

function report({ quiet, hostile, before, during }: Outcome): void {
  const show = (value: number) => value.toFixed(2).padStart(9);
  console.log(`${HONEST} honest clients; latency of a line, ms`);
  console.log("                          p50      p99    p99.9   lines");
  for (
    const [name, times] of [["alone", quiet], [
      "beside 1,000",
      hostile,
    ]] as const
  ) {
    const points = [0.5, 0.99, 0.999].map((p) => show(percentile(times, p)));
    console.log(
      `  ${name.padEnd(18)}${points.join("")}${
        String(times.length).padStart(8)
      }`,
    );
  }
  const ratio = percentile(hostile, 0.99) / percentile(quiet, 0.99);
  console.log(`  ratio of the p99: ${ratio.toFixed(1)} (target: at most 3)`);
  console.log(
    `cut: ${during.idle} idle, ${during.lifetime} too old, ${during.overflow} without an end`,
  );
  console.log(
    `at most ${during.mostHeld} bytes of a line held, ${during.mostBuffered} bytes to send to one peer`,
  );
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0);
  console.log(
    `memory ${mib(before.rss)} MiB before, ${
      mib(during.rss)
    } MiB with ${during.peers} connections`,
  );
}

if (import.meta.main) report(await measure(Number(Deno.args[0] ?? 10) * 1_000));
