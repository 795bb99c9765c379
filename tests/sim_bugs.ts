/**
 * Programs with one bug each that a bad network exposes, and their correct
 * counterparts. (One that acknowledges before it stores is among the tests of
 * the replicated log.)
 */

import { assertEquals } from "@std/assert";
import { AsyncChat, type Channel, DispatcherWithSend } from "../mod.ts";
import type { Scenario } from "../testing/mod.ts";
import {
  Client,
  connectEnds,
  during,
  EchoServer,
  readAll,
  SERVER,
  Server,
} from "./sim_programs.ts";
import { bytes, text } from "./support.ts";

const RECORDS = 20;
/** Simulated ms in which all must be done. */
const LIMIT = 600_000;

// (a) One that assumes that one recv() is one message.

type Receive = (record: string) => void;

export class OneRecvIsOneMessage extends DispatcherWithSend {
  readonly #receive: Receive;
  constructor(conn: Channel, receive: Receive) {
    super(conn);
    this.#receive = receive;
  }
  override handleRead(): void {
    const data = this.recv();
    if (data.length > 0) this.#receive(text(data).trimEnd());
  }
}

export class LinesAreMessages extends AsyncChat {
  readonly #receive: Receive;
  constructor(conn: Channel, receive: Receive) {
    super(conn);
    this.#receive = receive;
    this.setTerminator("\n");
  }
  override foundTerminator(): void {
    this.#receive(this.takeText());
  }
}

/** Sends lines, and expects them to be received as such. */
export function recordsArrive(
  Handler: new (conn: Channel, receive: Receive) => unknown,
): Scenario {
  return async (sim) => {
    const sent = Array.from({ length: RECORDS }, (_, i) => `record ${i}`);
    const received: string[] = [];
    const receive = (line: string) => void received.push(line);
    sim.host("server", () => new Server((conn) => new Handler(conn, receive)));
    const client = sim.host("client").run(() => new DispatcherWithSend());
    client.createSocket();
    client.connect(SERVER);
    let next = 0;
    client.callEvery(40, () => {
      if (next < RECORDS) client.send(bytes(`${sent[next++]}\n`));
    });
    const isLast = () => received.at(-1)?.endsWith(`${RECORDS - 1}`) ?? false;
    await sim.run({ until: isLast, limit: LIMIT });
    assertEquals(received, sent, "other records arrive");
  };
}

// (b) One that loses the unsent tail of a partial write.

const SIZE = 40_000;
const PART = 4_096;

export async function losesTheTail(channel: Channel): Promise<void> {
  for (let sent = 0; sent < SIZE; sent += PART) {
    await channel.write(new Uint8Array(Math.min(PART, SIZE - sent)));
  }
}

export async function keepsTheTail(channel: Channel): Promise<void> {
  for (let sent = 0; sent < SIZE;) {
    sent += await channel.write(new Uint8Array(Math.min(PART, SIZE - sent)));
  }
}

/** Sends all of it, and expects as much to arrive. */
export function allArrives(
  send: (channel: Channel) => Promise<void>,
): Scenario {
  return async (sim) => {
    const { client, server } = await connectEnds(sim);
    const sending = send(client).then(() => client.close());
    const reading = readAll(server);
    const [parts] = await during(sim, Promise.all([reading, sending]), LIMIT);
    const received = parts.reduce((sum, { length }) => sum + length, 0);
    assertEquals(received, SIZE, "the tail is lost");
  };
}

// (c) One that never times out.

const ECHO = "spam and eggs";

/** Asks again, on a new connection, until it has the whole answer. */
class Asker extends Client {
  readonly #timeout: number;
  readonly #answered: () => void;

  constructor(timeout: number, answered: () => void) {
    super({ idleTimeout: timeout }, { connectTimeout: timeout });
    this.#timeout = timeout;
    this.#answered = answered;
    this.send(bytes(ECHO));
  }
  override handleRead(): void {
    super.handleRead();
    if (this.answer !== ECHO) return;
    this.#answered();
    this.close();
  }
  override handleTimeout(): void {
    this.handleClose();
  }
  override handleClose(): void {
    this.close();
    const again = () => void new Asker(this.#timeout, this.#answered);
    this.map.callLater(200, again);
  }
}

/** Has an answer within a minute, for faults do not last. */
export function isAnswered(timeout: number): Scenario {
  return async (sim) => {
    let isDone = false;
    sim.host("server", () => new EchoServer());
    sim.host("client").run(() => new Asker(timeout, () => isDone = true));
    await sim.run({ until: () => isDone, limit: 60_000 });
  };
}
