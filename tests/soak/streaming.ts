/** A dispatcher whose bytes go through Web streams. */

import { DispatcherWithSend, toStreams } from "../../mod.ts";
import type { Fault } from "./plan.ts";
import { wait } from "./wait.ts";
import { watched, type WatchedDispatcher } from "./watched.ts";

/** Converses by `toStreams()`. */
export class Streaming extends watched(DispatcherWithSend) {
  #writer!: WritableStreamDefaultWriter<Uint8Array>;
  readonly #begun: PromiseWithResolvers<void> = Promise.withResolvers();
  /** All is sent and received, so both directions are to end. */
  readonly #finished: PromiseWithResolvers<void> = Promise.withResolvers();
  #talks = 0;

  /** Streams are made of a connection that stands, or of one that is made. */
  converse(): void {
    const { plan, name } = this.side;
    const { highWaterMark } = plan;
    const { readable, writable } = toStreams(this, { highWaterMark });
    this.#writer = writable.getWriter();
    // Its failure is told by whatever is written.
    this.#writer.closed.catch(() => {});
    if (name === "client") this.begin();
    this.#run(this.#send());
    this.#run(this.#receive(readable));
  }

  override attend(...args: Parameters<WatchedDispatcher["attend"]>): void {
    super.attend(...args);
    if (this.connected) this.converse();
  }
  override connect(...args: Parameters<WatchedDispatcher["connect"]>): void {
    super.connect(...args);
    this.converse();
  }
  override handleConnect(): void {
    this.side.connects++;
  }
  override begin(): void {
    this.side.begin();
    this.#begun.resolve();
  }

  override get isGone(): boolean {
    return super.isGone && this.#talks === 0;
  }

  async #run(talk: Promise<void>): Promise<void> {
    this.#talks++;
    try {
      await talk;
    } catch (error) {
      this.side.failures.push(error);
    } finally {
      this.#talks--;
      this.#begun.resolve();
      this.#finished.resolve();
    }
  }

  async #send(): Promise<void> {
    const { side } = this;
    const writer = this.#writer;
    if (this.header) await writer.write(this.header);
    await this.#begun.promise;
    while (side.mayOffer) {
      const piece = side.offer();
      await writer.write(piece);
      if (side.isOver) return;
      side.accept(piece.length, piece.length);
      await wait(side.takePause());
    }
    if (side.isOver) return;
    if (side.plan.ending !== "halves") await this.#finished.promise;
    if (!side.isOver) await writer.close();
  }

  async #receive(readable: ReadableStream<Uint8Array>): Promise<void> {
    const { side } = this;
    if (side.dice.chance(0.5)) {
      for await (const data of readable) this.#take(data);
    } else {
      const reader = readable.getReader({ mode: "byob" });
      for (;;) {
        const view = new Uint8Array(side.plan.readSize);
        const { value } = await reader.read(view);
        if (!value?.length) break;
        this.#take(value);
      }
    }
    if (side.isOver) return;
    side.onPeerEnd();
    if (side.plan.startsLast) this.begin();
    this.#finished.resolve();
  }

  /** What had come before the end may be read after it. */
  #take(data: Uint8Array): void {
    if (!this.side.isOver) this.side.take(data);
  }

  // The writable ends by itself when all is written.
  override endWriting(): void {}
  override finish(): void {
    this.#finished.resolve();
  }
  override act(fault: Fault): void {
    if (fault.kind !== "abort" || this.side.dice.chance(0.5)) super.act(fault);
    else this.#writer.abort(new Error("planned")).catch(() => {});
  }
}
