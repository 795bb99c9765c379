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
import { rawConnect } from "../support.ts";
import type { Connection } from "./connection.ts";
import { wait } from "./random.ts";
import { countingClock, hasTimers } from "./figures.ts";
import {
  complain,
  isPlanned,
  order,
  PlannedError,
  PlannedExit,
} from "./order.ts";
import { makeParty } from "./parties.ts";
import type { Transport } from "./plan.ts";
import { RawParty } from "./raw.ts";

/** How long what is shut down may take, in ms: no less than it lingers. */
const DEADLINE = 20_000;
/** How long a handshake may take, in ms, on a busy machine. */
const HANDSHAKE = 60_000;
const PATH = `${order.directory}/socket`;

/** Keeps no line: there are too many of them. */
class Silence extends LogLines {
  override warn(): void {}
  override error(): void {}
}

type Take = (conn: Channel) => void | Promise<void>;

/** Gives and takes at most so many bytes of a connection at a time. */
function splitting(conn: Channel, most: number): Channel {
  return {
    remoteAddr: conn.remoteAddr!,
    read: (target) => conn.read(target.subarray(0, most)),
    write: (data) => conn.write(data.subarray(0, most)),
    closeWrite: () => conn.closeWrite!(),
    close: () => conn.close(),
  };
}

/** Servers and clients of one run. */
export class World {
  /** The connections that are not over, by what they are greeted with. */
  readonly open = new Map<number, Connection>();
  readonly maps: SocketMap[] = [];
  exits = 0;

  readonly #loops = new Set<Promise<void>>();
  readonly #serverMap = this.#newMap();
  readonly #otherMap = this.#newMap();
  readonly #clientMap = this.#newMap();
  readonly #doors = new Map<Transport | "moody", Dispatcher>();
  /** Maps that are emptied while their connections are busy. */
  readonly #districts = new Map<string, SocketMap>();
  #greetings = 0;

