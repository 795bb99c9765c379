/** The dispatchers of the soak: one for each way to use the library. */

import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  type ProducerLike,
  type SocketMap,
  toStreams,
} from "../../mod.ts";
import { bytes } from "../support.ts";
import { wait } from "./random.ts";
import type { Fault, Kind } from "./plan.ts";
import type { Party, Side } from "./side.ts";

/** How long a closed dispatcher lingers, in ms: on a busy machine, too. */
const LINGER = 15_000;

// deno-lint-ignore no-explicit-any -- TypeScript asks for it in a mixin.
type DispatcherClass = abstract new (...args: any[]) => Dispatcher;

/** Has a dispatcher do what its side's plan says … */
function acting<T extends DispatcherClass>(Base: T) {
  abstract class Acting extends Base implements Party {
    side!: Side;
    /** Tells the server which connection this is. */
    header: Uint8Array = new Uint8Array(0);

    attend(side: Side): void {
      this.side = side;
      side.party = this;
      const { fault } = side;
      if (fault?.place !== "timer") return;
      this.callLater(fault.ms, () => {
        const error = side.errorAt("timer");
        if (error) throw error;
      });
    }
    begin(): void {
      this.side.begin();
      this.goOn();
    }
    /** Sends more, if that is up to us. */
    goOn(): void {}
    /** Pauses if it is time to, and then goes on. */
    rest(): void {
      const ms = this.side.takePause();
      if (ms === 0) return;
      this.side.isResting = true;
      this.callLater(ms, () => {
        this.side.isResting = false;
        this.goOn();
      });
    }

    endWriting(): void {
      this.shutdownWrite();
    }
    finish(): void {
      this.close();
    }
    act({ kind }: Fault): void {
      if (kind === "abort") this.abort();
      else this.close();
    }
    move(map: SocketMap): void {
      if (this.socket) this.addChannel(map);
    }
    get isGone(): boolean {
      return this.socket === null && !this.connecting && !this.closing;
    }
  }
  return Acting;
}

/** … and tell the side what happens. */
function sided<T extends DispatcherClass>(Base: T) {
  abstract class Sided extends acting(Base) {
    override handleConnect(): void | Promise<void> {
      return this.side.hook("handleConnect", () => {
        this.side.connects++;
        if (this.send(this.header) < this.header.length) {
          this.side.complain("send() takes nothing in handleConnect()");
        }
        this.begin();
      });
    }
    override handleEnd(): void | Promise<void> {
      return this.side.hook("handleEnd", () => {
        this.side.onPeerEnd();
        this.goOn();
      });
    }
    override handleClose(): void | Promise<void> {
      this.side.closes++;
      return this.side.hook("handleClose", () => this.close());
    }
    override handleTimeout(kind: "idle" | "lifetime"): void | Promise<void> {
      this.side.onTimeout(kind);
      return super.handleTimeout(kind);
    }
    override handleError(error: unknown): void | Promise<void> {
      return this.side.onError(error, () => super.handleError(error));
    }
    override close(): void {
      this.side?.onClose();
      super.close();
    }
    override abort(): void {
      this.side?.onClose();
      super.abort();
    }
  }
  return Sided;
}

/** Asks its own predicates, and sends what it can when it can. */
class Predicates extends sided(Dispatcher) {
  readonly #buffer = new Uint8Array(2_000);
  #isFull = false;

