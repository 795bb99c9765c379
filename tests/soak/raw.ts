/** A client without the library: a plain connection and two loops. */

import type { Fault } from "./plan.ts";
import type { Side } from "./side.ts";
import { wait } from "./wait.ts";

/** How often a slow reader waits before it reads. */
const MOST_READ_PAUSES = 20;

/** Makes the connection. */
export type Connect = () => Promise<Deno.Conn>;

/** Sends and receives by itself. */
export class RawParty {
  readonly closeReason = null;
  isGone = false;
  readonly #side: Side;
  #conn: Deno.Conn | null = null;
  /** The time of silence is over. */
  #silence: Promise<void> | null = null;
  #sent = false;

  constructor(side: Side) {
    this.#side = side;
    side.party = this;
  }

  /** Runs from the first byte to the last. */
  async run(connect: Connect, header: Uint8Array): Promise<void> {
    try {
      this.#conn = await connect();
      this.#side.connects++;
      if (this.#side.dice.chance(0.5)) setNoDelay(this.#conn);
      await this.#write(header);
      this.#side.begin();
      const sending = this.#guard(this.#send());
      if (this.#side.plan.readsLast) {
        this.#side.stalls++;
        await sending;
      }
      await Promise.all([sending, this.#guard(this.#receive())]);
    } catch (error) {
      this.#side.failures.push(error);
    }
    this.#close();
    this.isGone = true;
  }

  /** The end of one direction leaves the other as it is. */
  async #guard(direction: Promise<void>): Promise<void> {
    try {
      await direction;
    } catch (error) {
      if (!this.#side.isOver) this.#side.failures.push(error);
    }
  }

  async #write(data: Uint8Array): Promise<void> {
    while (data.length > 0) {
      data = data.subarray(await this.#conn!.write(data));
    }
  }

  async #send(): Promise<void> {
    const side = this.#side;
    while (side.mayOffer) {
      const piece = side.offer();
      await this.#write(piece);
      if (side.isOver) return;
      side.accept(piece.length, piece.length);
      await wait(side.takePause());
    }
    if (side.isOver || side.isStalled) return;
    this.#sent = true;
    if (side.plan.ending === "halves") await this.#conn!.closeWrite();
    else await this.#finishIfDone();
  }

  async #receive(): Promise<void> {
    const side = this.#side;
    const { readSize, readPause } = side.plan;
    const buffer = new Uint8Array(readSize);
    for (let reads = 0;; reads++) {
      await this.#silence;
      if (readPause > 0 && reads < MOST_READ_PAUSES) {
        side.stalls++;
        await wait(readPause);
      }
      if (side.isOver) return;
      const length = await this.#conn!.read(buffer);
      if (length === null) break;
      if (side.isOver) return;
      side.take(buffer.slice(0, length));
      await this.#finishIfDone();
      if (side.isOver) return;
    }
    side.peerEnded = true;
    if (side.plan.ending !== "halves") this.#close();
  }

  async #finishIfDone(): Promise<void> {
    const { plan, input } = this.#side;
    if (plan.ending !== "closes" || !this.#sent || !input.isComplete) return;
    // Deno's TLS loses what it still holds otherwise.
    if ("handshake" in this.#conn!) await this.#conn.closeWrite();
    this.#close();
  }

  endWriting(): void {}
  finish(): void {}
  move(): void {}

  act(fault: Fault): void {
    if (fault.kind === "idle") {
      this.#silence = this.#side.givenUp.then(() => wait(fault.ms)).then(() => {
        if (!fault.resumes) this.#close();
      });
    } else {
      // Nothing is read meanwhile, so that something lies unread.
      this.#silence = wait(fault.ms).then(() => this.#close());
      this.#side.isStalled = true;
    }
  }

  #close(): void {
    this.#side.onClose();
    try {
      this.#conn?.close();
    } catch {
      // It is closed.
    }
  }
}

/** Says something else than a TLS server expects, or nothing. */
export class Stranger {
  readonly closeReason = null;
  isGone = false;
  readonly #side: Side;

  constructor(side: Side) {
    this.#side = side;
    side.party = this;
  }

  async run(connect: Connect): Promise<void> {
    const { content, dice } = this.#side;
    using conn = await connect();
    try {
      // A silent one does not wait: it would be given ten seconds.
      if (dice.chance(0.8)) {
        await conn.write(content.slice(0, 1_000));
        const buffer = new Uint8Array(1_000);
        while (await conn.read(buffer) !== null);
      } else await wait(dice.int(0, 50));
    } catch {
      // That is how it may end.
    }
    this.isGone = true;
  }

  endWriting(): void {}
  finish(): void {}
  move(): void {}
  act(): void {}
}

function setNoDelay(conn: Deno.Conn): void {
  if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay();
}