  constructor() {
    this.#openDoor("tcp", { transport: "tcp" });
    if (Deno.build.os !== "windows") {
      this.#openDoor("unix", { transport: "unix" });
    }
    const tls = certificates().good;
    this.#openDoor("tls", {
      transport: "tls",
      tls,
      handshakeTimeout: HANDSHAKE,
    });
    let isAsync = false;
    this.#openDoor("moody", { transport: "tcp" }, () => {
      const error = new PlannedError("of handleAccepted()");
      isAsync = !isAsync;
      if (isAsync) return Promise.reject(error);
      throw error;
    });
  }

  has(transport: Transport): boolean {
    return this.#doors.has(transport);
  }
  /** The port of the TCP server. */
  get port(): number {
    return (this.#doors.get("tcp")!.addr as Deno.NetAddr).port;
  }

  /** A map in its loop, with a socket that keeps it going. */
  #newMap(): SocketMap {
    const map = new SocketMap({
      clock: countingClock,
      logger: new Silence(),
      onError: (error) => {
        if (isPlanned(error)) return;
        complain(`an error that nobody handles: ${Deno.inspect(error)}`);
      },
    });
    this.maps.push(map);
    new Dispatcher(null, { map }).createSocket();
    const looping = this.#drive(map);
    this.#loops.add(looping);
    void looping.then(() => this.#loops.delete(looping));
    return map;
  }

  /** Loops until the map is empty, through every planned exit. */
  async #drive(map: SocketMap): Promise<void> {
    for (;;) {
      try {
        await loop({ map });
        const left = map.size + map.lingering;
        if (left > 0) complain(`loop() left ${left} dispatchers\n${this}`);
        if (hasTimers(map)) complain(`loop() left a timer\n${this}`);
        return;
      } catch (error) {
        if (error instanceof PlannedExit) this.exits++;
        else complain(`loop() threw ${Deno.inspect(error)}`);
      }
    }
  }

  /** Listens; `take` gets each connection. */
  #openDoor(
    name: Transport | "moody",
    options: SocketOptions,
    take: Take = (conn) => void this.#greet(conn),
  ): void {
    const door = new Dispatcher(null, { map: this.#serverMap });
    door.handleAccepted = take;
    door.handleError = (error) => {
      if (!isPlanned(error)) complain(`the listener ${name}: ${error}`);
    };
    door.createSocket(options);
    door.bind(
      name === "unix" ? { path: PATH } : { hostname: "127.0.0.1", port: 0 },
    );
    door.listen();
    this.#doors.set(name, door);
  }

  /** Hears which connection this is, and makes the server's side. */
  async #greet(conn: Channel): Promise<void> {
    const header = new Uint8Array(4);
    this.#greetings++;
    try {
      for (let at = 0; at < header.length;) {
        const length = await conn.read(header.subarray(at));
        if (length === null) throw new Error("gone");
        at += length;
      }
    } catch {
      return conn.close(); // It was reset before it said anything.
    } finally {
      this.#greetings--;
    }
    const id = new DataView(header.buffer).getUint32(0);
    const connection = this.open.get(id);
    if (!connection) complain(`a client said that it is ${id}\n${this}`);
    this.#serve(connection, conn);
  }

  #serve({ server, plan }: Connection, conn: Channel): void {
    if (server.party) server.complain("it is served already");
    const { splits, startsLast } = plan.server;
    const { kind, ms } = plan.fault;
    const map = kind === "closeAll" || kind === "shutdown"
      ? this.#districtOf(kind, ms)
      : this.#serverMap;
    server.otherMap = this.#otherMap;
    const channel = splits > 0 ? splitting(conn, splits) : conn;
    const party = makeParty(server, map, channel);
    if (!startsLast) party.begin();
    server.peer.onProgress(); // What waited for the server may be due.
  }

  /** A map that is emptied `ms` after it has its first connection. */
  #districtOf(how: "closeAll" | "shutdown", ms: number): SocketMap {
    const there = this.#districts.get(how);
    if (there) return there;
    const map = this.#newMap();
    this.#districts.set(how, map);
    void wait(Math.max(1, ms)).then(() => {
      this.#districts.delete(how);
      this.maps.splice(this.maps.indexOf(map), 1);
      return this.#empty(map, how);
    });
    return map;
  }

  async #empty(map: SocketMap, how: string): Promise<void> {
    for (const { server } of this.open.values()) {
      const { party } = server;
      if (party instanceof Dispatcher && party.map === map) {
        server.fired ||= !party.isGone;
      }
    }
    if (how === "closeAll") {
      closeAll(map);
      if (map.size > 0) complain(`closeAll() left ${[...map]}`);
      return;
    }
    const { aborted } = await shutdown({ map, deadline: DEADLINE });
    if (aborted > 0) complain(`shutdown() aborted ${aborted} that read on`);
  }

  /** Makes a connection; what follows is up to its sides. */
  connect(connection: Connection): void {
    const { id, client, plan: { fault, transport } } = connection;
    this.open.set(id, connection);
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, id);
    const address = this.#target(connection);
    const isTls = transport === "tls";
    const tls = { caCerts: [certificates().ca] };
    if (client.plan.kind === "raw") {
      const isStrange = fault.kind === "badHandshake";
      const { hostname, port } = address as Deno.NetAddr;
      const connect = () =>
        isTls && !isStrange
          ? Deno.connectTls({ hostname, port, ...tls })
          : rawConnect(address);
      const party = new RawParty(client);
      if (isStrange) void party.runAsStranger(connect);
      else void party.run(connect, header);
      return;
    }
    const party = makeParty(client, this.#clientMap);
    party.header = header;
    const options: SocketOptions = { transport, handshakeTimeout: HANDSHAKE };
    party.createSocket(isTls ? { ...options, tls } : options);
    party.connect(address);
  }

  #target({ plan: { fault, transport } }: Connection): Deno.Addr {
    if (fault.kind === "turnedAway") return this.#doors.get("moody")!.addr!;
    if (fault.kind !== "refused") return this.#doors.get(transport)!.addr!;
    return transport === "unix"
      ? { transport: "unix", path: `${order.directory}/nobody` }
      : { transport: "tcp", hostname: "127.0.0.1", port: 1 };
  }

  /** Takes out the connections that are over, and looks at how they went. */
  sweep(): Connection[] {
    const gone = [...this.open.values()].filter((open) => open.isGone());
    for (const connection of gone) {
      this.open.delete(connection.id);
      connection.judge();
    }
    return gone;
  }

  /** Nothing is under way. */
  get isQuiet(): boolean {
    return this.open.size + this.#greetings + this.#districts.size === 0;
  }

  /** Closes what keeps the loops going, and waits for them to end by themselves. */
  async close(): Promise<void> {
    const doors = new Set<unknown>(this.#doors.values());
    for (const map of this.maps) {
      const left = [...map].filter((member) => !doors.has(member));
      if (left.length + map.lingering > 1) {
        complain(`left without a connection: ${map.lingering} linger, ${left}`);
      }
      for (const member of [...map]) member.close();
    }
    await Promise.all(this.#loops);
  }

  /** What is not over. */
  toString(): string {
    const maps = this.maps.map((map) => `${map.size}+${map.lingering}`);
    const open = [...this.open.values()].slice(0, 10).join("\n");
    return `dispatchers+lingering: ${maps.join(", ")}; ` +
      `${this.#loops.size} loops; ${this.#greetings} greetings; ` +
      `${this.open.size} connections:\n${open}`;
  }
}
