/** Classes with a send() or a writable() of their own, for the tests of the gate. */

import { DispatcherWithSend } from "../mod.ts";
import type { Channel } from "../mod.ts";
import { Talker } from "./chats.ts";
import type { TestMap } from "./support.ts";
import { text } from "./support.ts";

/** Notes what each call of its send() took. */
export class Counter extends Talker {
  readonly pieces: string[] = [];

  override send(data: Uint8Array): number {
    const taken = super.send(data);
    if (taken > 0) this.pieces.push(text(data.subarray(0, taken)));
    return taken;
  }
}

/** A chat whose writable() says no until it is opened. */
export class Throttled extends Counter {
  isOpen = false;

  override writable(): boolean {
    return this.isOpen && super.writable();
  }
}

/** A chat whose send() does what the test says. */
export class Odd extends Counter {
  /** What send() does with a piece; by default, the chat takes all of it. */
  take: (data: Uint8Array) => unknown = (data) => this.pass(data);

  /** Sends as the class above does. */
  pass(data: Uint8Array): number {
    return super.send(data);
  }
  override send(data: Uint8Array): number {
    return this.take(data) as number;
  }
}

/** A DispatcherWithSend whose writable() says no until it is opened. */
export class ThrottledSender extends DispatcherWithSend {
  isOpen = false;
  /** What was given to send(). */
  given = "";
  drains = 0;

  constructor(map: TestMap, channel: Channel | null = null) {
    super(channel, { map, highWaterMark: 100 });
  }
  override readable(): boolean {
    return false;
  }
  override writable(): boolean {
    return this.isOpen && super.writable();
  }
  override send(data: Uint8Array | string): number {
    this.given += typeof data === "string" ? data : text(data);
    return super.send(data);
  }
  override handleDrain(): void {
    this.drains++;
  }
}
