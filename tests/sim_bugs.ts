/**
 * Programs with one bug each that a bad network exposes, and their correct
 * counterparts. Every record is a line, acknowledged by a line.
 */

import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import type { SimDisk, SimHost, SimNetwork } from "../testing/mod.ts";
import { bytes, EchoHandler, PORT, SERVER, text } from "./sim_programs.ts";

const RECORDS = 20;
const BACKOFF = 200;
const ANSWER_WITHIN = 3_000;
/** Simulated ms in which all must be done. */
const LIMIT = 600_000;

/** What takes connections and has something else speak on them. */
export class Listener extends Dispatcher {
  readonly #make: (conn: Channel) => unknown;
  constructor(make: (conn: Channel) => unknown) {
    super();
    this.#make = make;
    this.createSocket();
    this.bind({ port: PORT });
    this.listen();
  }
  override handleAccepted(conn: Channel): void {
    this.#make(conn);
  }
}

// (a) One that assumes that one recv() is one message.

export type Received = (record: string) => void;

export class OneRecvIsOneMessage extends DispatcherWithSend {
  readonly #received: Received;
  constructor(conn: Channel, received: Received) {
    super(conn);
    this.#received = received;
  }
  override handleRead(): void {
    const data = this.recv();
    if (data.length > 0) this.#received(text(data).trimEnd());
  }
}

export class LinesAreMessages extends AsyncChat {
  readonly #received: Received;
  #line = "";
  constructor(conn: Channel, received: Received) {
    super(conn);
    this.#received = received;
    this.setTerminator("\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line += text(data);
  }
  override foundTerminator(): void {
    this.#received(this.#line);
    this.#line = "";
  }
}

type Handler = new (conn: Channel, received: Received) => unknown;

/** Sends lines, and expects them to be received as such. */
export function recordsArrive(Handler: Handler) {
  return async (sim: SimNetwork): Promise<void> => {
    const sent = Array.from({ length: RECORDS }, (_, i) => `record ${i}`);
    const received: string[] = [];
    sim.host("server").run(() =>
      new Listener((conn) => new Handler(conn, (line) => received.push(line)))
    );
    const client = sim.host("client").run(() => new DispatcherWithSend());
    client.createSocket();
    client.connect(SERVER);
    let next = 0;
    client.callEvery(40, () => {
      if (next < RECORDS) client.send(bytes(`${sent[next++]}\n`));
    });
    const isLast = () => received.at(-1)?.endsWith(`${RECORDS - 1}`) ?? false;
    await sim.run({ until: isLast, limit: LIMIT });
    expectEqual(received, sent);
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
      const [part] = this.#parts;
      const sent = this.send(part!);
      if (sent < part!.length) {
        this.#parts[0] = part!.subarray(sent);
        return;
      }
      this.#parts.shift();
    }
    if (this.#isLast) this.close();
  }
}

/** The same bug without a dispatcher. */
export async function losesTheTail(channel: Channel): Promise<void> {
  for (let sent = 0; sent < SIZE; sent += PART) {
    await channel.write(new Uint8Array(Math.min(PART, SIZE - sent)));
  }
  channel.close();
}

export async function keepsTheTail(channel: Channel): Promise<void> {
  for (let sent = 0; sent < SIZE;) {
    sent += await channel.write(new Uint8Array(Math.min(PART, SIZE - sent)));
  }
  channel.close();
}

/** Sends all of it to a server that counts. */
export function allArrives(send: (host: SimHost) => void) {
  return async (sim: SimNetwork): Promise<void> => {
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
    sim.host("server").run(() => new Listener((conn) => new Counter(conn)));
    const client = sim.host("client");
    client.run(() => send(client));
    await sim.run({ until: () => isOver, limit: LIMIT });
    expectEqual(received, SIZE);
  };
}

/** Sends by a channel of its own. */
export function byChannel(send: (channel: Channel) => Promise<void>) {
  return async ({ map }: SimHost): Promise<void> => {
    const { signal } = new AbortController();
    const address = { transport: "tcp", ...SERVER } as const;
    await send(await map.network.connect(address, { signal }));
  };
}

// (c) One that acknowledges before storing.

abstract class Store extends AsyncChat {
  protected readonly disk: SimDisk;
  #line = "";
  constructor(conn: Channel, disk: SimDisk) {
    super(conn);
    this.disk = disk;
    this.setTerminator("\n");
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line += text(data);
  }
  override async foundTerminator(): Promise<void> {
    const line = this.#line;
    this.#line = "";
    await this.store(line);
  }
  protected abstract store(line: string): Promise<void>;
}

export class AcknowledgesFirst extends Store {
  protected override async store(line: string): Promise<void> {
    this.push(bytes(`${line}\n`));
    this.disk.set(line, true);
    await this.disk.sync();
  }
}

export class StoresFirst extends Store {
  protected override async store(line: string): Promise<void> {
    this.disk.set(line, true);
    await this.disk.sync();
    this.push(bytes(`${line}\n`));
  }
}

/** Sends records until each is acknowledged, whatever happens. */
class Recorder extends AsyncChat {
  readonly #acknowledged: Set<string>;
  #line = "";
  constructor(acknowledged: Set<string>) {
    super(null, { idleTimeout: ANSWER_WITHIN });
    this.#acknowledged = acknowledged;
    this.setTerminator("\n");
    this.createSocket({ connectTimeout: ANSWER_WITHIN });
    this.connect(SERVER);
  }
  #record(): string {
    return `record ${this.#acknowledged.size}`;
  }
  override handleConnect(): void {
    this.push(bytes(`${this.#record()}\n`));
  }
  override collectIncomingData(data: Uint8Array): void {
    this.#line += text(data);
  }
  override foundTerminator(): void {
    if (this.#line === this.#record()) this.#acknowledged.add(this.#line);
    this.#line = "";
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
) {
  return async (sim: SimNetwork): Promise<void> => {
    const acknowledged = new Set<string>();
    const server = sim.host("server", ({ disk }) => {
      new Listener((conn) => new Handler(conn, disk));
    });
    sim.host("client").run(() => new Recorder(acknowledged));
    const isDone = () => acknowledged.size === RECORDS;
    await sim.run({ until: isDone, limit: LIMIT });
    sim.crash("server");
    sim.restart("server");
    const stored = new Set(server.disk.keys());
    expectEqual([...acknowledged].filter((record) => !stored.has(record)), []);
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
export function allAreAnswered(timeout: number) {
  return async (sim: SimNetwork): Promise<void> => {
    let answers = 0;
    for (const name of SERVERS) {
      sim.host(name, () => new Listener((conn) => new EchoHandler(conn)));
    }
    for (let i = 0; i < ASKERS; i++) {
      sim.host(`client${i}`).run(() =>
        new Asker(SERVERS, timeout, () => answers++)
      );
    }
    await sim.run({ until: () => answers === ASKERS, limit: 60_000 });
  };
}

export function expectEqual(actual: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`Got ${a}, expected ${b}`);
}
