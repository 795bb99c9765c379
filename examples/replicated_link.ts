/**
 * Conversations in lines, and links that begin them again after a failure.
 *
 * @module
 */

import { type Address, AsyncChat } from "@asyncore/asyncore";

/** A link asks each so many ms whether the other end is still there … */
const PING = 2_000;
/** … and how often without hearing anything. */
const MOST_PINGS = 2;
/** A link waits so many ms before it connects again: at first, and at most. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 5_000;
const SOCKET = { connectTimeout: 3_000 };

/** Takes what comes as lines. */
export abstract class LineChat extends AsyncChat {
  abstract handleLine(line: string): void;

  say(line: string) {
    this.push(`${line}\n`);
  }

  override foundTerminator() {
    this.handleLine(this.takeText().replace(/\r$/, "")); // telnet's
  }
}

/** Stays connected: after a failure it tries again, later and later. */
export abstract class Link extends LineChat {
  readonly #address: Address;
  #failures = 0;
  #silence = 0;

  constructor(address: Address) {
    super();
    this.#address = address;
    this.setTerminator("\n");
    this.createSocket(SOCKET);
    this.connect(address);
  }

  override handleConnect() {
    this.#silence = 0;
    this.callEvery(PING, () => {
      if (this.#silence++ < MOST_PINGS) this.say("ping");
      else this.handleClose();
    });
  }

  override foundTerminator() {
    this.#failures = this.#silence = 0;
    super.foundTerminator();
  }

  /** Twice as late each time, and by chance: not all at the same moment. */
  override handleClose() {
    this.abort();
    super.handleClose();
    const longest = FIRST_DELAY * 2 ** this.#failures++;
    const delay = Math.min(longest, LONGEST_DELAY) * (1 + Math.random()) / 2;
    this.createSocket(SOCKET);
    this.callLater(delay, () => this.connect(this.#address));
    this.logInfo(`lost the primary, tries again in ${Math.round(delay)} ms`);
  }

  override handleError(error: unknown) {
    if (this.connected) super.handleError(error);
    else this.handleClose(); // it could not connect
  }

  override handleShutdown() {
    this.close();
  }
}
