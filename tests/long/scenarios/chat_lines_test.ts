/**
 * `AsyncChat` in a conversation of lines, counted blocks and literal
 * terminators by turns, sent with and without producers, taken in by hooks of
 * both kinds: what arrives is what was sent, in order; all of it, unless the
 * connection was broken.
 */

import { assert, assertEquals } from "@std/assert";
import { AsyncChat, type Channel } from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import {
  addHost,
  endWell,
  findDifference,
  Life,
  Listener,
  pattern,
  pick,
  pickOne,
  sleep,
  SOUND,
  testScenario,
} from "./scenario.ts";

const PORT = 7;
/** Its beginning repeats in it, so that a search has to go back. */
const LITERAL = "--en--end--";
const encoder = new TextEncoder();

/** A message, and what ends it. */
interface Message {
  body: Uint8Array;
  terminator: string | number;
}

/** What one side says, and how far the other has heard it. */
class Speech {
  readonly messages: Message[];
  heard = 0;
  speaker: Life | null = null;
  /** The listener was told that this is all. */
  hasEnded = false;

  constructor(messages: Message[]) {
    this.messages = messages;
  }

  /** What ends the message that comes next. */
  get terminator(): string | number | null {
    return this.messages[this.heard]?.terminator ?? null;
  }

  check() {
    if (!this.hasEnded || !this.speaker?.isAlive) return;
    assertEquals(this.heard, this.messages.length, "messages are missing");
  }
}

/** A text without a terminator, which often looks like the beginning of one. */
function makeText(sim: SimNetwork): string {
  const words = ["spam", "\r", "\n", "-", "--", "--en", "--en--en", "\n\r", ""];
  let text = "";
  for (let left = pick(sim, 0, 12); left > 0; left--) {
    text += pickOne(sim, words);
  }
  return text.replaceAll("\r\n", "\r").replaceAll(LITERAL, "");
}

function makeMessage(sim: SimNetwork): Message {
  const kind = pick(sim, 0, 2);
  if (kind === 0) {
    const body = pattern(sim, pickOne(sim, [1, 2, 80, 3_000, 20_000]));
    return { body, terminator: body.length };
  }
  const terminator = kind === 1 ? "\r\n" : LITERAL;
  // A body's end and the terminator must not make an earlier terminator.
  for (;;) {
    const text = makeText(sim);
    const isClear = (text + terminator).indexOf(terminator) === text.length;
    if (isClear) return { body: encoder.encode(text), terminator };
  }
}

function makeSpeech(sim: SimNetwork): Speech {
  const length = pick(sim, 0, 12);
  return new Speech(Array.from({ length }, () => makeMessage(sim)));
}

function bytesOf({ body, terminator }: Message): Uint8Array[] {
  return typeof terminator === "number"
    ? [body]
    : [body, encoder.encode(terminator)];
}

/** Says one speech, and hears another. */
class Talker extends AsyncChat {
  readonly host: SimHost;
  readonly life: Life;
  readonly sim: SimNetwork;
  #in: Speech | null = null;
  #collected: Uint8Array[] = [];
  isOver = false;

  constructor(sim: SimNetwork, host: SimHost, conn: Channel | null = null) {
    super(conn, { allowHalfOpen: true, idleTimeout: 300_000 });
    this.sim = sim;
    this.host = host;
    this.life = new Life(host);
  }

  hear(speech: Speech) {
    this.#in = speech;
    this.setTerminator(speech.terminator);
  }

