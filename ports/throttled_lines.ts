/**
 * A line server that gives and takes no more than RATE bytes a second.
 *
 *     deno run --quiet --allow-net ports/throttled_lines.ts RATE
 *
 *     PING            PONG
 *     SEND COUNT      so many numbered lines
 *     TAKE LENGTH     then LENGTH bytes: their SHA-256
 *     QUIT            BYE, behind all that was asked for
 *
 * @module
 */

import { createHash } from "node:crypto";
import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";

/** The most bytes that go in one call: pauses are short. */
const PIECE = 8192;

/** A chat that sleeps after each piece, as long as the piece is worth. */
class ThrottledChat extends AsyncChat {
  rate: number;
  wakeTime = 0;
  bytesIn = 0;
  bytesOut = 0;

  constructor(conn: Channel, rate: number) {
    super(conn, { maxLength: 1_000_000 });
    this.rate = rate;
  }

  asleep(): boolean {
    return performance.now() < this.wakeTime;
  }

  sleepFor(length: number): void {
    this.wakeTime = Math.max(this.wakeTime, performance.now()) +
      length / this.rate * 1000;
  }

  override readable(): boolean {
    return !this.asleep() && super.readable();
  }

  override writable(): boolean {
    return !this.asleep() && super.writable();
  }

  override recv(bufferSize: number): Uint8Array {
    const data = super.recv(Math.min(bufferSize, PIECE));
    this.bytesIn += data.length;
    this.sleepFor(data.length);
    return data;
  }

  override send(data: Uint8Array): number {
    if (this.asleep()) return 0;
    const sent = super.send(data.subarray(0, PIECE));
    this.bytesOut += sent;
    this.sleepFor(sent);
    return sent;
  }
}

class LineHandler extends ThrottledChat {
  taking = false;
  readonly verbs = new Map([
    ["PING", () => this.doPing()],
    ["SEND", (argument: string) => this.doSend(argument)],
    ["TAKE", (argument: string) => this.doTake(argument)],
    ["QUIT", () => this.doQuit()],
  ]);

  constructor(conn: Channel, rate: number) {
    super(conn, rate);
    this.setTerminator("\r\n");
  }

  override foundTerminator(): void {
    if (this.taking) {
      const data = this.takeData();
      this.taking = false;
      this.setTerminator("\r\n");
      this.push(`${createHash("sha256").update(data).digest("hex")}\r\n`);
      return;
    }
    const [verb = "", argument = ""] = this.takeText().split(" ");
    const method = this.verbs.get(verb.toUpperCase());
    if (method === undefined) {
      this.push(`What is ${verb}?\r\n`);
    } else {
      method(argument);
    }
  }

  doPing(): void {
    this.push("PONG\r\n");
  }

  doSend(argument: string): void {
    const numbers = Array(Number(argument)).keys();
    this.push(
      numbers.map((n) => `${`${n}`.padStart(7, "0")}\r\n`).toArray().join(""),
    );
  }

  doTake(argument: string): void {
    this.taking = true;
    this.setTerminator(Number(argument));
  }

  doQuit(): void {
    this.push("BYE\r\n");
    this.closeWhenDone();
  }

  override handleClose(): void {
    this.logInfo(`took ${this.bytesIn} bytes, gave ${this.bytesOut}`);
    this.close();
  }
}

class LineServer extends Dispatcher {
  rate: number;

  constructor(rate: number) {
    super();
    this.rate = rate;
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(5);
    console.log(`listening on ${this.addr!.port}`);
  }

  override handleAccepted(conn: Channel): void {
    new LineHandler(conn, this.rate);
  }
}

new LineServer(Number(Deno.args[0]));
await loop({ timeout: 10 });
