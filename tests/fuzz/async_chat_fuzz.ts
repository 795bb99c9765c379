/** `AsyncChat` against a model, with every kind of terminator. */

import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { AsyncChat, type Channel, type SocketMap } from "../../mod.ts";
import { FakeChannel, passes, quietMap } from "../fakes.ts";
import type { TestMap } from "../support.ts";
import {
  FOUND,
  type Mark,
  Model,
  needleOf,
  OVERFLOW,
  type Rules,
  terminatorOf,
} from "./async_chat_model.ts";
import {
  type Binary,
  mixed,
  noise,
  piecesOf,
  type Splitting,
  splitting,
  toBinary,
  toBytes,
} from "./inputs.ts";
import { fuzz } from "./property.ts";

/** Bytes arrive, and then something changes from outside. */
interface Step {
  arrives: Binary;
  mark?: Mark;
  maxLength?: number;
}

/** A conversation. */
interface Story extends Rules {
  steps: Step[];
  acInBufferSize: number;
  /** Hooks return promises. */
  isAsync: boolean;
  splitting: Splitting;
}

/** Takes in what comes, and sets the next terminator whenever one is found. */
class Listener extends AsyncChat {
  taken = "";
  received = 0;
  /** How many promises of hooks are pending. */
  pending = 0;
  readonly errors: unknown[] = [];
  readonly #story: Story;
  #turn = 0;

  constructor(channel: Channel, map: SocketMap, story: Story) {
    super(channel, { map, maxLength: story.maxLength });
    this.#story = story;
    this.acInBufferSize = story.acInBufferSize;
    this.setTerminator(terminatorOf(story.marks[0]));
  }

