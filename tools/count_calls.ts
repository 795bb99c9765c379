/**
 * Counts the calls inside the library on three short ways:
 *
 *     deno run -A tools/count_calls.ts
 *
 * V8 counts how often each function is called from one moment to
 * another. Each way is gone before it is counted, so that nothing
 * is made for the first time. A function that goes on after an `await` counts as
 * called, and a member whose name is a symbol shows as `[symbol]`.
 *
 * @module
 */

import { Session } from "node:inspector";
import { type Channel, Dispatcher, loop, SocketMap } from "../mod.ts";

interface Coverage {
  result: {
    url: string;
    functions: { functionName: string; ranges: { count: number }[] }[];
  }[];
}

const root = new URL("../", import.meta.url).href;
const inspector = new Session();

function ask(command: string, options?: object): Promise<Coverage> {
  return new Promise((resolve, reject) =>
    inspector.post(
      command,
      options,
      (error: Error | null, answer?: object) =>
        error ? reject(error) : resolve(answer as Coverage),
    )
  );
}

/** Ends the counting so far. What is called afterwards counts anew. */
function count(): Promise<Coverage> {
  return ask("Profiler.takePreciseCoverage");
}

/** The functions of the library that were called, with their files. */
function callsIn({ result }: Coverage): string[] {
  return result.filter(({ url }) => url.startsWith(root))
    .filter(({ url }) => !url.startsWith(`${root}tools/`))
    .flatMap(({ url, functions }) =>
      functions.map(({ functionName, ranges }) => ({
        call: `${functionName || "[symbol]"} (${url.slice(root.length)})`,
        times: ranges[0]!.count,
      }))
    )
    .flatMap(({ call, times }) => Array<string>(times).fill(call));
}

/** A channel that is read when the program says so. */
class Pipe implements Channel {
  #answer: ((length: number) => void) | null = null;
  #target: Uint8Array | null = null;
  onWrite = () => {};

  read(target: Uint8Array): Promise<number> {
    this.#target = target;
    return new Promise((resolve) => this.#answer = resolve);
  }

  write(data: Uint8Array): Promise<number> {
    this.onWrite();
    return Promise.resolve(data.length);
  }

  /** Resolves the read that is in flight. */
  deliver(): void {
    this.#target![0] = 1;
    this.#answer!(1);
  }

  close(): void {}
}

/** Gives the loop the time to start the next read. */
async function turns(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((go) => setImmediate(go));
}

function show(title: string, calls: string[]): void {
  console.log(`\n${title}: ${calls.length} calls`);
  for (const call of calls) console.log(`  ${call}`);
}

/** From the read that resolves to handleRead(), and from send() to the write. */
async function countMessage(): Promise<void> {
  const map = new SocketMap();
  const pipe = new Pipe();
  let read: Promise<Coverage> | null = null;
  let written: Promise<Coverage> | null = null;
  pipe.onWrite = () => written = count();
  class Echo extends Dispatcher {
    override handleRead(): void {
      read = count();
      this.send(this.recv());
    }
  }
  const echo = new Echo(pipe, { map });
  const looping = loop({ map });
  for (let i = 0; i < 3; i++) {
    await turns();
    await count();
    pipe.deliver();
    await turns();
  }
  show("From the resolved read to handleRead()", callsIn(await read!));
  await count();
  echo.send(new Uint8Array(1));
  show("From send() to conn.write()", callsIn(await written!));
  echo.close();
  await looping;
}

/** From the refused connect to handleClose(). */
async function countRefusal(): Promise<void> {
  let coverage: Promise<Coverage> | null = null;
  const network = {
    connect: async () => {
      await count();
      throw new Deno.errors.ConnectionRefused("nobody listens");
    },
    listen: () => {
      throw new Error("not used");
    },
  };
  for (let i = 0; i < 2; i++) {
    const map = new SocketMap({ network });
    const client = new Dispatcher(null, { map });
    client.logInfo = () => {};
    client.createSocket();
    client.connect({ port: 9 });
    await loop({ map });
    coverage = count();
  }
  const calls = callsIn(await coverage!);
  show(
    "Closes of the connection, from the refused connect to its end",
    calls.filter((call) => call === "close (core/connection.ts)"),
  );
}

inspector.connect();
await ask("Profiler.enable");
await ask("Profiler.startPreciseCoverage", { callCount: true });
await countMessage();
await countRefusal();
inspector.disconnect();
