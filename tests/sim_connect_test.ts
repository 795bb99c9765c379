import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { type Channel, Dispatcher, type SocketOptions } from "../mod.ts";
import { type Faults, SimNetwork } from "../testing/mod.ts";
import {
  Client,
  clientOn,
  connectEnds,
  EchoHandler,
  echoNetwork,
  EchoServer,
  PORT,
  Server,
} from "./sim_programs.ts";
import { SimPorts } from "../testing/sim_ports.ts";
import { bytes } from "./support.ts";

const TOO_LONG = 200_000;

/** What becomes of a client, and when. */
async function outcome(
  sim: SimNetwork,
  socket: SocketOptions = {},
): Promise<[string[], number]> {
  const client = clientOn(sim.host("client"), {}, socket);
  await sim.run({ until: () => client.events.length > 0, limit: TOO_LONG });
  const { now } = sim;
  await sim.run();
  return [client.events, now];
}

Deno.test("A simulated connect to an unknown name fails", async () => {
  const [events] = await outcome(new SimNetwork());
  assertEquals(events, ["error Error", "close Error"]);
});

const nothing = () => {};
/** Seven SYNs, and the wait after each. */
const LOST = 127_000;

/** How a connect fails, by which error, and after how many ms. */
const FAILURES: [string, Faults, (sim: SimNetwork) => void, string, number][] =
  [
    ["lookup", { lookup: 1 }, nothing, "Error", 1],
    ["refuse", { refuse: 1 }, nothing, "ConnectionRefused", 20],
    ["closed port", {}, closePort, "ConnectionRefused", 20],
    ["blackhole", { blackhole: 1 }, nothing, "TimedOut", LOST],
    ["partition", {}, partition, "TimedOut", LOST],
    ["crash", {}, (sim) => sim.crash("server"), "TimedOut", LOST],
  ];

function closePort(sim: SimNetwork): void {
  sim.restart("server", nothing);
}
function partition(sim: SimNetwork): void {
  sim.host("client");
  sim.partition(["client"], ["server"]);
}

for (const [how, faults, prepare, error, ms] of FAILURES) {
  Deno.test(`A simulated connect fails: ${how}`, async () => {
    const sim = echoNetwork({ faults, latency: [10, 10] });
    prepare(sim);
    const [events, time] = await outcome(sim);
    assertEquals(events, [`error ${error}`, `close ${error}`]);
    assertEquals(time, ms);
  });
}

Deno.test("A simulated connect gives up after its connectTimeout", async () => {
  const sim = echoNetwork({ faults: { blackhole: 1 } });
  const [events, time] = await outcome(sim, { connectTimeout: 3_000 });
  assertEquals(events, ["error TimedOut", "close TimedOut"]);
  assertEquals(time, 3_000);
});

for (const oneWay of [false, true]) {
  Deno.test(`A simulated connect succeeds at a later try after a partition, oneWay: ${oneWay}`, async () => {
    const sim = echoNetwork();
    const client = clientOn(sim.host("client"));
    sim.partition(["server"], ["client"], { oneWay });
    await sim.run({ limit: 5_000 });
    assertEquals(client.events, []);
    sim.heal();
    client.send(bytes("spam"));
    await sim.run({ until: () => client.answer === "spam" });
    assert(sim.now > 7_000 && sim.now < 7_200, `${sim.now} ms`);
  });
}

/** Accepts nobody before it is told to listen. */
class Shy extends Dispatcher {
  accepted = 0;
  constructor() {
    super();
    this.createSocket({ backlog: 2 });
    this.bind({ port: PORT });
  }
  override handleAccepted(conn: Channel): void {
    this.accepted++;
    conn.close();
  }
}

/** A shy server and a client that waits for it. */
async function shyNetwork(): Promise<[SimNetwork, Shy, Client]> {
  const sim = new SimNetwork();
  const shy = sim.host("server").run(() => new Shy());
  const client = clientOn(sim.host("client"));
  await sim.run();
  return [sim, shy, client];
}

Deno.test("A simulated listener's backlog fills, and empties", async () => {
  const [sim, shy, first] = await shyNetwork();
  const connect = (n: number) => clientOn(sim.host(`client${n}`));
  const clients = [first, connect(2), connect(3)]; // One more than the backlog.
  await sim.run();
  clients.push(connect(4), connect(5));
  const connected = () => clients.filter((c) => c.events[0] === "connect");
  await sim.run({ limit: 10_000 });
  assertEquals(connected(), clients.slice(0, 3));
  assert(sim.trace().includes("finds the backlog full"), sim.trace());
  shy.listen();
  await sim.run({ until: () => shy.accepted === 5, limit: TOO_LONG });
  assertEquals(connected(), clients);
});

Deno.test("A simulated listener accepts late, with acceptDelay", async () => {
  const times: number[] = [];
  for (const acceptDelay of [0, 1]) {
    const sim = new SimNetwork({ faults: { acceptDelay } });
    const shy = sim.host("server").run(() => new Shy());
    shy.listen();
    clientOn(sim.host("client"));
    await sim.run({ until: () => shy.accepted === 1 });
    times.push(sim.now);
  }
  assertGreater(times[1]!, times[0]! + 20);
});

