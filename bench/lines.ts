/**
 * How fast lines are taken in, next to Python's own asynchat:
 *
 *     deno run -A bench/lines.ts [ROUNDS]
 *
 * Each server runs in a process of its own, a third one sends both the same
 * lines by turns; the table shows the medians. The second table shows what a
 * byte costs the parser alone, without sockets, when lines arrive whole and
 * when they arrive one byte at a time: it must not grow with the line.
 *
 * @module
 */

import { AsyncChat, SocketMap } from "../mod.ts";

const LINE = 60;
const LINES = 1_000_000;
const TARGET = 5;
const LENGTHS = [60, 600, 6_000, 60_000];
const PARSED = 2_000_000;
const SINGLE = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

/** A program that is asked by lines and answers by lines. */
class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(command: string, args: string[]) {
    this.#child = new Deno.Command(command, {
      args,
      cwd: import.meta.dirname!,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
  }

  /** The next number that it prints. */
  async answer(): Promise<number> {
    while (!this.#rest.includes("\n")) {
      const { done, value } = await this.#output.read();
      if (done) throw new Error("A program of the benchmark ended early");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return Number(line);
  }

  ask(line: string): Promise<number> {
    this.#input.write(new TextEncoder().encode(`${line}\n`));
    return this.answer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
  }
}

/** The first Python that has asynchat, and its version. */
async function findPython(): Promise<{ name: string; version: string } | null> {
  const script = "import asynchat, platform; print(platform.python_version())";
  for (const name of ["python3.11", "python3", "/usr/bin/python3", "python"]) {
    try {
      const { success, stdout } = await new Deno.Command(name, {
        args: ["-W", "ignore", "-c", script],
        stderr: "null",
      }).output();
      const version = new TextDecoder().decode(stdout).trim();
      if (success) return { name, version };
    } catch {
      // There is no program of this name.
    }
  }
  return null;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Sends the same lines to all servers by turns: the median times of each, in ms. */
async function measure(servers: Program[], rounds: number): Promise<number[]> {
  const args = ["run", "-A", "lines_client.ts"];
  await using client = new Program(Deno.execPath(), args);
  const ports: number[] = [];
  for (const server of servers) ports.push(await server.answer());
  const times: number[][] = servers.map(() => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, port] of ports.entries()) {
      const time = await client.ask(`${port} ${LINES} ${LINE}`);
      if (round >= 0) times[i]!.push(time); // The first one warms up.
    }
  }
  return times.map(median);
}

/** Takes in what it is given by hand. */
class Fed extends AsyncChat {
  next = SINGLE[0]!;
  found = 0;

  override recv(): Uint8Array {
    return this.next;
  }
  override collectIncomingData(): void {}
  override foundTerminator(): void {
    this.found++;
  }
}

/** What a byte costs the parser, in ns, when `step` bytes arrive at a time. */
function parserCost(length: number, step: number): number {
  const idle = { read: () => new Promise<null>(() => {}) };
  const channel = { ...idle, write: () => Promise.resolve(0), close() {} };
  using chat = new Fed(channel, { map: new SocketMap() });
  chat.setTerminator("\r\n");
  const line = new TextEncoder().encode("x".repeat(length - 2) + "\r\n");
  // All plain bytes share one piece, lest memory be measured.
  const pieces = step === 1 ? [...line].map((byte) => SINGLE[byte]!) : [line];
  const lines = Math.ceil(PARSED / length);
  const start = performance.now();
  for (let i = 0; i < lines; i++) {
    for (const piece of pieces) {
      chat.next = piece;
      chat.handleRead();
    }
  }
  const time = performance.now() - start;
  if (chat.found !== lines) throw new Error(`Found ${chat.found} of ${lines}`);
  return time * 1e6 / (lines * length);
}

function reportParser(): void {
  for (const length of LENGTHS) parserCost(length, 1); // Warms up.
  console.log("\nCost of the parser alone, ns per byte, best of 5:");
  console.log("  line, bytes   whole   one byte at a time");
  for (const length of LENGTHS) {
    const costs = [length, 1].map((step) =>
      // Whatever else the machine does only adds to it.
      Math.min(...[1, 2, 3, 4, 5].map(() => parserCost(length, step)))
        .toFixed(1)
    );
    const [whole = "", single = ""] = costs;
    console.log(
      `  ${String(length).padStart(11)}${whole.padStart(8)}${
        single.padStart(21)
      }`,
    );
  }
}

async function main(): Promise<void> {
  const rounds = Number(Deno.args[0] ?? 7);
  const python = await findPython();
  await using stack = new AsyncDisposableStack();
  const servers = [
    new Program(Deno.execPath(), ["run", "-A", "lines_server.ts"]),
  ];
  const names = [`AsyncChat, Deno ${Deno.version.deno}`];
  if (python) {
    const args = ["-W", "ignore", "lines_server.py"];
    servers.push(new Program(python.name, args));
    names.push(`asynchat, Python ${python.version}`);
  } else console.log("No Python with asynchat is here: skipping Python");
  for (const server of servers) stack.use(server);
  const times = await measure(servers, rounds);
  console.log(`${LINE}-byte lines taken in, median of ${rounds} rounds:`);
  for (const [i, time] of times.entries()) {
    const rate = Math.round(LINES / time * 1_000).toLocaleString("en");
    console.log(`  ${names[i]!.padEnd(26)}${rate.padStart(12)} lines/s`);
  }
  const [ours, theirs] = times;
  if (ours && theirs) {
    const ratio = (theirs / ours).toFixed(1);
    console.log(`  ratio ${ratio} (target: at least ${TARGET})`);
  }
  reportParser();
}

await main();