  /** Says all, in one of the ways there are, and ends this direction. */
  say(speech: Speech) {
    speech.speaker = this.life;
    for (const message of speech.messages) {
      const pieces = bytesOf(message);
      const way = pick(this.sim, 0, 3);
      if (way === 0) this.pushWithProducer(pieces);
      else if (way === 1) this.pushWithProducer(this.#slowly(pieces));
      else for (const piece of pieces) this.push(piece);
    }
    this.shutdownWrite();
  }

  async *#slowly(pieces: Uint8Array[]) {
    for (const piece of pieces) {
      await sleep(this.host, pick(this.sim, 0, 400));
      yield piece;
    }
  }

  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    assert(!this.isOver, "a hook ran after the end");
    this.#collected.push(data);
    const speech = this.#in!;
    assert(speech.heard < speech.messages.length, "more than was said");
    if (this.sim.random() < 0.1) return sleep(this.host, pick(this.sim, 0, 50));
  }

  override foundTerminator(): void | Promise<void> {
    assert(!this.isOver, "a hook ran after the end");
    this.#checkPart();
    const speech = this.#in!;
    const { length } = speech.messages[speech.heard]!.body;
    const collected = this.#collected.reduce(
      (sum, { length }) => sum + length,
      0,
    );
    assertEquals(collected, length, "the message is not whole");
    this.#collected = [];
    speech.heard++;
    if (this.sim.random() < 0.1) {
      return sleep(this.host, 20).then(() =>
        this.setTerminator(speech.terminator)
      );
    }
    this.setTerminator(speech.terminator);
  }

  /** What was collected is how the message begins. */
  #checkPart() {
    const speech = this.#in;
    if (speech === null) return;
    const body = speech.messages[speech.heard]?.body ?? new Uint8Array(0);
    let at = 0;
    for (const piece of this.#collected) {
      const expected = body.subarray(at, at + piece.length);
      assertEquals(findDifference(piece, expected), -1, "not what was said");
      at += piece.length;
    }
  }

  override handleClose() {
    assert(!this.isOver, "it ended twice");
    this.isOver = true;
    this.#checkPart();
    if (this.#in && this.closeReason === null) this.#in.hasEnded = true;
    this.close();
  }
}

/** The end that is told first which conversation this is. */
class Host extends Talker {
  readonly #pairs: [Speech, Speech][];
  #pair: [Speech, Speech] | null = null;
  #isNew = true;

  constructor(
    pairs: [Speech, Speech][],
    ...args: ConstructorParameters<typeof Talker>
  ) {
    super(...args);
    this.#pairs = pairs;
    this.setTerminator(1);
  }

  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    if (!this.#isNew) return super.collectIncomingData(data);
    this.#pair = this.#pairs[data[0]!]!;
  }

  override foundTerminator(): void | Promise<void> {
    if (!this.#isNew) return super.foundTerminator();
    this.#isNew = false;
    const [up, down] = this.#pair!;
    this.hear(up);
    this.say(down);
  }
}

/** A run of a few conversations; returns who said what. */
async function run(sim: SimNetwork): Promise<Speech[]> {
  const talkers: Talker[] = [];
  const pairs: [Speech, Speech][] = [];
  addHost(sim, "server", (host) => {
    new Listener(
      PORT,
      (conn) => void talkers.push(new Host(pairs, sim, host, conn)),
    );
  });
  const clients = pick(sim, 1, 2);
  for (let id = 0; id < clients; id++) {
    const [up, down] = pairs[id] = [makeSpeech(sim), makeSpeech(sim)];
    const client = addHost(sim, `client${id}`);
    client.run(() => {
      const talker = new Talker(sim, client);
      talkers.push(talker);
      talker.createSocket();
      talker.connect({ hostname: "server", port: PORT });
      talker.push(Uint8Array.of(id));
      talker.hear(down);
      talker.say(up);
    });
  }
  await sim.run({ limit: 60_000 });
  await endWell(sim, 400_000);
  for (const talker of talkers) {
    if (talker.life.isAlive) assert(talker.isOver, `${talker} has no end`);
  }
  return pairs.flat();
}

testScenario("AsyncChat carries what was said, in order", async (sim) => {
  for (const speech of await run(sim)) speech.check();
}, { bandwidth: 20_000 });

testScenario("AsyncChat carries all on a sound network", async (sim) => {
  for (const { heard, messages } of await run(sim)) {
    assertEquals(heard, messages.length);
  }
}, { bandwidth: 20_000, faults: SOUND });
