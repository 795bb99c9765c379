/** The dispatchers of the soak: one for each way to use the library. */

import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  type ProducerLike,
  type SocketMap,
} from "../../mod.ts";
import type { Fault, Kind } from "./plan.ts";
import type { Side } from "./side.ts";
import { Streaming } from "./streaming.ts";
import { wait } from "./wait.ts";
import { optionsOf, watched, type WatchedDispatcher } from "./watched.ts";

/** Asks its own predicates, and sends what it can when it can. */
class Predicates extends watched(Dispatcher) {
  readonly #buffer = new Uint8Array(2_000);
  #isResting = false;

  override readable(): boolean {
    const error = this.side.hooks.errorAt("readable");
    if (error) throw error;
    return !this.side.isHeld && !this.#isResting;
  }
  override writable(): boolean {
    const error = this.side.hooks.errorAt("writable");
    if (error) throw error;
    return this.side.mayOffer;
  }
  override handleRead(): void | Promise<void> {
    return this.side.hooks.run("handleRead", () => this.#receive(), {
      early: true,
    });
  }
  override handleWrite(): void | Promise<void> {
    return this.side.hooks.run("handleWrite", () => {
      if (!this.side.mayOffer) return;
      this.side.sendBy((data) => this.send(data));
      this.rest();
    }, { early: true });
  }

  #receive(): void {
    const { side } = this;
    if (side.dice.chance(0.2)) {
      const length = this.recvInto(this.#buffer);
      if (length > 0) side.take(this.#buffer.slice(0, length));
    } else {
      const data = this.recv(side.plan.readSize);
      if (data.length > 0) side.take(data);
    }
    if (side.isOver || !side.plan.rests || side.dice.chance(0.95)) return;
    side.stalls++;
    this.#isResting = true;
    this.callLater(side.dice.int(0, 20), () => void (this.#isResting = false));
  }

  protected override async fallSilent(): Promise<void> {
    const { fault, givenUp } = this.side;
    await givenUp;
    this.callLater(fault!.ms, () => {
      if (fault!.resumes) this.side.isHeld = false;
      else this.close();
    });
  }
}

/** Sends ahead, up to the high water mark, and goes on when told to. */
class Buffered extends watched(DispatcherWithSend) {
  override handleRead(): void | Promise<void> {
    return this.side.hooks.run("handleRead", () => {
      const data = this.recv(this.side.plan.readSize);
      if (data.length > 0) this.side.take(data);
    }, { early: true });
  }
  override handleDrain(): void | Promise<void> {
    return this.side.hooks.run("handleDrain", () => this.goOn());
  }
  protected override goOn(): void {
    const { side } = this;
    while (side.mayOffer && this.bufferedAmount < this.highWaterMark) {
      // Nothing is taken any more when the connection is broken.
      if (side.sendBy((data) => this.send(data)) === 0) return;
      this.rest();
    }
  }
}

const encoder = new TextEncoder();
const TERMINATORS = ["\n", "\r\n", "\r\n\r\n"];

/** Takes the stream apart at ever other terminators. */
abstract class Chat extends watched(AsyncChat) {
  override attend(...args: Parameters<WatchedDispatcher["attend"]>): void {
    super.attend(...args);
    this.#chooseTerminator();
  }

  #chooseTerminator(): void {
    const { dice } = this.side;
    if (dice.chance(0.3)) this.setTerminator(dice.log(1, 20_000));
    else this.setTerminator(dice.chance(0.02) ? null : dice.one(TERMINATORS));
  }

  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    return this.side.hooks.run("collectIncomingData", () => {
      this.side.take(data);
      if (!this.side.isOver && this.side.dice.chance(0.02)) {
        this.#chooseTerminator();
      }
    });
  }
  override foundTerminator(): void | Promise<void> {
    const terminator = this.getTerminator();
    return this.side.hooks.run("foundTerminator", () => {
      if (typeof terminator === "string") {
        this.side.take(encoder.encode(terminator));
      }
      if (!this.side.isOver) this.#chooseTerminator();
    });
  }
  /** The rest is to come as if it were a message of its own. */
  override handleOverflow(): void {}

  override finish(): void {
    if (this.side.dice.chance(0.5)) this.closeWhenDone();
    else super.finish();
  }
  override act(fault: Fault): void {
    if (fault.kind !== "closePending" || this.side.dice.chance(0.5)) {
      super.act(fault);
      return;
    }
    this.side.isStalled = this.side.isDeaf = true;
    this.closeWhenDone();
  }
  /** What is pushed by then goes out, and nothing is heard any more. */
  override handleShutdown(): void | Promise<void> {
    this.side.isStalled = this.side.isDeaf = true;
    return super.handleShutdown();
  }
}