  #isAsked(predicate: string, answer: boolean): boolean {
    const error = this.side.errorAt(predicate);
    if (error) throw error;
    return answer;
  }
  override readable(): boolean {
    return this.#isAsked("readable", !this.#isFull);
  }
  override writable(): boolean {
    return this.#isAsked("writable", this.side.mayOffer);
  }
  override handleRead(): void | Promise<void> {
    return this.side.hook("handleRead", () => this.#receive(), true);
  }
  override handleWrite(): void | Promise<void> {
    return this.side.hook("handleWrite", () => {
      if (!this.side.mayOffer) return;
      this.side.sendBy((data) => this.send(data));
      this.rest();
    }, true);
  }

  #receive(): void {
    const { side } = this;
    const data = side.random.chance(0.2)
      ? this.#buffer.slice(0, this.recvInto(this.#buffer))
      : this.recv(side.plan.readSize);
    if (data.length > 0) side.take(data);
    const pause = side.isOver ? 0 : side.takeReadPause();
    if (pause === 0) return;
    this.#isFull = true;
    this.callLater(pause, () => void (this.#isFull = false));
  }
}

/** Sends ahead, up to the high water mark, and goes on when told to. */
class Buffered extends sided(DispatcherWithSend) {
  override handleRead(): void | Promise<void> {
    return this.side.hook("handleRead", () => {
      const data = this.recv(this.side.plan.readSize);
      if (data.length > 0) this.side.take(data);
    }, true);
  }
  override handleDrain(): void | Promise<void> {
    return this.side.hook("handleDrain", () => this.goOn());
  }
  override goOn(): void {
    const { side } = this;
    while (side.mayOffer && this.bufferedAmount < this.highWaterMark) {
      // Nothing is taken any more when the connection is broken.
      if (!side.sendBy((data) => this.send(data))) return;
      this.rest();
    }
  }
}

const TERMINATORS = ["\n", "\r\n", "\r\n\r\n"];

/** Takes the stream apart at ever other terminators, and pushes pieces. */
class Chat extends sided(AsyncChat) {
  override attend(side: Side): void {
    super.attend(side);
    this.#chooseTerminator();
  }
  #chooseTerminator(): void {
    const { random } = this.side;
    if (random.chance(0.3)) this.setTerminator(random.log(1, 20_000));
    else {this.setTerminator(
        random.chance(0.02) ? null : random.one(TERMINATORS),
      );}
  }
  #take(data: Uint8Array, chance: number): void {
    const { side } = this;
    if (data.length > 0) side.take(data);
    if (!side.isOver && side.random.chance(chance)) this.#chooseTerminator();
  }

  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    const take = () => this.#take(data, 0.02);
    return this.side.hook("collectIncomingData", take);
  }
  override foundTerminator(): void | Promise<void> {
    const found = this.getTerminator();
    const data = bytes(typeof found === "string" ? found : "");
    return this.side.hook("foundTerminator", () => this.#take(data, 1));
  }
  /** The rest is to come as if it were a message of its own. */
  override handleOverflow(): void {}
  override handleDrain(): void | Promise<void> {
    return this.side.hook("handleDrain", () => this.goOn());
  }
  override goOn(): void {
    const { side } = this;
    while (side.mayOffer && this.bufferedAmount < this.highWaterMark) {
      side.sendBy((data) => {
        this.push(data);
        return data.length;
      });
      this.rest();
    }
  }

  override finish(): void {
    if (this.side.random.chance(0.5)) this.closeWhenDone();
    else super.finish();
  }
  override act(fault: Fault): void {
    const { side } = this;
    if (fault.kind !== "close" || side.random.chance(0.5)) super.act(fault);
    else {
      side.isStalled = side.isDeaf = true;
      this.closeWhenDone();
    }
  }
  /** What is pushed by then goes out, and nothing is heard any more. */
  override handleShutdown(): void | Promise<void> {
    this.side.isStalled = this.side.isDeaf = true;
    return super.handleShutdown();
  }
}

/** Pushes sources of every kind, each of which goes on where another ended. */
class Producing extends Chat {
  override handleDrain(): void {}
  override goOn(): void {
    const { side } = this;
    // What a source is asked for may be what ends it all.
    const mayPush = () => side.begun && side.hasMore && !side.isDeaf;
    for (let i = side.random.int(0, 3); i > 0 && mayPush(); i--) {
      this.pushWithProducer(this.#source(side.random.log(1, 50)));
    }
    if (mayPush()) this.pushWithProducer(this.#source(Infinity));
  }
  override handleError(error: unknown): void | Promise<void> {
    const result = super.handleError(error);
    // What its source did not give is still to come.
    if (this.side.fault?.place === "producer") this.goOn();
    return result;
  }

  #source(pieces: number): ProducerLike {
    const next = () => this.#next(pieces-- > 0);
    const { random } = this.side;
    const slowly = async () => {
      await wait(random.int(0, 3));
      return next() ?? "";
    };
    switch (random.int(0, 4)) {
      case 0:
        return { more: () => next() ?? "" };
      case 1:
        return { more: slowly };
      case 2:
        return generate(next);
      case 3:
        return generateSlowly(next);
      default:
        return ReadableStream.from(generate(next));
    }
  }

  /** The next piece; that it is asked for means that the last one was taken. */
  #next(goesOn: boolean): Uint8Array | null {
    const { side } = this;
    if (side.isOver) return null;
    side.accept();
    const error = side.errorAt("producer");
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
  for (const piece of generate(next)) {
    yield piece;
    await null;
  }
}

/** Converses by `toStreams()`. */
class Streaming extends sided(DispatcherWithSend) {
  #writer!: WritableStreamDefaultWriter<Uint8Array>;
  readonly #begun: PromiseWithResolvers<void> = Promise.withResolvers();
  /** All is sent and received, so both directions are to end. */
  readonly #finished: PromiseWithResolvers<void> = Promise.withResolvers();
  #talks = 2;

