/** The servers of one run, their maps and loops, and how connections are made. */

import {
  type Channel,
  closeAll,
  Dispatcher,
  loop,
  shutdown,
  SocketMap,
  type SocketOptions,
} from "../../mod.ts";
import { certificates } from "../certificates.ts";
import { LogLines } from "../fakes.ts";
import { complain } from "./messages.ts";
import type { Connection } from "./connection.ts";
import { countDispatchers, type CountingClock, hasTimers } from "./figures.ts";
import { missing } from "./missing.ts";
import { makeParty } from "./parties.ts";
import type { Transport } from "./plan.ts";
import { RawParty, Stranger } from "./raw.ts";
import { isPlanned, PlannedError, PlannedExit } from "./planned.ts";
import { SplittingChannel } from "./splitting_channel.ts";

const HEADER = 8;
const MAGIC = 0x50a4;
const HOSTNAME = "127.0.0.1";
/** How long a client may take to say who it is, in ms: one that was reset never may. */
const SILENCE = 10_000;
/** How long what is shut down may take, in ms: no less than it lingers. */
const DEADLINE = 20_000;
/** How long a handshake may take, in ms, on a busy machine. */
const HANDSHAKE = 60_000;

/** Keeps no line: there are too many of them. */
class Silence extends LogLines {
  override warn(): void {}
  override error(): void {}
}

/** Takes connections, and hands them to the world. */
class Door extends Dispatcher {
  readonly #take: (conn: Channel) => void | Promise<void>;

  constructor(
    map: SocketMap,
    options: SocketOptions,
    take: (conn: Channel) => void | Promise<void>,
  ) {
    super(null, { map });
    this.#take = take;
    this.createSocket(options);
  }
  override handleAccepted(conn: Channel): void | Promise<void> {
    return this.#take(conn);
  }
  override handleError(error: unknown): void {
    if (!isPlanned(error)) complain(`a listener: ${error}`, `${this}`);
  }
}

/** A map that is emptied while its connections are busy. */
interface District {
  map: SocketMap;
  members: Connection[];
}

/** Servers and clients of one run. */
export class World {
  /** The connections that are not over, by what they are greeted with. */
  readonly open = new Map<number, Connection>();
  exits = 0;
  greetings = 0;

  readonly #clock: CountingClock;
  readonly #serverMap: SocketMap;
  readonly #otherMap: SocketMap;
  readonly #clientMap: SocketMap;
  readonly #doors = new Map<Transport | "moody", Door>();
  readonly #anchors: Dispatcher[] = [];
  readonly #loops = new Set<Promise<void>>();
  readonly #directory: string;
  readonly #districts = new Map<string, District>();
  /** Those whose server may still come, though they are over. */
  readonly #late = new Set<number>();

  /** Unix sockets are made in `directory`. */
  constructor(clock: CountingClock, directory: string) {
    this.#clock = clock;
    this.#directory = directory;
    this.#serverMap = this.#newMap();
    this.#otherMap = this.#newMap();
    this.#clientMap = this.#newMap();
    for (const map of this.maps) this.#anchors.push(this.#start(map));
    this.#openDoors();
  }

  get maps(): SocketMap[] {
    return [this.#serverMap, this.#otherMap, this.#clientMap];
  }

  /** The port of the TCP server. */
  get port(): number {
    return (this.#addressOf("tcp") as Deno.NetAddr).port;
  }

  #newMap(): SocketMap {
    return new SocketMap({
      clock: this.#clock,
      logger: new Silence(),
      onError: (error) => {
        if (isPlanned(error)) return;
        complain(`an error that nobody handles: ${Deno.inspect(error)}`, "");
      },
    });
  }

  /** Starts the loop of a map; what keeps it going is returned. */
  #start(map: SocketMap): Dispatcher {
    const anchor = new Dispatcher(null, { map });
    anchor.createSocket();
    const looping = this.#drive(map);
    this.#loops.add(looping);
    void looping.then(() => this.#loops.delete(looping));
    return anchor;
  }

  /** Loops until the map is empty, through every planned exit. */
  async #drive(map: SocketMap): Promise<void> {
    for (;;) {
      try {
        await loop({ map });
        const left = countDispatchers(map);
        if (left > 0) complain(`loop() left ${left} dispatchers`, `${this}`);
        if (hasTimers(map)) complain("loop() left a timer", `${this}`);
        return;
      } catch (error) {
        if (error instanceof PlannedExit) this.exits++;
        else return complain(`loop() threw ${Deno.inspect(error)}`, "");
      }
    }
  }

