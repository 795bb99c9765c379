/**
 * Talks to Python's own asyncore, in both directions. Where no Python has it
 * (it was removed in 3.12) the tests are ignored.
 */

import { assert, assertEquals } from "@std/assert";
import {
  type Address,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { epollNetwork, recvUrgent, sendUrgent } from "../epoll/mod.ts";
import { loopToEnd, pattern, watch } from "./fakes.ts";
import { hasPeerEnded } from "./epoll_faults.ts";
import { Child, findPython } from "./peers.ts";
import {
  bytes,
  families,
  type Family,
  isMissing,
  loopUntil,
  rawConnect,
  ScopedMap,
  StrictDispatcher,
  type TestMap,
  TestServer,
  text,
} from "./support.ts";

const python = await findPython("import asyncore");
if (python === null) {
  console.log(
    "No Python with asyncore is here: ignoring tests/interop_test.ts",
  );
}

/** Starts a Python program of the tests. */
function startPython(name: string, ...args: string[]): Child {
  const program = `${import.meta.dirname}/python/${name}.py`;
  return new Child(python!.name, ["-W", "ignore", program, ...args]);
}

/** The next lines that a program prints. */
async function linesOf(child: Child, count: number): Promise<string[]> {
  const lines: string[] = [];
  while (lines.length < count) lines.push(await child.until(""));
  return lines;
}

/** Runs a test for each family of sockets, where Python is. */
function testWithPython(
  name: string,
  test: (family: Family) => Promise<void>,
  kinds = families,
): void {
  for (const family of kinds) {
    Deno.test({
      name: `${name} (${family.name})`,
      ignore: python === null || isMissing(family),
      fn: () => test(family),
    });
  }
}

/** An address as arguments of the Python programs. */
function placeOf(address: Address | Deno.Addr | null): string[] {
  if ("path" in address!) return ["unix", address.path!];
  const { hostname, port } = address as Deno.NetAddr;
  return port > 0 ? ["tcp", hostname, `${port}`] : ["tcp", hostname];
}

/** Sends data, and gathers the answer until it has the same length. */
class EchoClient extends DispatcherWithSend {
  readonly #data: Uint8Array;
  readonly answer: Uint8Array;
  length = 0;

  constructor(
    map: TestMap,
    family: Family,
    address: Address,
    data: Uint8Array,
  ) {
    super(null, { map });
    this.#data = data;
    this.answer = new Uint8Array(data.length);
    this.createSocket(family.options);
    this.connect(address);
  }
  override handleConnect(): void {
    this.send(this.#data);
  }
  override handleRead(): void {
    this.length += this.recvInto(this.answer.subarray(this.length));
    if (this.length === this.#data.length) this.close();
  }
  override handleClose(): void {
    throw new Error("The server has left");
  }
  override handleError(error: unknown): void {
    throw error;
  }
}

testWithPython("Dispatcher is a client to Python's server", async (family) => {
  await using map = new ScopedMap();
  const place = family.address();
  await using server = startPython("echo_server", ...placeOf(place));
  const listening = await server.until("");
  const address = "path" in place
    ? { path: listening }
    : { ...place, port: Number(listening) };

  const data = pattern(300_000);
  const clients = [data, bytes("spam"), pattern(70_000)].map((data) => ({
    data,
    client: new EchoClient(map, family, address, data),
  }));
  await loopToEnd(map, 30_000);
  for (const { data, client } of clients) {
    assertEquals(client.length, data.length);
    assert(data.every((byte, i) => byte === client.answer[i]));
  }
  const ends = await linesOf(server, 3);
  assertEquals(ends.sort(), [
    "closed after 300000",
    "closed after 4",
    "closed after 70000",
  ]);
});

testWithPython("Dispatcher is a server to Python's client", async (family) => {
  await using map = new ScopedMap();
  let closes = 0;
  class Handler extends DispatcherWithSend {
    override handleRead() {
      this.send(this.recv());
    }
    override handleClose() {
      closes++;
    }
    override handleError(error: unknown) {
      throw error;
    }
  }
  const serve = (conn: Channel) => new Handler(conn, { map });
  const server = new TestServer(map, serve, family);
  const args = ["300000", ...placeOf(server.addr)];
  await using client = startPython("echo_client", ...args);
  const lines = linesOf(client, 2);
  const reading = watch(lines);
  await loopUntil(map, () => reading.settled && closes > 0);
  assertEquals(await lines, ["connected", "the same"]);
  assertEquals(closes, 1);
  assertEquals([...map], [server]);
});

testWithPython("close() reaches a client in Python", async (family) => {
  await using map = new ScopedMap();
  class Handler extends Dispatcher {
    override handleRead() {
      this.send(this.recv(100));
      this.close();
    }
  }
  const serve = (conn: Channel) => new Handler(conn, { map });
  const server = new TestServer(map, serve, family);
  const args = ["1000", ...placeOf(server.addr)];
  await using client = startPython("echo_client", ...args);
  const lines = linesOf(client, 2);
  const reading = watch(lines);
  await loopUntil(map, () => reading.settled);
  assertEquals(await lines, ["connected", "lost after 100"]);
});

/** A Unix socket cannot reset, and has no urgent data. */
const TCP = families.filter(({ name }) => name !== "Unix");

testWithPython(
  "Dispatcher goes on serving after clients that reset before they are accepted",
  async (family) => {
    await using map = new ScopedMap();
    class Handler extends Dispatcher {
      override handleRead() {
        this.send(this.recv());
      }
      override handleError(error: unknown) {
        throw error;
      }
    }
    const serve = (conn: Channel) => new Handler(conn, { map });
    const server = new TestServer(map, serve, family);
    const [, ...place] = placeOf(server.addr);
    // No pass is made meanwhile, so all but one wait in the backlog.
    await using clients = startPython("resetting_clients", "50", ...place);
    assertEquals(await clients.until(""), "done");

    using conn = await rawConnect(server.addr);
    await conn.write(bytes("spam"));
    const answer = watch(conn.read(new Uint8Array(16)));
    await loopUntil(map, () => answer.settled, 30_000);
    assertEquals(answer.error, undefined);
    assert(server.accepting);
  },
  TCP,
);

testWithPython(
  "Dispatcher gets no event for urgent data over Deno's network, and all other bytes",
  async (family) => {
    await using map = new ScopedMap({ network: denoNetwork });
    let received = "";
    let closes = 0;
    class Handler extends StrictDispatcher {
      override handleRead() {
        received += text(this.recv());
      }
      override handleClose() {
        closes++;
      }
    }
    const serve = (conn: Channel) => new Handler(map, conn);
    const server = new TestServer(map, serve, family);
    const [, ...place] = placeOf(server.addr);
    await using client = startPython("urgent_client", ...place);
    assertEquals(await client.until(""), "sent");
    await loopUntil(map, () => closes > 0);
    assertEquals(received, "spam and eggs");
  },
  TCP,
);

/** The events of "spam ", an urgent "!" and "and eggs", here and in Python. */
const URGENT_EVENTS = ["read spam ", "urgent 33", "read and eggs", "closed"];

/** The families over which the second engine has urgent data, if it is here. */
const URGENT = epollNetwork.available ? TCP : [];

testWithPython(
  "Dispatcher.handleExpt() gets the urgent byte of a client, as in Python",
  async (family) => {
    await using map = new ScopedMap({ network: epollNetwork });
    const events: string[] = [];
    class Handler extends StrictDispatcher {
      override handleRead() {
        const data = this.recv();
        if (data.length > 0) events.push(`read ${text(data)}`);
      }
      override handleExpt() {
        events.push(`urgent ${recvUrgent(this.socket)}`);
      }
      override handleClose() {
        events.push("closed");
        this.close();
      }
    }
    let accepted: Channel | null = null;
    const serve = (conn: Channel) => void (accepted = conn);
    const server = new TestServer(map, serve, family);
    const [, ...place] = placeOf(server.addr);
    await using client = startPython("urgent_client", ...place);
    assertEquals(await client.until(""), "sent");
    // All has arrived before the first look: its order shows.
    await loopUntil(map, () => accepted !== null && hasPeerEnded(accepted));
    new Handler(map, accepted);
    await loopUntil(map, () => events.includes("closed"));
    assertEquals(events, URGENT_EVENTS);
  },
  URGENT,
);

testWithPython(
  "sendUrgent() reaches handle_expt() of a dispatcher in Python",
  async (family) => {
    await using map = new ScopedMap({ network: epollNetwork });
    const [, hostname = ""] = placeOf(family.address());
    await using server = startPython("urgent_server", hostname);
    const port = Number(await server.until(""));
    class Client extends StrictDispatcher {
      override handleConnect() {
        this.send("spam ");
        assert(sendUrgent(this.socket, 33));
        this.send("and eggs");
        this.close();
      }
    }
    const client = new Client(map);
    client.createSocket(family.options);
    client.connect({ hostname, port });
    const lines = linesOf(server, 5);
    const reading = watch(lines);
    await loopUntil(map, () => reading.settled);
    assertEquals(await lines, ["go", ...URGENT_EVENTS]);
  },
  URGENT,
);
