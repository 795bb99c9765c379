/**
 * The end of a connection, so that its peer receives all that was accepted.
 *
 * The kernel answers bytes that nobody has read or will read with a reset, and
 * a reset throws away what the peer has not yet taken (RFC 1122, section
 * 4.2.2.13; RFC 9112, section 9.6). So the writing direction ends first, and
 * what the peer still sends is read and dropped until it ends its side as well.
 *
 * @module
 */

import type { CheckedChannel } from "./channel.ts";
import { isReset } from "./errors.ts";
import type { Clock } from "./clock.ts";
import type { Inbound, InboundEvents } from "./reader.ts";
import type { Outbound } from "./writer.ts";

/**
 * For how many linger times a peer may go on talking that takes nothing more.
 * nginx has the same: `lingering_timeout` 5 s, `lingering_time` 30 s.
 */
const MOST_LINGERS = 6;
/** More bytes than this may lie in the kernel for a peer that has not read them. */
const MUCH = 64 * 1024;

const NO_BYTES = new Uint8Array(0);

/** What a {@linkcode Closing} needs of its connection. */
export interface ClosingOptions {
  clock: Clock;
  /** How long the peer may neither take, send nor end anything, in ms. */
  linger: number;
  /** The lifetime of the connection is over. */
  isOver(): boolean;
  /** Nothing is left to be done: the channel can be closed. */
  finished(): void;
}

/** Sends what was accepted, ends the writing direction, waits for the peer's end. */
export class Closing implements InboundEvents {
  readonly #outbound: Outbound;
  readonly #options: ClosingOptions;
  #channel: CheckedChannel | null = null;
  #inbound: Inbound | null = null;
  #timer: unknown = undefined;
  /** When the peer took, sent or ended something for the last time. */
  #activeAt: number;
  /** When it took something for the last time, as far as that can be seen. */
  #takenAt: number;
  /** When it said something for the last time. */
  #talkedAt = -Infinity;
  #written: number;
  /** The writing direction has ended: only the peer's end is waited for. */
  #hasEnded = false;
  #isFinished = false;
  /** It ended while the peer was talking, which is answered with a reset. */
  isCut = false;

  /** Begins; {@linkcode attach} follows when the connection stands. */
  constructor(outbound: Outbound, options: ClosingOptions) {
    this.#outbound = outbound;
    this.#options = options;
    this.#written = outbound.written;
    this.#activeAt = this.#takenAt = options.clock.now();
    this.#watch();
    outbound.done().then(() => this.#endWriting());
  }

  /** Takes over a connection that stands. */
  attach(channel: CheckedChannel, inbound: Inbound): void {
    this.#channel = channel;
    this.#inbound = inbound;
    inbound.listener = this;
    // A peer that writes before it reads would wait for ever otherwise.
    if (channel.endsWriting) this.#dropInput();
  }

  /** The peer has taken some bytes. */
  onProgress(): void {
    const { written } = this.#outbound;
    if (written === this.#written) return;
    this.#written = written;
    this.#takenAt = this.#activeAt = this.#options.clock.now();
  }

  /** The peer has sent or ended something. */
  onReady(): void {
    if (this.#isFinished) return;
    const { clock } = this.#options;
    this.#activeAt = clock.now();
    const { ended, unsupported } = this.#inbound!;
    if (!ended && !unsupported) {
      this.#talkedAt = this.#activeAt;
      // A turn between two reads: a channel that always has something must not
      // keep the runtime from everything else.
      clock.setImmediate(() => this.#dropInput());
    } else if (this.#hasEnded) this.#onEnd();
  }

  /** Waits no longer for a peer that has not ended its side. */
  cut(): void {
    if (this.#isFinished) return;
    const { clock, linger } = this.#options;
    this.isCut = this.#hasEnded && clock.now() < this.#talkedAt + linger;
    this.finish();
  }

  /** Waits no longer. */
  finish(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#options.clock.clearTimeout(this.#timer);
    this.#options.finished();
  }

  /**
   * Both sides have ended. Where a reset came right behind the peer's end, reads
   * do not tell, but a write of nothing does. It is worth its cost where much may
   * be lost, and for sockets of Deno's only.
   */
  async #onEnd(): Promise<void> {
    const { channel } = this.#channel!;
    if (this.#outbound.written > MUCH && "setNoDelay" in channel) {
      try {
        await channel.write(NO_BYTES);
      } catch (error) {
        if (isReset(error)) this.#inbound!.reason ??= error as Error;
      }
    }
    this.finish();
  }

  #dropInput(): void {
    if (this.#isFinished) return;
    this.#inbound!.discard();
    this.#inbound!.arm();
  }

  async #endWriting(): Promise<void> {
    const channel = this.#channel;
    const outbound = this.#outbound;
    // Closing a channel that has no such end, a file say, loses nothing.
    if (!outbound.failed && channel?.endsWriting) {
      outbound.end();
      if (await outbound.writeClosed) {
        this.#hasEnded = true;
        const { ended, unsupported } = this.#inbound!;
        if (ended || unsupported) return this.#onEnd();
        if (!channel.isLocal) return;
        // Unread bytes would only make the peer's end look like a reset.
        await this.#turn();
        await this.#turn();
      }
    }
    this.finish();
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.setImmediate(resolve));
  }

  #watch(): void {
    const { clock } = this.#options;
    const rest = Math.max(0, this.#end - clock.now());
    this.#timer = clock.setTimeout(() => this.#onTime(), rest);
  }

  /** When it is enough, unless something happens until then. */
  get #end(): number {
    const { linger } = this.#options;
    return Math.min(
      this.#activeAt + linger,
      this.#takenAt + MOST_LINGERS * linger,
    );
  }

  #onTime(): void {
    if (this.#isFinished) return;
    const { clock, linger, isOver } = this.#options;
    const isLate = clock.now() >= this.#end;
    if (!isLate && !isOver()) {
      this.#watch();
      return;
    }
    if (this.#outbound.pending > 0) {
      const isTalking = clock.now() < this.#activeAt + linger;
      const time = isTalking ? MOST_LINGERS * linger : linger;
      const reason = isLate
        ? `its peer took nothing for ${time} ms`
        : "its lifetime is over";
      this.#outbound.fail(new Error(reason));
    }
    this.cut();
  }
}
