/**
 * How a connection ends, so that its peer receives all accepted bytes.
 *
 * If a socket is closed with unread bytes, or bytes arrive after that, the kernel
 * resets the connection. After a reset, the peer loses the bytes that it has not
 * yet read (RFC 1122, section 4.2.2.13; RFC 9112, section 9.6). So the connection
 * lingers: it ends its writing direction, and reads and drops the peer's bytes
 * until the peer has ended its side, too. If its source knows what the peer has
 * acknowledged, it also waits until that is everything.
 *
 * @module
 */

import type { CheckedChannel } from "./channel.ts";
import type { Clock } from "./clock.ts";
import type { Connecting, Outcome } from "./connecting.ts";
import { failureOf, isDisconnect, isReset } from "./errors.ts";
import type { Hooks } from "./hooks.ts";
import type { Limits } from "./limits.ts";
import { describeError } from "./log.ts";
import type { About } from "./own_lines.ts";
import type { Releasable, Release } from "./release.ts";
import type { Source, WriteListener } from "./source.ts";
import type { Writer } from "./writer.ts";

/** A connection, as far as its end needs it. */
export interface ClosingConnection extends Releasable {
  readonly options: { readonly linger: number };
  readonly state: string;
  readonly addr: Deno.Addr | null;
  readonly checked: CheckedChannel | null;
  readonly source: Source | null;
  readonly writer: Writer;
  readonly hooks: Hooks;
  readonly limits: Limits | null;
  readonly release: Release;
  readonly connecting: Connecting | null;
  outcome: Outcome | null;
  readonly failure: { readonly isTold: boolean } | null;
  readonly isReleased: boolean;
  readonly lostBehind: number;
  readonly wasReset: boolean;
  go(event: "linger" | "release" | "free"): void;
  attach(checked: CheckedChannel): void;
  warn(message: string, about?: About): void;
}

/**
 * A peer that goes on sending, but takes nothing, is cut off after this many times
 * `linger`. If the source knows what the peer has acknowledged, that holds for a
 * peer that has acknowledged everything. A larger number waits longer for a peer
 * that still reads what its kernel holds; a smaller one frees the descriptor of an
 * endless sender sooner.
 * The value is a choice: nginx has the same ratio (`lingering_timeout` 5 s,
 * `lingering_time` 30 s).
 */
const MOST_LINGERS = 6;
/**
 * A connection that has written more bytes than this checks at its end whether
 * the peer has reset it, and warns of that whatever types of lines the dispatcher
 * ignores. A larger number misses more losses; a smaller one costs a call to the
 * system for more connections, and brings lines about peers that only left before
 * the last answer. The value is a choice, not measured.
 */
const CHECK_RESET_ABOVE = 64 * 1024;

/**
 * How often in each `linger` it looks whether the peer has acknowledged more. A
 * larger number ends the wait sooner after a `linger` without that: with 5, after
 * 1.2 times `linger` at most. A smaller one makes fewer calls to the system. The
 * value is a choice.
 */
const LOOKS = 5;

const NO_BYTES = new Uint8Array(0);

/** Ends one connection: lingers if need be, and releases the channel. */
export class Closing {
  readonly #connection: ClosingConnection;
  #lingering: Lingering | null = null;
  #isAborted = false;
  /** How many bytes the peer had not acknowledged at the close, as far as known. */
  #unacknowledged = 0;
  /** A hook knows that the connection broke, so no warning repeats it. */
  #isLossTold: boolean;

  constructor(connection: ClosingConnection) {
    this.#connection = connection;
    const { writer, hooks, failure } = connection;
    this.#isLossTold = writer.failed && (failure?.isTold || hooks.hasClosed);
  }

