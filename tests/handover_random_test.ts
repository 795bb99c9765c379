/**
 * A connection goes from handler to handler at random points, over each
 * transport, while both sides send. All handlers together must receive each byte
 * once and in order, and the peer must receive what they have sent.
 */

import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import { memoryPair } from "../testing/mod.ts";
import { loopToEnd, newSeed, quietMap, randomFrom, watch } from "./fakes.ts";
import { readAll } from "./scenes.ts";
import { loopUntil, type TestMap, turn } from "./support.ts";
import { TRANSPORTS } from "./transports.ts";

/** How many bytes go each way. */
const LENGTH = 200_000;
/** A terminator of two bytes, which the input has often, in whole and in part. */
const PAIR = Uint8Array.of(0, 1);
const TERMINATORS = [null, 1, 700, PAIR] as const;

/** What the handlers of one connection receive and send, one after the other. */
class Journey {
  readonly #random: () => number;
  readonly #maps: TestMap[];
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  received = 0;
  sent = 0;
  handovers = 0;
  /** What has failed in code that no loop runs. */
  failure: unknown = null;

  constructor(seed: number, maps: TestMap[]) {
    this.#random = randomFrom(seed);
    this.#maps = maps;
    const bytes = () =>
      Uint8Array.from({ length: LENGTH }, () => this.below(3));
    this.input = bytes();
    this.output = bytes();
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** How many bytes to take or to send: small numbers are as likely as large ones. */
  get size(): number {
    return 1 + this.below(2 ** this.below(13));
  }

  get isOver(): boolean {
    return this.received === LENGTH && this.sent === LENGTH;
  }

  take(data: Uint8Array): void {
    const end = this.received + data.length;
    const expected = this.input.subarray(this.received, end);
    assertEquals(data, expected, `from byte ${this.received} on`);
    this.received = end;
  }

  /** The next bytes to send. Of a larger number, some are sent later. */
  get next(): Uint8Array {
    return this.output.subarray(this.sent, this.sent + this.size);
  }

  /** Receives and sends, and hands the connection on now and then, or ends it. */
  step(handler: Dispatcher, send: (data: Uint8Array) => number | void): void {
    if (handler.socket === null) return; // This handler has handed it on.
    const data = this.next;
    this.sent += send(data) ?? data.length;
    if (this.isOver) handler.close();
    else if (this.below(3) === 0) this.#handOn(handler);
  }

  #handOn(handler: Dispatcher): void {
    const way = this.below(4);
    if (way === 0) this.begin(handler.detach());
    else if (way > 1) this.begin(handler.socket as Channel);
    else {
      this.#byHand(handler.detach())
        .catch((error) => void (this.failure = error));
    }
  }

  /** Gives the connection to a handler. */
  begin(channel: Channel): void {
    this.handovers++;
    const map = this.#maps[this.below(this.#maps.length)]!;
    const Handler = HANDLERS[this.below(HANDLERS.length)]!;
    new Handler(this, channel, map);
  }

  /** Receives and sends without a dispatcher, for some time. */
  async #byHand(channel: Channel): Promise<void> {
    for (let left = this.below(4); left > 0; left--) {
      const target = new Uint8Array(this.size);
      if (this.received < LENGTH) {
        this.take(target.subarray(0, (await channel.read(target))!));
      }
      this.sent += await channel.write(this.next);
    }
    if (this.isOver) channel.close();
    else this.begin(channel);
  }
}

class Plain extends Dispatcher {
  constructor(journey: Journey, channel: Channel, map: TestMap) {
    super(channel, { map });
    const step = () => journey.step(this, (data) => this.send(data));
    this.callEvery(1, step);
    this.handleRead = () => {
      journey.take(this.recv(journey.size));
      step();
    };
    this.handleWrite = step;
  }
  override handleError(error: unknown) {
    throw error;
  }
}

class Async extends Dispatcher {
  constructor(journey: Journey, channel: Channel, map: TestMap) {
    super(channel, { map });
    const step = () => journey.step(this, (data) => this.send(data));
    this.callEvery(1, step);
    this.handleRead = async () => {
      journey.take(this.recv(journey.size));
      if (journey.below(2) === 0) step();
      await turn();
      step();
    };
  }
  override handleError(error: unknown) {
    throw error;
  }
}

/** Buffers what it sends. Now and then, `writable()` holds that back. */
class Buffering extends DispatcherWithSend {
  constructor(journey: Journey, channel: Channel, map: TestMap) {
    super(channel, { map });
    const step = () => journey.step(this, (data) => this.send(data));
    this.callEvery(1, step);
    this.handleRead = () => {
      journey.take(this.recv(journey.size));
      step();
    };
    if (journey.below(2) === 0) this.writable = () => journey.below(3) > 0;
  }
  override handleError(error: unknown) {
    throw error;
  }
}

/** Its `send()` takes a part of what it gets, now and then. */
class Talking extends AsyncChat {
  constructor(journey: Journey, channel: Channel, map: TestMap) {
    super(channel, { map });
    const step = () => journey.step(this, (data) => this.push(data));
    this.callEvery(1, step);
    const terminator = TERMINATORS[journey.below(TERMINATORS.length)]!;
    this.setTerminator(terminator);
    this.collectIncomingData = (data) => {
      journey.take(data);
      step();
    };
    this.foundTerminator = () => {
      if (terminator === PAIR) journey.take(PAIR);
      this.setTerminator(terminator);
      step();
    };
    if (journey.below(2) === 0) {
      this.send = (data) => super.send(data.slice(0, journey.size));
    }
  }
  override handleError(error: unknown) {
    throw error;
  }
}

const HANDLERS = [Plain, Async, Buffering, Talking];

/** Sends all of the input in random pieces, at random times. */
async function sendInput(peer: Channel, { input }: Journey, seed: number) {
  const random = randomFrom(seed + 1);
  for (let at = 0; at < LENGTH;) {
    const size = 1 + Math.floor(2 ** (16 * random()));
    at += await peer.write(input.subarray(at, at + size));
    if (random() < 0.2) await turn();
  }
}

const MEMORY = {
  name: "memory",
  ignore: false,
  connect: () => Promise.resolve(memoryPair()),
};
for (const { name, ignore, connect } of [...TRANSPORTS, MEMORY]) {
  Deno.test({
    name: `A connection that is handed on at random loses no byte (${name})`,
    ignore,
    async fn() {
      const seed = newSeed();
      const maps = [quietMap(), quietMap()];
      const journey = new Journey(seed, maps);
      const [ours, peer] = await connect();
      const sending = watch(sendInput(peer, journey, seed));
      const output = readAll(peer);
      journey.begin(ours);

      const isDone = () =>
        journey.failure !== null ||
        journey.isOver && maps.every(({ size }) => size === 0);
      await Promise.all(maps.map((map) => loopUntil(map, isDone)));
      assertEquals(journey.failure, null);
      assertEquals(await output, journey.output);
      assert(sending.settled);
      assertEquals(sending.error, undefined);
      assertGreater(journey.handovers, 20);
      peer.close();
      await Promise.all(maps.map((map) => loopToEnd(map)));
    },
  });
}