  #openDoors(): void {
    const greet = (conn: Channel) => void this.#greet(conn);
    const open = (
      name: Transport | "moody",
      options: SocketOptions,
      take: (conn: Channel) => void | Promise<void> = greet,
    ) => {
      const door = new Door(this.#serverMap, options, take);
      door.bind(
        options.transport === "unix"
          ? { path: `${this.#directory}/socket` }
          : { hostname: HOSTNAME, port: 0 },
      );
      door.listen();
      this.#doors.set(name, door);
    };
    open("tcp", { transport: "tcp" });
    if (!missing("unix")) open("unix", { transport: "unix" });
    const tls = certificates().good;
    open("tls", { transport: "tls", tls, handshakeTimeout: HANDSHAKE });
    let isAsync = false;
    open("moody", { transport: "tcp" }, () => {
      const error = new PlannedError("of handleAccepted()");
      isAsync = !isAsync;
      if (isAsync) return Promise.reject(error);
      throw error;
    });
  }

  /** Hears which connection this is, and makes the server's side. */
  async #greet(conn: Channel): Promise<void> {
    this.greetings++;
    // A client that was reset may be gone before it has said who it is.
    let isSilent = false;
    const silence = setTimeout(() => {
      isSilent = true;
      conn.close();
    }, SILENCE);
    const connection = await this.#hear(conn).catch(() => null);
    clearTimeout(silence);
    this.greetings--;
    if (connection === null && !isSilent) conn.close();
    if (connection !== null) this.#serve(connection, conn);
  }

  async #hear(conn: Channel): Promise<Connection | null> {
    const header = new Uint8Array(HEADER);
    for (let at = 0; at < HEADER;) {
      const length = await conn.read(header.subarray(at));
      if (length === null) throw new Error("gone");
      at += length;
    }
    const view = new DataView(header.buffer);
    const id = view.getUint32(4);
    if (this.#late.delete(id)) return null;
    const connection = this.open.get(id);
    if (connection && view.getUint32(0) === MAGIC) return connection;
    complain(`a client said ${header} instead of who it is`, `${this}`);
    return null;
  }

  #serve(connection: Connection, conn: Channel): void {
    const { server, plan } = connection;
    if (connection.isServed) server.complain("it is served already");
    const { splits } = plan.server;
    const channel = splits > 0 ? new SplittingChannel(conn, splits) : conn;
    const kind = plan.fault?.kind;
    const isInDistrict = kind === "closeAll" || kind === "shutdown";
    const map = isInDistrict
      ? this.#districtOf(connection, kind)
      : this.#serverMap;
    const party = makeParty(server, map, channel);
    party.attend(server, { otherMap: this.#otherMap });
    if (!plan.server.startsLast) party.begin();
  }

  /** The map of this connection, which is emptied soon after it has the first. */
  #districtOf(connection: Connection, how: "closeAll" | "shutdown"): SocketMap {
    const there = this.#districts.get(how);
    if (there) {
      there.members.push(connection);
      return there.map;
    }
    const district = { map: this.#newMap(), members: [connection] };
    this.#districts.set(how, district);
    setTimeout(() => {
      this.#districts.delete(how);
      void this.#empty(district, how);
    }, connection.plan.fault!.ms);
    this.#start(district.map);
    return district.map;
  }

  async #empty({ map, members }: District, how: string): Promise<void> {
    for (const { server } of members) server.fired ||= !server.party?.isGone;
    if (how === "closeAll") closeAll(map);
    else {
      const { aborted } = await shutdown({ map, deadline: DEADLINE });
      const text = `shutdown() aborted ${aborted} peers that read on`;
      if (aborted > 0) complain(text, members.join("\n"));
    }
    if (how === "closeAll" && map.size > 0) {
      complain(`closeAll() left ${[...map]}`, members.join("\n"));
    }
  }

  #addressOf(name: Transport | "moody"): Deno.Addr {
    return this.#doors.get(name)!.addr!;
  }

  /** Makes a connection; what follows is up to its sides. */
  connect(connection: Connection): void {
    const { id, client, plan } = connection;
    this.open.set(id, connection);
    const header = new Uint8Array(HEADER);
    const view = new DataView(header.buffer);
    view.setUint32(0, MAGIC);
    view.setUint32(4, id);
    const address = this.#target(connection);
    client.fired = connection.isNeverServed;
    if (plan.fault?.kind === "badHandshake") {
      void new Stranger(client).run(() => connectRaw(address, false));
      return;
    }
    if (plan.client.kind === "raw") {
      const connect = () => connectRaw(address, plan.transport === "tls");
      void new RawParty(client).run(connect, header);
      return;
    }
    const party = makeParty(client, this.#clientMap);
    party.attend(client, { otherMap: this.#otherMap });
    party.greet(header);
    const { transport } = plan;
    const options: SocketOptions = { transport, handshakeTimeout: HANDSHAKE };
    if (transport === "tls") options.tls = { caCerts: [certificates().ca] };
    party.createSocket(options);
    party.connect(address);
  }

  #target({ plan }: Connection): Deno.Addr {
    const { fault, transport } = plan;
    if (fault?.kind === "turnedAway") return this.#addressOf("moody");
    if (fault?.kind !== "refused") return this.#addressOf(transport);
    return transport === "unix"
      ? { transport: "unix", path: `${this.#directory}/nobody` }
      : { transport: "tcp", hostname: HOSTNAME, port: 1 };
  }

  /** Takes out the connections that are over, and looks at how they went. */
  sweep(): Connection[] {
    const gone: Connection[] = [];
    for (const connection of this.open.values()) {
      if (!connection.isGone()) continue;
      this.open.delete(connection.id);
      if (connection.mayComeLate) this.#late.add(connection.id);
      connection.judge();
      gone.push(connection);
    }
    return gone;
  }

  /** Closes the doors, and waits for the loops to end by themselves. */
  async close(): Promise<void> {
    const ours = new Set<unknown>([...this.#anchors, ...this.#doors.values()]);
    for (const map of this.maps) {
      const left = [...map].filter((member) => !ours.has(member));
      if (left.length + map.lingering === 0) continue;
      complain(
        `left without a connection: ${map.lingering} that linger, ${left}`,
        "",
      );
    }
    for (const door of this.#doors.values()) door.close();
    for (const anchor of this.#anchors) anchor.close();
    await Promise.all(this.#loops);
  }

  /** What is not over. */
  toString(): string {
    const maps = this.maps.map((map) => `${map.size}+${map.lingering}`);
    const open = [...this.open.values()].slice(0, 10).join("\n");
    return `dispatchers+lingering: ${maps.join(", ")}; ` +
      `${this.#loops.size} loops; ${this.greetings} greetings; ` +
      `${this.open.size} connections:\n${open}`;
  }
}

async function connectRaw(addr: Deno.Addr, isTls: boolean): Promise<Deno.Conn> {
  if (addr.transport === "unix") {
    return await Deno.connect({ transport: "unix", path: addr.path });
  }
  const { hostname, port } = addr as Deno.NetAddr;
  if (!isTls) return await Deno.connect({ hostname, port });
  const caCerts = [certificates().ca];
  return await Deno.connectTls({ hostname, port, caCerts });
}