  override recv(size: number): Uint8Array {
    const data = super.recv(size);
    this.received += data.length;
    return data;
  }
  override collectIncomingData(data: Uint8Array) {
    return this.#do(() => {
      assertGreater(data.length, 0);
      this.taken += toBinary(data);
    });
  }
  override foundTerminator() {
    return this.#do(() => {
      this.taken += FOUND;
      this.#next();
    });
  }
  override handleOverflow() {
    return this.#do(() => {
      this.taken += OVERFLOW;
      if (this.#story.isTurning) this.#next();
      if (this.#story.isStrict) return super.handleOverflow();
    });
  }
  override handleError(error: unknown) {
    this.errors.push(error);
    return super.handleError(error);
  }

  #next() {
    const { marks } = this.#story;
    if (marks.length === 1) return;
    this.#turn = (this.#turn + 1) % marks.length;
    this.setTerminator(terminatorOf(marks[this.#turn]!));
  }

  /** Does it now, or after some turns of the microtasks. */
  #do(work: () => void | Promise<void>): void | Promise<void> {
    if (!this.#story.isAsync) return work();
    this.pending++;
    return Promise.resolve().then(work).finally(() => this.pending--);
  }
}

/** A byte takes a pass, and a promise some more. */
const PASSES_FOR_A_BYTE = 20;

/** Passes until the chat has looked at all that came. */
async function settle(
  chat: Listener,
  map: TestMap,
  pushed: number,
): Promise<void> {
  let left = 100 + PASSES_FOR_A_BYTE * (pushed - chat.received);
  await passes(map, 2); // To look again at what was held back
  while (chat.received < pushed || chat.pending > 0) {
    if (chat.closing || map.size === 0) return;
    assert(--left > 0, "It does not look at what has arrived");
    await passes(map);
  }
  await passes(map); // For the rest of what a promise kept waiting
}

/** Lets a chat and the model take in the same, and compares after each step. */
async function check(story: Story, splitting: Splitting): Promise<void> {
  const map = quietMap();
  const channel = new FakeChannel();
  const chat = new Listener(channel, map, story);
  const model = new Model(story);
  let pushed = 0;
  let mark: Mark = null;
  for (const step of story.steps) {
    channel.push(...piecesOf(step.arrives, splitting).map(toBytes));
    pushed += step.arrives.length;
    model.arrive(step.arrives);
    await settle(chat, map, pushed);
    assertEquals(chat.taken, model.taken);
    if (model.isOver) break;
    if (step.maxLength !== undefined) {
      chat.maxLength = model.maxLength = step.maxLength;
    }
    if (step.mark !== undefined) {
      mark = step.mark;
      chat.setTerminator(terminatorOf(mark));
      model.setMark(mark);
      await settle(chat, map, pushed);
      assertEquals(chat.taken, model.taken);
      if (model.isOver) break;
    }
    const told = chat.getTerminator();
    if (typeof told === "number") assertEquals(told, model.left);
  }
  assertEquals(chat.errors, []);
  assertEquals(channel.closed, model.isOver);
  chat.abort();
  await passes(map);
  map.check();
}

const few = fc.constantFrom(..."ab");
const mark = mixed<Mark>(
  [
    6,
    fc.string({ unit: few, minLength: 1, maxLength: 7 })
      .map((text) => ({ text })),
  ],
  [
    3,
    fc.constantFrom(
      ...["\n", "\r\n", "\r\n.\r\n", "\r\n\r\n", "é", "→é"],
      "aaab".repeat(20),
    ).map((text) => ({ text })),
  ],
  [
    3,
    fc.uint8Array({ minLength: 1, maxLength: 5 })
      .map((bytes) => ({ bytes: toBinary(bytes) })),
  ],
  [
    2,
    fc.string({
      unit: fc.constantFrom("\0", "\xff", "a"),
      minLength: 1,
      maxLength: 5,
    }).map((bytes) => ({ bytes })),
  ],
  [4, fc.nat(20).map((count) => ({ count }))],
  [1, fc.constant(null)],
);

/** A bit of input: of one of the terminators, its beginning or all of it; or else. */
type Bit = { of: number; length: number } | Binary;

const bit = mixed<Bit>(
  [6, fc.record({ of: fc.nat(9), length: fc.nat(9) })],
  [3, fc.string({ unit: few, maxLength: 6 })],
  [2, noise(8)],
  [
    1,
    fc.tuple(fc.constantFrom(..."ab\r\0"), fc.nat(150))
      .map(([byte, count]) => byte.repeat(count)),
  ],
);

function input(bits: Bit[], marks: Mark[]): Binary {
  const needles = marks.map(needleOf).filter(Boolean);
  return bits.map((bit) => {
    if (typeof bit === "string") return bit;
    const needle = needles[bit.of % needles.length] ?? "";
    return bit.length === 0 ? needle : needle.slice(0, bit.length);
  }).join("");
}

const maxLength = fc.oneof(
  fc.integer({ min: 1, max: 8 }),
  fc.constantFrom(64, 65, 1_000, 65_536),
);

const story: fc.Arbitrary<Story> = fc.record({
  first: mark,
  others: fc.array(mark, { maxLength: 3 }),
  steps: fc.array(
    fc.record({
      bits: fc.array(bit, { maxLength: 12 }),
      mark: fc.option(mark, { nil: undefined, freq: 2 }),
      maxLength: mixed(
        [7, fc.constant(undefined)],
        [1, maxLength],
      ),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  maxLength,
  isStrict: fc.boolean(),
  isTurning: fc.boolean(),
  acInBufferSize: fc.oneof(
    fc.integer({ min: 1, max: 8 }),
    fc.constantFrom(64, 65_536),
  ),
  isAsync: fc.boolean(),
  splitting,
}).map(({ first, others, steps, ...rest }) => {
  const all = [first, ...others, ...steps.map(({ mark = null }) => mark)];
  return {
    ...rest,
    marks: [first, ...others],
    steps: steps.map(({ bits, mark, maxLength }) => ({
      arrives: input(bits, all),
      ...mark !== undefined && { mark },
      ...maxLength !== undefined && { maxLength },
    })),
  };
});

fuzz({
  name: "AsyncChat takes in what a simple model does, however it is split",
  cost: 5,
  input: story,
  async check(story) {
    const atOnce = { lengths: [Infinity] };
    const byteByByte = { lengths: [1] };
    for (const splitting of [atOnce, byteByByte, story.splitting]) {
      await check(story, splitting);
    }
  },
});