Deno.test("A simulated listener that closes resets those who wait", async () => {
  const [sim, shy, client] = await shyNetwork();
  shy.close();
  await sim.run();
  assertEquals(client.events, ["connect", "close ConnectionReset"]);
});

Deno.test("A simulated client that is gone before it is accepted is counted", async () => {
  const [sim, shy, client] = await shyNetwork();
  client.send(bytes("spam"));
  // A reset, for what the server will have sent is not read.
  (client.socket as Channel & { reset(): void }).reset();
  client.abort();
  clientOn(sim.host("other"));
  await sim.run();
  shy.listen();
  await sim.run();
  assertEquals([shy.clientsGone, shy.accepted], [1, 1]);
});

Deno.test("A simulated connect that was given up leaves nothing behind", async () => {
  const sim = echoNetwork();
  sim.host("client");
  sim.partition(["server"], ["client"], { oneWay: true });
  const client = clientOn(sim.host("client"), {}, { connectTimeout: 500 });
  await sim.run({ limit: 600 });
  assertEquals(client.events[0], "error TimedOut");
  sim.heal();
  await sim.run();
  assertEquals(sim.host("server").map.size, 1); // The listener alone.
  // A kernel that ends a program closes what connections it had.
  sim.crash("server", { process: true });
  await sim.run();
  assert(!sim.trace().includes("server>client"), sim.trace());
});

Deno.test("A simulated crash of a process ends a connection whose socket the program has taken", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => {
    new Server((conn) => assert(new EchoHandler(conn).socket));
  });
  const client = clientOn(sim.host("client"));
  client.send(bytes("spam"));
  await sim.run({ until: () => client.answer === "spam" });
  sim.crash("server", { process: true });
  await sim.run({ limit: 1_000 });
  assertEquals(client.events, ["connect", "close"]);
});

Deno.test("Two simulated listeners cannot have the same port", () => {
  const { map } = echoNetwork().host("server");
  assertThrows(() => new EchoServer({ map }), Deno.errors.AddrInUse);
});

for (const address of [{ hostname: "localhost", port: PORT }, { path: "/s" }]) {
  const transport = "path" in address ? "unix" : "tcp";
  Deno.test(`A simulated host reaches itself over ${transport}`, async () => {
    const sim = new SimNetwork();
    const client = sim.host("server").run(() => {
      const [server, client] = [new EchoServer(), new Client()];
      for (const socket of [server, client]) {
        socket.close();
        socket.createSocket({ transport });
      }
      server.bind(address);
      server.listen();
      client.connect(address);
      return client;
    });
    client.send(bytes("spam"));
    await sim.run({ until: () => client.answer === "spam" });
  });
}

Deno.test("A simulated connection knows both addresses", async () => {
  const sim = new SimNetwork();
  const { client, server } = await connectEnds(sim);
  const there = client.remoteAddr as Deno.NetAddr;
  const here = server.remoteAddr as Deno.NetAddr;
  assertEquals([there.hostname, there.port], ["server", PORT]);
  assertEquals(here.hostname, sim.host("client").hostname);
});

Deno.test("A simulated connect to an address of nobody is never answered", async () => {
  const sim = new SimNetwork();
  const client = sim.host("client").run(() => new Client());
  client.close();
  client.createSocket();
  client.connect({ hostname: "192.0.2.77", port: PORT });
  await sim.run({ until: () => client.events.length > 0, limit: TOO_LONG });
  assertEquals([client.events[0], sim.now], ["error TimedOut", LOST]);
});

Deno.test("The names of simulated hosts ignore case", async () => {
  const sim = new SimNetwork();
  sim.host("Server", () => new EchoServer());
  assertEquals(sim.host("SERVER").name, "Server");
  const client = clientOn(sim.host("client")); // It connects to "server".
  client.send(bytes("spam"));
  await sim.run({ until: () => client.answer === "spam" });
});

Deno.test("A simulated host has the ephemeral ports of Linux, and no more", () => {
  const ports = new SimPorts();
  const never = () => false;
  const lease = (remote: string, now = 0) => ports.lease(remote, now, never);
  const first = lease("a:1");
  let last = first;
  for (let port = 32_769; port <= 60_999; port++) last = lease("a:1");
  assertEquals([first.port, last.port], [32_768, 60_999]);
  assertThrows(() => lease("a:1"), Deno.errors.AddrNotAvailable);
  assertThrows(
    () => ports.takeFree((port) => ports.isLeased(port, 0)),
    Deno.errors.AddrInUse,
  );
  lease("b:1"); // To another address, they are free.
  last.until = 100;
  assertThrows(() => lease("a:1", 99), Deno.errors.AddrNotAvailable);
  assertEquals(lease("a:1", 100).port, last.port);
});
