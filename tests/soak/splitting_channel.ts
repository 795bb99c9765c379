/** A connection that comes and goes in small pieces. */

import type { Channel } from "../../mod.ts";

/** Gives and takes at most so many bytes of a connection at a time. */
export class SplittingChannel implements Channel {
  readonly #conn: Channel;
  readonly #most: number;

  constructor(conn: Channel, most: number) {
    this.#conn = conn;
    this.#most = most;
  }

  get remoteAddr(): Deno.Addr {
    return this.#conn.remoteAddr!;
  }
  read(target: Uint8Array): Promise<number | null> {
    return this.#conn.read(target.subarray(0, this.#most));
  }
  write(data: Uint8Array): Promise<number> {
    return this.#conn.write(data.subarray(0, this.#most));
  }
  closeWrite(): Promise<void> {
    return this.#conn.closeWrite!();
  }
  close(): void {
    this.#conn.close();
  }
}