  /** Lingers if accepted bytes are at risk, and closes otherwise. */
  begin(): void {
    const connection = this.#connection;
    const { writer, reactor, checked, limits } = connection;
    const { linger } = connection.options;
    const isUnsent = writer.pending > 0 && !writer.failed &&
      (checked !== null || connection.state === "connecting");
    if (linger === 0 || !(isUnsent || this.#isAtRisk)) {
      writer.start(); // A pass with many entries may have put it off.
      this.#release();
      return;
    }
    connection.go("linger");
    reactor.lingering.add(connection);
    this.#lingering = new Lingering(writer, {
      clock: reactor.clock,
      linger,
      isOver: () => limits?.isOver ?? false,
      finished: () => this.#release(),
    });
    const { outcome } = connection;
    connection.outcome = null;
    if (outcome !== null) this.onOutcome(outcome);
    else if (checked !== null && !writer.isDetached) {
      writer.start();
      this.attach(checked, connection.source!);
    }
    this.#lingering.watch();
  }

  /**
   * The peer could lose what was written. Closing now could reset the connection,
   * because the peer's bytes are unread or still to come. Or the peer has not
   * acknowledged everything.
   */
  get #isAtRisk(): boolean {
    const { checked, writer, source } = this.#connection;
    if (!checked?.endsWriting || writer.written === 0) return false;
    if (writer.failed) return false;
    if (writer.isDetached || !source!.ended) return true;
    return unacknowledgedOf(checked, source) > 0;
  }

  /** An attempt to connect has ended, after the dispatcher has closed. */
  onOutcome(outcome: Outcome): void {
    const connection = this.#connection;
    if ("error" in outcome) {
      if (connection.isReleased) return;
      connection.writer.fail(failureOf("connect()", outcome.error));
    } else if (connection.isReleased) {
      connection.release.close(outcome.checked.channel);
    } else connection.attach(outcome.checked); // Accepted bytes go out to it.
  }

  /** The connection has a channel that stands. */
  attach(checked: CheckedChannel, source: Source): void {
    this.#lingering?.attach(checked, source);
  }

  /** A write has ended, or writing has failed. */
  onProgress(): void {
    if (this.#connection.isReleased) this.#connection.release.look();
    else this.#lingering?.onProgress();
  }

  /** A read has settled: input to be dropped, or the last of a closed channel. */
  onReadable(): void {
    if (this.#connection.isReleased) this.#connection.release.look();
    else this.#lingering?.onReadable();
  }

  /**
   * Closes at once.
   *
   * @param reason Why the library aborts: a warning then tells of lost bytes.
   * `null` if the program does.
   */
  abort(reason: Error | null): void {
    const { writer, isReleased, release } = this.#connection;
    const hasBegun = isReleased || this.#lingering !== null;
    if (!hasBegun && reason === null) this.#isLossTold = true;
    this.#isAborted = true;
    writer.fail(reason);
    if (release.isWaiting) release.free();
    else if (this.#lingering === null) this.#release();
    else if (reason === null) this.#lingering.finish();
    else this.#lingering.cut();
  }

  /** Closes the channel, or gives up the attempt to connect. */
  #release(): void {
    const connection = this.#connection;
    if (connection.isReleased) return;
    const { checked, source, outcome, release, writer } = connection;
    if (this.#lingering !== null || writer.error !== null) {
      this.#unacknowledged = unacknowledgedOf(checked, source);
    }
    connection.go("release");
    writer.isClosing = true;
    connection.connecting?.close();
    connection.outcome = null;
    if (outcome !== null && "checked" in outcome) {
      release.close(outcome.checked.channel);
    }
    if (source !== null) {
      source.isClosing = true;
    }
    if (checked !== null) release.close(checked.channel);
    release.begin(connection.addr?.transport === "udp");
  }

  /** How long an operation that does not settle may count as lingering, in ms. */
  get releaseTimeout(): number {
    const { linger } = this.#connection.options;
    return this.#isAborted || this.#lingering !== null ? 0 : linger;
  }

  /** The channel was closed while the peer was sending, which causes a reset. */
  get #wasCut(): boolean {
    return this.#lingering?.isCut ?? false;
  }

  /** The close took written bytes from the peer, or may have. */
  get hasLost(): boolean {
    return this.#wasCut || this.#unacknowledged > 0;
  }

  /** The system has released the socket: warns of what was lost. */
  onFree(): void {
    const connection = this.#connection;
    const { writer, wasReset } = connection;
    connection.go("free");
    // Only a close() with a linger of 0 leaves pending bytes.
    if (writer.pending > 0) writer.fail(new Error("its linger is 0"));
    const { error } = writer;
    const unacknowledged = this.#unacknowledged;
    const lost = writer.lost + unacknowledged;
    if (writer.lost > 0 || unacknowledged > 0 && !wasReset) {
      if (this.#isLossTold || error === null) return;
      // The system goes on sending what it holds of a connection that stands.
      const isSure = unacknowledged === 0 || wasReset || isDisconnect(error);
      const how = isSure ? "and lost" : "before its peer had acknowledged";
      connection.warn(
        `was closed ${how} ${lost} accepted bytes (${describeError(error)})`,
        { kind: "was closed and lost bytes", lost },
      );
    } else if (this.#lingering && (wasReset || this.#wasCut)) {
      const how = this.#wasCut ? "went on talking" : "reset the connection";
      const least = lost > 0 ? `, at least ${lost} bytes` : "";
      // Many clients hang up without reading the last answer: that is their choice.
      const isLoud = this.#wasCut || writer.written > CHECK_RESET_ABOVE;
      const kind = `was closed, and its peer ${how}`;
      connection.warn(
        `${kind}: what that had not yet read is lost${least}`,
        { kind, isLoud, lost },
      );
    }
  }
}

/**
 * How many written bytes the peer's system has not acknowledged, as far as known.
 * The bytes that a local socket holds arrive in any case.
 */
function unacknowledgedOf(
  checked: CheckedChannel | null,
  source: Source | null,
): number {
  return checked?.isLocal ? 0 : source?.unacknowledged ?? 0;
}

/** What {@linkcode Lingering} needs of its connection. */
interface LingeringOptions {
  clock: Clock;
  /** How long the peer may be inactive, in ms. */
  linger: number;
  /** Whether the lifetime of the connection is over. */
  isOver(): boolean;
  /** Lingering is over: the channel can be closed. */
  finished(): void;
}

/** Sends the accepted bytes, ends the writing direction, waits for the peer's end. */
class Lingering implements WriteListener {
  readonly #writer: Writer;
  readonly #options: LingeringOptions;
  #channel: CheckedChannel | null = null;
  #source: Source | null = null;
  #timer: unknown = undefined;
  readonly #beganAt: number;
  /** When the peer last took bytes, sent bytes or ended its side. */
  #activeAt: number;
  /** When the peer last took bytes, as far as this side can see. */
  #takenAt: number;
  /** When the peer last sent bytes. */
  #talkedAt = -Infinity;
  #written: number;
  /** The bytes that the peer had not acknowledged at the last look, if known. */
  #unacknowledged: number | undefined;
  /** The writing direction has ended. */
  #hasEnded = false;
  #isFinished = false;
  /** It ended while the peer was sending, which causes a reset. */
  isCut = false;

  /**
   * Begins to linger; {@linkcode attach} follows when the connection stands, and
   * {@linkcode watch} in any case.
   */
  constructor(writer: Writer, options: LingeringOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#written = writer.written;
    this.#beganAt = this.#activeAt = this.#takenAt = options.clock.now();
    writer.done().then(() => this.#endWriting());
  }

  /** The connection stands: it has a channel. */
  attach(channel: CheckedChannel, source: Source): void {
    this.#channel = channel;
    this.#source = source;
    source.inBackground = true;
    // A peer that has to write before it reads would wait for ever otherwise.
    if (channel.endsWriting) this.#dropInput();
    this.#unacknowledged = source.unacknowledged;
    if (this.#timer !== undefined) this.watch();
  }

  /** The peer may have taken bytes. */
  onProgress(): void {
    const { written } = this.#writer;
    if (written === this.#written) return;
    this.#written = written;
    this.#peerTook();
  }

  #peerTook(): void {
    this.#takenAt = this.#activeAt = this.#options.clock.now();
  }

  /** Looks whether the peer has acknowledged more, if the source knows. */
  #look(): void {
    const before = this.#unacknowledged;
    if (before === undefined) return;
    const now = this.#unacknowledged = this.#source!.unacknowledged;
    if (now !== undefined && now < before) this.#peerTook();
  }

  /** The peer has sent bytes, or ended its side. */
  onReadable(): void {
    if (this.#isFinished || this.#source === null) return;
    const { clock } = this.#options;
    this.#activeAt = clock.now();
    const { ended, unsupported } = this.#source!;
    if (!ended && !unsupported) {
      this.#talkedAt = this.#activeAt;
      // A turn between two reads: a channel that always has bytes must not keep
      // everything else in the process from running.
      clock.setImmediate(() => this.#dropInput());
    } else if (this.#hasEnded) this.#onEnd();
  }

  /** Stops lingering because the peer does not end its side. */
  cut(): void {
    if (this.#isFinished) return;
    const { clock, linger } = this.#options;
    this.isCut = this.#hasEnded && clock.now() < this.#talkedAt + linger;
    this.finish();
  }

  /** Stops lingering. */
  finish(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#options.clock.clearTimeout(this.#timer);
    this.#options.finished();
  }

  /**
   * Both sides have ended. After a close, the kernel would go on sending, but
   * nobody would learn of a loss.
   */
  async #onEnd(): Promise<void> {
    const channel = this.#channel!;
    const source = this.#source!;
    const isWaiting = source.reason === null &&
      unacknowledgedOf(channel, source) > 0;
    if (isWaiting) source.watchAcknowledged!(this);
    if (isWaiting || this.#writer.written > CHECK_RESET_ABOVE) {
      await this.#findReset();
    }
    if (!isWaiting || source.reason !== null) this.finish();
  }

  /**
   * If the peer has reset the connection after its end, a read does not tell, but
   * a write of no bytes fails. It costs a call, so it is made only if bytes may be
   * lost, and only over a socket of an engine.
   */
  async #findReset(): Promise<void> {
    const { channel } = this.#channel!;
    if (!("setNoDelay" in channel)) return;
    try {
      await channel.write(NO_BYTES);
    } catch (error) {
      if (isReset(error)) this.#source!.reason ??= error as Error;
    }
  }

  /** The peer may have acknowledged everything, or reset the connection. */
  onWritable(): void {
    if (!this.#isFinished) this.#onEnd();
  }

  /** The channel is closed. */
  onWriteError(): void {}

  #dropInput(): void {
    if (this.#isFinished) return;
    this.#source!.discard();
    this.#source!.watch();
  }

  async #endWriting(): Promise<void> {
    const channel = this.#channel;
    const writer = this.#writer;
    // Closing a channel without closeWrite(), such as a file, loses nothing.
    if (!writer.failed && channel?.endsWriting) {
      writer.end();
      if (await writer.closed) {
        this.#hasEnded = true;
        const { ended, unsupported } = this.#source!;
        if (ended || unsupported) return this.#onEnd();
        if (!channel.isLocal) return;
        // Local sockets lose nothing. But bytes that are unread at the close make
        // the peer see a reset instead of the end, so two turns read them.
        await this.#turn();
        await this.#turn();
      } else if (unacknowledgedOf(channel, this.#source) > 0) {
        writer.fail(new Deno.errors.NotConnected("its peer is gone"));
      }
    }
    this.finish();
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.setImmediate(resolve));
  }

  /** Waits for the end, or for the next look. */
  watch(): void {
    if (this.#isFinished) return;
    const { clock, linger } = this.#options;
    if (this.#timer !== undefined) clock.clearTimeout(this.#timer);
    const rest = Math.max(0, this.#end - clock.now());
    const isLooking = this.#unacknowledged !== undefined;
    const delay = isLooking ? Math.min(rest, linger / LOOKS) : rest;
    this.#timer = clock.setTimeout(() => this.#onTime(), delay);
  }

  /** The system knows of bytes that the peer has yet to take. */
  get #isBehind(): boolean {
    return (this.#unacknowledged ?? 0) > 0;
  }

  /** When lingering ends, unless the peer becomes active before. */
  get #end(): number {
    const { linger } = this.#options;
    // So what it says is no sign that it takes them.
    if (this.#isBehind) return this.#takenAt + linger;
    return Math.min(
      this.#activeAt + linger,
      this.#takenAt + MOST_LINGERS * linger,
    );
  }

  #onTime(): void {
    if (this.#isFinished) return;
    const { clock, linger, isOver } = this.#options;
    this.#look();
    const now = clock.now();
    const isLate = now >= this.#end;
    if (!isLate && !(now >= this.#beganAt + linger && isOver())) {
      this.watch();
      return;
    }
    if (this.#writer.pending > 0 || this.#isBehind) {
      const isTalking = !this.#isBehind && now < this.#activeAt + linger;
      const time = isTalking ? MOST_LINGERS * linger : linger;
      const reason = isLate
        ? `its peer took nothing for ${time} ms`
        : "its lifetime is over";
      this.#writer.fail(new Error(reason));
    }
    this.cut();
  }
}
