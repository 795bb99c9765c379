/**
 * Who is served, and when, where Deno by itself would leave some out:
 *
 *     deno run -A --no-check bench/fairness.ts
 *
 * The first table shows many connections that talk all at once to a server that
 * works 30 µs for each message: the least and the most answers that one of them
 * has had, and the longest wait for the next. The second shows a message and
 * its answer where the program works between passes.
 *
 * @module
 */

import {
  type Channel,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  loop,
  type Network,
  SocketMap,
} from "../mod.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { median } from "./stats.ts";

const CROWDS = [100, 130, 200, 512];
/** The clients' threads, each of them with few enough to be fair itself. */
const MOST_PER_THREAD = 128;
/** In ms. */
const WARM_UP = 500;
const TIME = 3_000;
const WORK = 0.03;
const STEPS = [5, 10, 16];
const ROUND_TRIPS = 60;
const ADDRESS = { hostname: "127.0.0.1", port: 0 };

function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Counts the answers of each connection, and how long it waited for them. */
class Score {
  readonly #counts: number[] = [];
  readonly #last: number[] = [];
  #longest = 0;

  enter(): number {
    this.#last.push(performance.now());
    return this.#counts.push(0) - 1;
  }
  /** Forgets what was, with all connections there. */
  start(): void {
    this.#counts.fill(0);
    this.#last.fill(performance.now());
    this.#longest = 0;
  }
  answer(id: number): void {
    const now = performance.now();
    this.#longest = Math.max(this.#longest, now - this.#last[id]!);
    this.#last[id] = now;
    this.#counts[id]!++;
  }
  toString(): string {
    for (const id of this.#counts.keys()) { // Some wait still.
      this.answer(id);
      this.#counts[id]!--;
    }
    const [least, most] = [
      Math.min(...this.#counts),
      Math.max(...this.#counts),
    ];
    return `${least} to ${most}, ${this.#longest.toFixed(0)} ms`;
  }
}

/** Starts the threads of `count` clients. */
function startClients(addr: Deno.Addr, count: number): Worker[] {
  const threads: Worker[] = [];
  for (let left = count; left > 0; left -= MOST_PER_THREAD) {
    const url = new URL("./crowd_client.ts", import.meta.url);
    const thread = new Worker(url, { type: "module" });
    thread.postMessage({ addr, count: Math.min(left, MOST_PER_THREAD) });
    threads.push(thread);
  }
  return threads;
}

/** Opens a listener of the library whose connections are made by `take`. */
function listen(
  map: SocketMap,
  take: (conn: Channel) => void,
): Deno.Addr {
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      take(conn);
    }
  }
  const server = new Server(null, { map });
  server.createSocket();
  server.bind(ADDRESS);
  server.listen(1_024);
  return server.addr!;
}

async function crowdByHand(count: number): Promise<Score> {
  const score = new Score();
  const listener = Deno.listen({ ...ADDRESS, tcpBacklog: 1_024 });
  const conns: Deno.Conn[] = [];
  const serve = async (conn: Deno.Conn) => {
    conns.push(conn);
    const id = score.enter();
    const buffer = new Uint8Array(1_024);
    for (;;) {
      const length = await conn.read(buffer);
      if (length === null) return;
      work(WORK);
      score.answer(id);
      await conn.write(buffer.subarray(0, length));
    }
  };
  const accepting = (async () => {
    for await (const conn of listener) serve(conn).catch(() => {});
  })();
  const threads = startClients(listener.addr, count);
  await new Promise((resolve) => setTimeout(resolve, WARM_UP));
  score.start();
  await new Promise((resolve) => setTimeout(resolve, TIME));
  for (const thread of threads) thread.terminate();
  listener.close();
  for (const conn of conns) conn.close();
  await accepting;
  return score;
}

async function crowdOfDispatchers(
  count: number,
  network?: Network,
): Promise<Score> {
  const score = new Score();
  const map = new SocketMap({ network });
  class Echo extends DispatcherWithSend {
    readonly #id = score.enter();
    override handleRead(): void {
      const data = this.recv();
      if (data.length === 0) return;
      work(WORK);
      score.answer(this.#id);
      this.send(data);
    }
  }
  const addr = listen(map, (conn) => void new Echo(conn, { map }));
  const threads = startClients(addr, count);
  setTimeout(() => score.start(), WARM_UP);
  setTimeout(() => {
    for (const thread of threads) thread.terminate();
    closeAll(map);
  }, WARM_UP + TIME);
  await loop({ map });
  return score;
}

/** Runs in a thread: sends a byte, waits for it to come back, and so on. */
const talker = `
onmessage = async ({ data: { addr, count } }) => {
  using conn = await Deno.connect(addr);
  const buffer = new Uint8Array(1);
  const times = [];
  while (times.length < count) {
    const start = performance.now();
    await conn.write(buffer);
    await conn.read(buffer);
    times.push(performance.now() - start);
  }
  postMessage(times);
};`;

async function roundTrips(ms: number, timeout: number): Promise<number[]> {
  class Echo extends DispatcherWithSend {
    override handleRead(): void {
      this.send(this.recv());
    }
  }
  const map = new SocketMap();
  const addr = listen(map, (conn) => void new Echo(conn, { map }));
  const url = `data:text/javascript,${encodeURIComponent(talker)}`;
  const thread = new Worker(url, { type: "module" });
  let times: number[] | null = null;
  thread.onmessage = ({ data }) => times = data;
  thread.postMessage({ addr, count: ROUND_TRIPS });
  while (times === null) {
    await loop({ timeout, count: 1, map });
    work(ms);
  }
  thread.terminate();
  closeAll(map);
  return times;
}

function line([first = "", ...cells]: string[]): string {
  return first.padEnd(8) +
    cells.map((cell) => cell.padEnd(24)).join("").trimEnd();
}

console.log(`Answers in ${TIME / 1_000} s, and the longest wait`);
const heads = ["active", "by hand", "asyncore", "asyncore on epoll"];
console.log(line(heads));
for (const count of CROWDS) {
  const cells = [`${count}`, `${await crowdByHand(count)}`];
  cells.push(`${await crowdOfDispatchers(count)}`);
  if (epollNetwork.available) {
    cells.push(`${await crowdOfDispatchers(count, epollNetwork)}`);
  }
  console.log(line(cells));
}
console.log("\nA message and its answer, in ms: median, longest");
console.log(`${"work".padEnd(8)}${"timeout 0".padEnd(16)}timeout 1`);
for (const ms of STEPS) {
  const cells: string[] = [];
  for (const timeout of [0, 1]) {
    const times = await roundTrips(ms, timeout);
    const longest = Math.max(...times);
    cells.push(`${median(times).toFixed(0)}, ${longest.toFixed(0)}`);
  }
  console.log(`${`${ms}`.padEnd(8)}${cells[0]!.padEnd(16)}${cells[1]}`);
}
Deno.exit();
