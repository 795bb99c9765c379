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
import { findPython } from "./machine.ts";
import { Program } from "./program.ts";
import { median } from "./stats.ts";

const LINE = 60;
const LINES = 1_000_000;
const TARGET = 5;
const LENGTHS = [60, 600, 6_000, 60_000];
const PARSED = 2_000_000;
const SINGLE = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

/** Sends the same lines to all servers by turns: the median times of each, in ms. */
async function measure(servers: Program[], rounds: number): Promise<number[]> {
  const args = ["run", "-A", "lines_client.ts"];
  await using client = new Program({ command: Deno.execPath(), args });
  const ports: string[] = [];
  for (const server of servers) ports.push(await server.answer());
  const times: number[][] = servers.map(() => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, port] of ports.entries()) {
      const time = Number(await client.ask(`${port} ${LINES} ${LINE}`));
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
    new Program({
      command: Deno.execPath(),
      args: ["run", "-A", "servers/lines_async_chat.ts"],
    }),
  ];
  const names = [`AsyncChat, Deno ${Deno.version.deno}`];
  if (python) {
    const args = ["-B", "-W", "ignore", "servers/lines_asynchat.py"];
    servers.push(new Program({ command: python.command, args }));
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