  /** Streams are made of a connection that stands, or of one that is made. */
  #converse(): void {
    const { highWaterMark } = this;
    const { readable, writable } = toStreams(this, { highWaterMark });
    this.#writer = writable.getWriter();
    // Its failure is told by whatever is written.
    this.#writer.closed.catch(() => {});
    for (const talk of [this.#send(), this.#receive(readable)]) {
      talk.catch((error) => this.side.failures.push(error)).then(() => {
        this.#talks--;
        this.#begun.resolve();
        this.#finished.resolve();
      });
    }
  }

  override attend(side: Side): void {
    super.attend(side);
    if (this.connected) this.#converse();
  }
  override connect(...args: Parameters<Dispatcher["connect"]>): void {
    super.connect(...args);
    this.#converse();
    this.begin();
  }
  override handleConnect(): void {
    this.side.connects++;
  }
  override goOn(): void {
    if (this.side.begun) this.#begun.resolve();
  }
  override get isGone(): boolean {
    return super.isGone && this.#talks === 0;
  }

  async #send(): Promise<void> {
    const { side } = this;
    const writer = this.#writer;
    if (this.header.length > 0) await writer.write(this.header);
    await this.#begun.promise;
    while (side.mayOffer) {
      await writer.write(side.offer());
      if (side.isOver) return;
      side.accept();
      await wait(side.takePause());
    }
    if (side.isOver) return;
    if (side.plan.ending !== "halves") await this.#finished.promise;
    if (!side.isOver) await writer.close();
  }

  async #receive(readable: ReadableStream<Uint8Array>): Promise<void> {
    const { side } = this;
    // What had come before the end may be read after it.
    const take = (data: Uint8Array) => side.isOver || side.take(data);
    if (side.random.chance(0.5)) {
      for await (const data of readable) take(data);
    } else {
      const reader = readable.getReader({ mode: "byob" });
      for (;;) {
        const view = new Uint8Array(side.plan.readSize);
        const { value } = await reader.read(view);
        if (!value?.length) break;
        take(value);
      }
    }
    if (side.isOver) return;
    side.onPeerEnd();
    this.goOn();
    this.#finished.resolve();
  }

  // The writable ends by itself when all is written.
  override endWriting(): void {}
  override finish(): void {
    this.#finished.resolve();
  }
  override act(fault: Fault): void {
    if (fault.kind !== "abort" || this.side.random.chance(0.5)) {
      super.act(fault);
    } else this.#writer.abort(new Error("planned")).catch(() => {});
  }
}

const CLASSES = {
  predicates: Predicates,
  buffered: Buffered,
  chat: Chat,
  producers: Producing,
  streams: Streaming,
};

/** Makes the dispatcher that a side's plan asks for. */
export function makeParty(
  side: Side,
  map: SocketMap,
  channel: Channel | null = null,
) {
  const { allowHalfOpen, idleTimeout, lifetime } = side.plan;
  const { kind, highWaterMark, maxLength } = side.plan;
  const Class = CLASSES[kind as Exclude<Kind, "raw">];
  const isChat = Class.prototype instanceof AsyncChat;
  const isBuffering = isChat || Class.prototype instanceof DispatcherWithSend;
  const party = new Class(channel, {
    map,
    linger: LINGER,
    allowHalfOpen,
    idleTimeout,
    lifetime,
    highWaterMark: isBuffering ? highWaterMark : undefined,
    maxLength: isChat ? maxLength : undefined,
  });
  party.attend(side);
  return party;
}
