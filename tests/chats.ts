/** Conversations that write down what happens to them, for the tests of AsyncChat. */

import {
  AsyncChat,
  type AsyncChatOptions,
  type Channel,
  loop,
  type Producer,
  type SocketMapOptions,
} from "../mod.ts";
import type { MockClock } from "../testing/mod.ts";
import {
  FakeChannel,
  FakeNetwork,
  loopToEnd,
  passes,
  quietMap,
  watch,
} from "./fakes.ts";
import { bytes, type TestMap, text } from "./support.ts";

/** What {@linkcode AsyncChat.setTerminator} takes. */
export type TerminatorLike = string | Uint8Array | number | null;

/**
 * Writes down what it takes in: the bytes as they are, `|` for a terminator,
 * `!` for an overflow that it lets go on. How the bytes came does not show.
 */
export class Talker extends AsyncChat {
  /** What was taken in. */
  taken = "";
  /** How often each of the other hooks ran, in order. */
  readonly events: string[] = [];
  readonly errors: unknown[] = [];
  /** Set at each terminator, in turn, round and round. */
  terminators: TerminatorLike[] = [];
  /** Whether an error or an overflow closes, as by default. */
  strict = true;
  /** What the test does in a hook, after that is written down. */
  readonly act: {
    collect?: (data: string) => void | Promise<void>;
    found?: () => void | Promise<void>;
  } = {};
  #turn = 0;

  constructor(
    map: TestMap,
    channel: Channel | null = null,
    options: AsyncChatOptions = {},
  ) {
    super(channel, { ...options, map });
  }

  /** The complete messages. */
  get messages(): string[] {
    return this.taken.split("|").slice(0, -1);
  }

  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    this.taken += text(data);
    return this.act.collect?.(text(data));
  }
  override foundTerminator(): void | Promise<void> {
    this.taken += "|";
    if (this.terminators.length > 0) {
      this.#turn = (this.#turn + 1) % this.terminators.length;
      this.setTerminator(this.terminators[this.#turn]!);
    }
    return this.act.found?.();
  }
  override handleOverflow(): void | Promise<void> {
    this.taken += "!";
    if (this.strict) return super.handleOverflow();
  }
  override handleDrain(): void | Promise<void> {
    this.events.push("drain");
  }
  override handleClose(): void | Promise<void> {
    this.events.push("close");
    return super.handleClose();
  }
  override handleError(error: unknown): void | Promise<void> {
    this.events.push("error");
    this.errors.push(error);
    if (this.strict) return super.handleError(error);
  }
}

/** A conversation and the channel at whose other end the test sits. */
export interface Fake<T extends AsyncChat> {
  chat: T;
  channel: FakeChannel;
  map: TestMap;
}

/** A {@linkcode Talker}, or a chat of another class, over a fake channel. */
export function talk<T extends AsyncChat = Talker>(
  Class: new (map: TestMap, channel: Channel | null) => T = Talker as never,
  map: TestMap = quietMap(),
): Fake<T> {
  const channel = new FakeChannel();
  return { chat: new Class(map, channel), channel, map };
}

/** A {@linkcode Talker} that takes lines apart. */
export function talkInLines(
  act: Talker["act"] = {},
  map?: TestMap,
): Fake<Talker> {
  const fake = talk(Talker, map);
  fake.chat.setTerminator("\n");
  Object.assign(fake.chat.act, act);
  return fake;
}

/** A {@linkcode Talker} that is connecting; `network.succeed(channel)` ends that. */
export function connecting(options: SocketMapOptions = {}) {
  const network = new FakeNetwork();
  const map = quietMap({ network, ...options });
  const chat = new Talker(map);
  chat.createSocket();
  chat.connect({ port: 7 });
  return { network, map, channel: new FakeChannel(), chat };
}

/** A producer that never gives anything. */
export function never(): Producer {
  return { more: () => new Promise<never>(() => {}) };
}

/** A producer that fails at once. */
export function failing(): Producer {
  const more = () => {
    throw new Error("failed");
  };
  return { more };
}

/** A producer whose only piece is what the test gives. */
export function gated() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const producer = (async function* () {
    yield await promise;
  })();
  return { producer, give: resolve, fail: reject };
}

/** What a chat takes in when `parts` arrive one by one, and then the end. */
export async function takenFrom(
  parts: string[],
  terminators: TerminatorLike[],
  prepare: (chat: Talker) => void = () => {},
): Promise<string> {
  const { chat, channel, map } = talk();
  chat.terminators = terminators;
  chat.setTerminator(terminators[0]!);
  prepare(chat);
  channel.push(...parts, null);
  await loopToEnd(map);
  return chat.taken;
}

/** Lets `parts` arrive, each in a pass of its own. */
export async function arrive<T extends AsyncChat>(
  { channel, map }: Fake<T>,
  ...parts: (string | null)[]
): Promise<void> {
  for (const part of parts) {
    channel.push(part);
    await passes(map, 4);
  }
}

/** Every way to cut `whole` in two, and then all of it byte by byte. */
export function* splitsOf(whole: string): Generator<string[]> {
  yield [whole];
  for (let at = 1; at < whole.length; at++) {
    yield [whole.slice(0, at), whole.slice(at)];
  }
  yield [...whole];
}

/** A peer that takes nothing until the test says so. */
export class Valve {
  readonly #waiting: ((length: number) => void)[] = [];
  #isOpen = false;

  constructor(channel: FakeChannel) {
    channel.take = (data) =>
      this.#isOpen ? data.length : new Promise((resolve) => {
        this.#waiting.push(() => resolve(data.length));
      });
  }

  /** Takes what one write holds. */
  step(): void {
    this.#waiting.shift()?.(0);
  }
  /** Takes everything from now on. */
  open(): void {
    this.#isOpen = true;
    for (const take of this.#waiting.splice(0)) take(0);
  }
}

/** `length` times the same byte. */
export function block(length: number, fill = "x"): Uint8Array {
  return new Uint8Array(length).fill(bytes(fill)[0]!);
}

/** How many passes of a loop do not wait while ten are to wait. */
export async function countTurns(
  map: TestMap,
  clock: MockClock,
): Promise<number> {
  watch(loop({ map, timeout: 100 }));
  await clock.advance(50);
  let count = 0;
  clock.setImmediate = (callback) => {
    count++;
    setImmediate(callback);
  };
  for (let i = 0; i < 50; i++) await clock.advance(20);
  return count;
}