/** Pushes pieces. */
class Pushing extends Chat {
  override handleDrain(): void | Promise<void> {
    return this.side.hooks.run("handleDrain", () => this.goOn());
  }
  protected override goOn(): void {
    const { side } = this;
    while (side.mayOffer && this.bufferedAmount < this.highWaterMark) {
      side.sendBy((data) => {
        this.push(data);
        return data.length;
      });
      this.rest();
    }
  }
}

/** Pushes sources of every kind, each of which goes on where another ended. */
class Producing extends Chat {
  protected override goOn(): void {
    const { side } = this;
    // What a source is asked for may be what ends it all.
    const mayPush = () => side.hasMore && !side.isDeaf;
    for (let i = side.dice.int(0, 3); i > 0 && mayPush(); i--) {
      const pieces = side.dice.log(1, 50);
      this.pushWithProducer(this.#source(pieces));
    }
    if (mayPush()) this.pushWithProducer(this.#source(Infinity));
  }

  override handleError(error: unknown): void | Promise<void> {
    const result = super.handleError(error);
    // What its source did not give is still to come.
    const { fault } = this.side;
    if (fault?.place === "producer") this.goOn();
    return result;
  }

  #source(pieces: number): ProducerLike {
    const next = () => this.#next(pieces-- > 0);
    const { dice } = this.side;
    switch (dice.int(0, 4)) {
      case 0:
        return { more: () => next() ?? "" };
      case 1:
        return {
          more: async () => {
            await wait(dice.int(0, 3));
            return next() ?? "";
          },
        };
      case 2:
        return generate(next);
      case 3:
        return generateSlowly(next);
      default:
        return streamOf(next);
    }
  }

  /** The next piece; that it is asked for means that the last one was taken. */
  #next(goesOn: boolean): Uint8Array | null {
    const { side } = this;
    if (side.isOver) return null;
    side.accept(0, 0);
    const error = side.hooks.errorAt("producer");
    if (error) throw error;
    return goesOn && side.hasMore ? side.offer() : null;
  }
}

function* generate(next: () => Uint8Array | null): Generator<Uint8Array> {
  for (let piece; (piece = next()) !== null;) yield piece;
}

async function* generateSlowly(
  next: () => Uint8Array | null,
): AsyncGenerator<Uint8Array> {
  for (let piece; (piece = next()) !== null;) {
    yield piece;
    await null;
  }
}

function streamOf(next: () => Uint8Array | null): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const piece = next();
      if (piece === null) controller.close();
      else controller.enqueue(piece);
    },
  }, { highWaterMark: 0 });
}

const CLASSES = {
  predicates: Predicates,
  buffered: Buffered,
  chat: Pushing,
  producers: Producing,
  streams: Streaming,
};

/** Makes the dispatcher that a side's plan asks for. */
export function makeParty(
  side: Side,
  map: SocketMap,
  channel: Channel | null = null,
): WatchedDispatcher {
  const Class = CLASSES[side.plan.kind as Exclude<Kind, "raw">];
  return new Class(channel, optionsOf(side, map));
}
