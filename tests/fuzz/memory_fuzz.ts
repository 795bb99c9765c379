/** What is held of a peer that goes on and on. */

import { assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { HttpConnection } from "../../examples/http_connection.ts";
import { SmtpSession } from "../../examples/smtp_session.ts";
import { StaticFiles } from "../../examples/static_files.ts";
import {
  AsyncChat,
  type Channel,
  loop,
  type SocketMap,
  socketMap,
} from "../../mod.ts";
import { LogLines } from "../fakes.ts";
import { TestMap } from "../support.ts";
import { type Mark, terminatorOf } from "./async_chat_model.ts";
import { ENDLESS as HTTP_TALK } from "./http_inputs.ts";
import { type Endless, endless, mixed, toBytes } from "./inputs.ts";
import { WatchedFolder } from "./peer.ts";
import { fuzz } from "./property.ts";
import { ENDLESS as SMTP_TALK } from "./smtp_inputs.ts";

/** What a peer says, and how many bytes of it arrive at a time. */
interface Talk extends Endless {
  piece: number;
}

/** So many bytes are said of it, or what can be said in so many ms. */
const LENGTH = 2 * 1024 * 1024;
const TIME = 1_000;
/** How many ms to listen, with much to spare. */
const LIMIT = 20_000;
/** The most bytes that one peer may cost; text in bits and pieces costs more. */
const MOST = 512 * 1024;
/** The same where requests that have arrived wait for their answers. */
const MOST_WAITING = 1024 * 1024;
/** Memory may change by so many bytes by itself. */
const SIGNIFICANT = 16 * 1024;

/** Says it, then nothing; takes all answers. */
class EndlessChannel implements Channel {
  readonly remoteAddr: Deno.Addr = {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 7,
  };
  /** All was said, or nobody listens any more. */
  isDone = false;
  readonly #start: Uint8Array;
  readonly #unit: Uint8Array;
  readonly #piece: number;
  readonly #deadline = performance.now() + TIME;
  #at = 0;
  #close: (error: Error) => void = () => {};

  constructor({ start, unit, piece }: Talk) {
    this.#start = toBytes(start);
    this.#unit = toBytes(unit.repeat(Math.ceil(1_000 / unit.length)));
    this.#piece = piece;
  }

  read(target: Uint8Array): Promise<number> {
    if (this.#at >= LENGTH || performance.now() > this.#deadline) {
      this.isDone = true;
      return new Promise((_, reject) => this.#close = reject);
    }
    const length = Math.min(target.length, this.#piece);
    for (let i = 0; i < length; i++, this.#at++) {
      const after = this.#at - this.#start.length;
      target[i] = after < 0
        ? this.#start[this.#at]!
        : this.#unit[after % this.#unit.length]!;
    }
    return Promise.resolve(length);
  }

  write(data: Uint8Array): Promise<number> {
    return Promise.resolve(data.length);
  }

  close(): void {
    this.isDone = true;
    this.#close(new Deno.errors.Interrupted("closed"));
  }
}

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

function measure(): number {
  collect();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** Memory in use, when garbage is collected and no more of it comes free. */
async function memory(): Promise<number> {
  for (let last = measure();;) {
    // Buffers are freed a little later than what they belonged to.
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = measure();
    if (now > last - SIGNIFICANT) return now;
    last = now;
  }
}

/** Checks what it costs to listen to a peer, as long as it is connected. */
async function checkMemory(
  talk: Talk,
  map: SocketMap,
  serve: (channel: Channel) => AsyncChat,
  most = MOST,
): Promise<void> {
  let cost = await costOf(talk, map, serve, most);
  // The first peer pays for the code that is compiled for all.
  if (cost >= most) cost = await costOf(talk, map, serve, most);
  assertLess(cost, most, "What a peer costs, in bytes");
}

/** What it costs to listen to a peer, in bytes; beyond `most`, it waits a while. */
async function costOf(
  talk: Talk,
  map: SocketMap,
  serve: (channel: Channel) => AsyncChat,
  most: number,
): Promise<number> {
  const channel = new EndlessChannel(talk);
  const before = await memory();
  const server = serve(channel);
  const deadline = performance.now() + LIMIT;
  while (!channel.isDone) {
    assertLess(performance.now(), deadline, "It listens no more, and stays");
    await loop({ map, count: 1, timeout: 5 });
  }
  await loop({ map, count: 3, timeout: 0 });
  // What is free may be seen to be so only a little later.
  const late = performance.now() + LIMIT / 4;
  let cost: number;
  do cost = await memory() - before; while (
    cost >= most && performance.now() < late
  );
  server.close();
  while (map.size + map.lingering > 0) await loop({ map, count: 1 });
  return cost;
}

/** Talk without an end, most of it in large pieces, as there is more of it. */
function talk(all: readonly Endless[]): fc.Arbitrary<Talk> {
  const piece = mixed(
    [1, fc.integer({ min: 1, max: 100 })],
    [2, fc.constantFrom(1_000, 4_096, 65_536)],
  );
  return fc.tuple(endless(all), piece)
    .map(([said, piece]) => ({ ...said, piece }));
}

/** All of it, in pieces of a usual size. */
function talkOf(all: readonly Endless[]): Talk[] {
  return all.map((said) => ({ ...said, piece: 4_096 }));
}

class Deaf extends AsyncChat {
  override collectIncomingData() {}
  override foundTerminator() {}
  override handleOverflow() {}
}

fuzz({
  name: "AsyncChat holds no more of an endless peer than it has to",
  cost: 2_000,
  budget: 10_000,
  input: fc.record({
    mark: fc.constantFrom<Mark>(
      null,
      { count: 2 ** 40 },
      { text: "\r\n" },
      { text: `${"a".repeat(1_000)}b` },
      { bytes: "\0\xff" },
    ),
    said: talk(
      ["a", "x", "\r", "\r\n", "ab", "\0"].map((unit) => ({ start: "", unit })),
    ),
  }),
  async check({ mark, said }) {
    const map = new TestMap({ logger: new LogLines() });
    await checkMemory(said, map, (channel) => {
      const chat = new Deaf(channel, { map });
      chat.setTerminator(terminatorOf(mark));
      return chat;
    });
    map.check();
  },
});

const folder = Deno.makeTempDirSync();
const store = new WatchedFolder(folder);
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

class QuietSession extends SmtpSession {
  static errors: unknown[] = [];
  override readonly logger = {
    info() {},
  } as unknown as SmtpSession["logger"];
  override handleError(error: unknown) {
    QuietSession.errors.push(error);
    this.close();
  }
}

fuzz({
  name: "SmtpSession holds no more of an endless peer than it has to",
  cost: 2_000,
  budget: 20_000,
  input: talk(SMTP_TALK),
  examples: talkOf(SMTP_TALK),
  async check(said) {
    await checkMemory(
      said,
      socketMap,
      (channel) => new QuietSession(channel, "127.0.0.1", store),
    );
    for (const name of await store.names()) {
      Deno.removeSync(`${folder}/${name}`);
    }
    assertEquals(QuietSession.errors.splice(0), []);
  },
});

const files = new StaticFiles(folder);

fuzz({
  name: "HttpConnection holds no more of an endless peer than it has to",
  cost: 2_000,
  budget: 20_000,
  input: talk(HTTP_TALK),
  examples: talkOf(HTTP_TALK),
  async check(said) {
    const logger: LogLines = new class extends LogLines {
      override debug() {}
    }();
    const map = new TestMap({ logger });
    await checkMemory(
      said,
      map,
      (channel) =>
        new HttpConnection(channel, { map, files, logger, patience: 60_000 }),
      MOST_WAITING,
    );
    map.check();
  },
});
