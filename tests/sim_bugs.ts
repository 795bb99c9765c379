/**
 * Programs with one bug each that a bad network exposes, and their correct
 * counterparts. Every record is a line, acknowledged by a line.
 */

import { assertEquals } from "@std/assert";
import {
  AsyncChat,
  type AsyncChatOptions,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import type { Scenario, SimDisk } from "../testing/mod.ts";
import { EchoHandler, PORT, SERVER, Server } from "./sim_programs.ts";
import { bytes, text } from "./support.ts";

const RECORDS = 20;
const BACKOFF = 200;
const ANSWER_WITHIN = 3_000;
/** Simulated ms in which all must be done. */
const LIMIT = 600_000;

/** Takes what comes as lines. */
abstract class Lines extends AsyncChat {
  #line = "";
  constructor(conn: Channel | null, options: AsyncChatOptions = {}) {
    super(conn, options);
    this.setTerminator("\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line += text(data);
  }
  override async foundTerminator(): Promise<void> {
    const line = this.#line;
    this.#line = "";
    await this.handleLine(line);
  }
  protected abstract handleLine(line: string): void | Promise<void>;
}

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

export class LinesAreMessages extends Lines {
  protected readonly handleLine: Receive;
  constructor(conn: Channel, receive: Receive) {
    super(conn);
    this.handleLine = receive;
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

// (b) One that loses the unsent tail of a partial send.

const SIZE = 400_000;
const PART = 16_384;

/** Makes a part of what it sends every now and then. */
abstract class Sender extends Dispatcher {
  #made = 0;
  constructor() {
    super();
    this.createSocket();
    this.connect(SERVER);
    this.callEvery(50, () => {
      if (!this.connected) return;
      const part = new Uint8Array(Math.min(PART, SIZE - this.#made));
      this.#made += part.length;
      this.sendPart(part, this.#made === SIZE);
    });
  }
  override handleConnect(): void {}
  override handleRead(): void {
    this.recv();
  }
  protected abstract sendPart(part: Uint8Array, isLast: boolean): void;
}

export class LosesTheTail extends Sender {
  protected sendPart(part: Uint8Array, isLast: boolean): void {
    this.send(part);
    if (isLast) this.close();
  }
}

export class KeepsTheTail extends Sender {
  #parts: Uint8Array[] = [];
  #isLast = false;
  protected sendPart(part: Uint8Array, isLast: boolean): void {
    this.#parts.push(part);
    this.#isLast = isLast;
    this.handleWrite();
  }
  override writable(): boolean {
    return this.#parts.length > 0;
  }
  override handleWrite(): void {
    while (this.#parts.length > 0) {
      const part = this.#parts[0]!;
      const sent = this.send(part);
      if (sent < part.length) {
        this.#parts[0] = part.subarray(sent);
        return;
      }
      this.#parts.shift();
    }
    if (this.#isLast) this.close();
  }
}

/** Sends all of it to a server that counts. */
export function allArrives(Client: new () => Sender): Scenario {
  return async (sim) => {
    let received = 0;
    let isOver = false;
    class Counter extends Dispatcher {
      override handleRead(): void {
        received += this.recv().length;
      }
      override handleClose(): void {
        isOver = true;
        this.close();
      }
    }
    sim.host("server", () => new Server((conn) => new Counter(conn)));
    sim.host("client").run(() => new Client());
    await sim.run({ until: () => isOver, limit: LIMIT });
    assertEquals(received, SIZE, "the tail is lost");
  };
}

// (c) One that acknowledges before storing.

abstract class Store extends Lines {
  protected readonly disk: SimDisk;
  constructor(conn: Channel, disk: SimDisk) {
    super(conn);
    this.disk = disk;
  }
}

export class AcknowledgesFirst extends Store {
  protected override async handleLine(line: string): Promise<void> {
    this.push(bytes(`${line}\n`));
    this.disk.set(line, true);
    await this.disk.sync();
  }
}

export class StoresFirst extends Store {
  protected override async handleLine(line: string): Promise<void> {
    this.disk.set(line, true);
    await this.disk.sync();
    this.push(bytes(`${line}\n`));
  }
}

/** Sends records until each is acknowledged, whatever happens. */
class Recorder extends Lines {
  readonly #acknowledged: Set<string>;
  constructor(acknowledged: Set<string>) {
    super(null, { idleTimeout: ANSWER_WITHIN });
    this.#acknowledged = acknowledged;
    this.createSocket({ connectTimeout: ANSWER_WITHIN });
    this.connect(SERVER);
  }
  get #record(): string {
    return `record ${this.#acknowledged.size}`;
  }
  override handleConnect(): void {
    this.push(bytes(`${this.#record}\n`));
  }
  protected override handleLine(line: string): void {
    if (line === this.#record) this.#acknowledged.add(line);
    if (this.#acknowledged.size < RECORDS) this.handleConnect();
    else this.close();
  }
  override handleTimeout(): void {
    this.handleClose();
  }
  override handleError(): void {
    this.handleClose();
  }
  override handleClose(): void {
    this.close();
    this.map.callLater(BACKOFF, () => void new Recorder(this.#acknowledged));
  }
}

/** Whatever crashes, what was acknowledged is on the disk. */
export function acknowledgedIsStored(
  Handler: new (conn: Channel, disk: SimDisk) => Store,
): Scenario {
  return async (sim) => {
    const acknowledged = new Set<string>();
    const server = sim.host("server", ({ disk }) => {
      new Server((conn) => new Handler(conn, disk));
    });
    sim.host("client").run(() => new Recorder(acknowledged));
    const isDone = () => acknowledged.size === RECORDS;
    await sim.run({ until: isDone, limit: LIMIT });
    sim.crash("server");
    sim.restart("server");
    const lost = acknowledged.difference(new Set(server.disk.keys()));
    assertEquals(lost, new Set(), "records are not stored");
  };
}

// (d) One that never times out.

/** Asks one server after the other until one answers. */
class Asker extends DispatcherWithSend {
  readonly #servers: readonly string[];
  readonly #timeout: number;
  readonly #answered: () => void;
  constructor(
    servers: readonly string[],
    timeout: number,
    answered: () => void,
  ) {
    super(null, { idleTimeout: timeout });
    this.#servers = servers;
    this.#timeout = timeout;
    this.#answered = answered;
    this.createSocket({ connectTimeout: timeout });
    this.connect({ hostname: servers[0]!, port: PORT });
    this.send(bytes("?"));
  }
  override handleConnect(): void {}
  override handleRead(): void {
    if (this.recv().length === 0) return;
    this.#answered();
    this.close();
  }
  override handleTimeout(): void {
    this.handleClose();
  }
  override handleError(): void {
    this.handleClose();
  }
  override handleClose(): void {
    const [first, ...others] = this.#servers;
    this.close();
    this.map.callLater(BACKOFF, () => {
      new Asker([...others, first!], this.#timeout, this.#answered);
    });
  }
}

const ASKERS = 4;
const SERVERS = ["server1", "server2"];

/** All have an answer within a minute, for not all servers are out of reach. */
export function allAreAnswered(timeout: number): Scenario {
  return async (sim) => {
    let answers = 0;
    for (const name of SERVERS) {
      sim.host(name, () => new Server((conn) => new EchoHandler(conn)));
    }
    for (let i = 0; i < ASKERS; i++) {
      sim.host(`client${i}`).run(() =>
        new Asker(SERVERS, timeout, () => answers++)
      );
    }
    await sim.run({ until: () => answers === ASKERS, limit: 60_000 });
  };
}
