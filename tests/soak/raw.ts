/** A client without the library: a plain connection and two loops. */

import { wait } from "./random.ts";
import type { Fault } from "./plan.ts";
import type { Party, Side } from "./side.ts";

/** Sends and receives by itself. */
export class RawParty implements Party {
  readonly closeReason = null;
  isGone = false;
  readonly #side: Side;
  #conn!: Deno.Conn;
  /** Nothing is read until this settles. */
  #silence: Promise<void> = Promise.resolve();

  constructor(side: Side) {
    this.#side = side;
    side.party = this;
  }

  /** Runs from the first byte to the last. */
  async run(connect: () => Promise<Deno.Conn>, header: Uint8Array) {
    const side = this.#side;
    try {
      this.#conn = await connect();
      side.connects++;
      await this.#write(header);
      side.begin();
      const halves = [this.#send(), this.#receive()];
      // The end of one direction leaves the other as it is.
      for (const result of await Promise.allSettled(halves)) {
        if (result.status === "rejected") throw result.reason;
      }
    } catch (error) {
      if (!side.isOver) side.failures.push(error);
    }
    this.#close();
    this.isGone = true;
  }

  /** Says something else than a TLS server expects, or nothing. */
  async runAsStranger(connect: () => Promise<Deno.Conn>): Promise<void> {
    const { output, random } = this.#side;
    using conn = await connect();
    try {
      // A silent one does not wait: it would be given ten seconds.
      if (random.chance(0.2)) await wait(random.int(0, 50));
      else {
        await conn.write(output.slice(0, 1_000));
        while (await conn.read(new Uint8Array(1_000)) !== null);
      }
    } catch {
      // That is how it may end.
    }
    this.isGone = true;
  }

  async #write(data: Uint8Array): Promise<void> {
    while (data.length > 0) {
      data = data.subarray(await this.#conn.write(data));
    }
  }

  async #send(): Promise<void> {
    const side = this.#side;
    while (side.mayOffer) {
      await this.#write(side.offer());
      if (side.isOver) return;
      side.accept();
      await wait(side.takePause());
    }
  }

  async #receive(): Promise<void> {
    const side = this.#side;
    const buffer = new Uint8Array(side.plan.readSize);
    for (;;) {
      await wait(side.takeReadPause());
      await this.#silence;
      if (side.isOver) return;
      const length = await this.#conn.read(buffer);
      if (length === null || side.isOver) break;
      side.take(buffer.slice(0, length));
    }
    side.peerEnded = true;
    if (side.plan.ending !== "halves") this.#close();
  }

  async endWriting(): Promise<void> {
    await this.#conn.closeWrite().catch(() => {});
  }
  async finish(): Promise<void> {
    // Deno's TLS loses what it still holds otherwise.
    if ("handshake" in this.#conn) await this.endWriting();
    this.#close();
  }
  move(): void {}

  act({ kind, ms }: Fault): void {
    const side = this.#side;
    side.isStalled = true;
    const { promise } = side.peer.timedOut;
    const due = kind === "idle" ? promise : Promise.resolve();
    // Nothing is read meanwhile, so that something lies unread.
    this.#silence = due.then(() => wait(ms)).then(() => this.#close());
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
