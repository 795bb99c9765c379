import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { DatagramDispatcher, DatagramError } from "../mod.ts";
import {
  type Faults,
  type SimHost,
  SimNetwork,
  type SimNetworkOptions,
} from "../testing/mod.ts";
import { text } from "./support.ts";

const PORT = 53;
const SERVER = { hostname: "server", port: PORT };

/** Keeps what it receives. */
class Receiver extends DatagramDispatcher {
  readonly received: string[] = [];
  readonly errors: unknown[] = [];

  constructor(port = 0) {
    super();
    this.createSocket();
    this.bind({ port });
  }
  override handleRead(): void {
    this.received.push(text(this.recvFrom().data));
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

/** Sends back what it receives. */
class Echo extends Receiver {
  override handleRead(): void {
    const { data, addr } = this.recvFrom();
    this.sendTo(data, addr);
  }
}

/** A network with a receiver on the host `server`, and one on `client`. */
function network(options: SimNetworkOptions = {}) {
  const sim = new SimNetwork(options);
  const server = sim.host("server").run(() => new Receiver(PORT));
  const client = sim.host("client").run(() => new Receiver());
  return { sim, server, client };
}

/** What arrives of a hundred datagrams that the client sends, with these faults. */
async function arrivals(
  options: SimNetworkOptions,
  content: (i: number) => string = (i) => `${i}`,
): Promise<{ received: string[]; sim: SimNetwork }> {
  const { sim, server, client } = network(options);
  for (let i = 0; i < 100; i++) {
    // Later ones could pass it.
    client.map.callLater(i, () => void client.sendTo(content(i), SERVER));
  }
  await sim.run();
  return { received: server.received, sim };
}

const IN_ORDER = Array.from({ length: 100 }, (_, i) => `${i}`);

Deno.test("Simulated datagrams arrive once and in order without faults", async () => {
  const { received } = await arrivals({ latency: [1, 50] });
  assertEquals(received, IN_ORDER);
});

Deno.test("A simulated host answers a datagram", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new Echo(PORT));
  const client = sim.host("client").run(() => new Receiver());
  client.sendTo("spam", { ...SERVER, hostname: "SERVER" });
  await sim.run({ until: () => client.received.length === 1 });
  assertEquals(client.received, ["spam"]);
});

Deno.test("datagramLoss loses some, each under a name that can be left out", async () => {
  const faults = { datagramLoss: 0.3 };
  const { received, sim } = await arrivals({ seed: 5, faults });
  const lost = IN_ORDER.filter((i) => !received.includes(i));
  assert(lost.length > 10 && lost.length < 60, `${lost}`);
  const ids = sim.faultEvents.map(({ id }) => id);
  const names = lost.map((i) =>
    `datagramLoss client:32768>server:53 ${Number(i) + 1}`
  );
  assertEquals(ids, names);
  // With one of them alone, the others arrive.
  const only = [names[3]!];
  const left = await arrivals({ seed: 5, faults, only });
  assertEquals(left.received, IN_ORDER.filter((i) => i !== lost[3]));
});

Deno.test("datagramDuplicate doubles some", async () => {
  const { received } = await arrivals({ faults: { datagramDuplicate: 0.3 } });
  assertEquals(new Set(received), new Set(IN_ORDER));
  assert(received.length > 110 && received.length < 160, `${received.length}`);
});

Deno.test("datagramReorder lets others pass, and loses none", async () => {
  const { received } = await arrivals({ faults: { datagramReorder: 0.3 } });
  assertEquals(new Set(received), new Set(IN_ORDER));
  assertEquals(received.length, 100);
  assert(`${received}` !== `${IN_ORDER}`);
});

Deno.test("datagramTruncate leaves the beginning", async () => {
  const content = (i: number) => `${i} ${"x".repeat(100)}`;
  const faults = { datagramTruncate: 0.5 };
  const { received } = await arrivals({ faults }, content);
  const whole = IN_ORDER.map((i) => content(Number(i)));
  const cut = received.filter((data, i) => data !== whole[i]);
  assert(cut.length > 20 && cut.length < 80, `${cut.length}`);
  assert(received.every((data, i) => whole[i]!.startsWith(data)));
});

Deno.test("fragmentLoss concerns datagrams that are longer than the mtu", async () => {
  for (const [size, arrived] of [[972, 100], [973, 0]] as const) {
    const options = { mtu: 1_000, faults: { fragmentLoss: 1 } };
    const { received } = await arrivals(options, () => "x".repeat(size));
    assertEquals(received.length, arrived, `${size} bytes`);
  }
});

Deno.test("A long datagram is lost when one of its fragments is", async () => {
  const faults = { datagramLoss: 0.05 };
  const [short, long] = [1_472, 14_720];
  const counts: number[] = [];
  for (const size of [short, long]) {
    const { received } = await arrivals({ faults }, () => "x".repeat(size));
    counts.push(received.length);
  }
  assertGreater(counts[0]!, counts[1]! + 20);
});

const FAULTS: [Faults, number][] = [[{}, 0], [{ portUnreachable: 1 }, 1]];
for (const [faults, count] of FAULTS) {
  Deno.test(`A datagram to a closed port brings ${count} errors with ${JSON.stringify(faults)}`, async () => {
    const { sim, server, client } = network({ faults });
    server.close();
    client.sendTo("spam", SERVER);
    await sim.run();
    assertEquals(client.errors.length, count);
    for (const error of client.errors) {
      assert(error instanceof DatagramError);
      assert(error.cause instanceof Deno.errors.ConnectionRefused);
    }
    // The socket goes on.
    sim.host("server").run(() => new Echo(PORT));
    client.sendTo("eggs", SERVER);
    await sim.run({ until: () => client.received.length === 1 });
  });
}

Deno.test("A partition and a crash lose datagrams without a word", async () => {
  const { sim, server, client } = network({ faults: { portUnreachable: 1 } });
  sim.partition(["client"], ["server"], { oneWay: true });
  client.sendTo("cut off", SERVER);
  server.sendTo("the other way", { ...client.addr!, hostname: "client" });
  await sim.run();
  assertEquals([server.received, client.received], [[], ["the other way"]]);
  sim.heal();
  sim.crash("server");
  client.sendTo("nobody there", SERVER);
  await sim.run();
  assertEquals(client.errors, []);
});

Deno.test("A simulated port is free after a crash, and datagrams of before arrive", async () => {
  for (const process of [false, true]) {
    const sim = new SimNetwork({ latency: [100, 100] });
    let server!: Receiver;
    const start = (_: SimHost) => void (server = new Receiver(PORT));
    sim.host("server", start);
    const client = sim.host("client").run(() => new Receiver());
    client.sendTo("spam", SERVER);
    await sim.run({ limit: 50 });
    sim.crash("server", { process });
    sim.restart("server");
    await sim.run();
    assertEquals(server.received, ["spam"]);
  }
});

Deno.test("A simulated host binds no UDP port of another one", () => {
  const sim = new SimNetwork();
  sim.host("a");
  const { map } = sim.host("b");
  for (const hostname of ["a", "10.0.0.1", "192.0.2.77", "fd00::1"]) {
    const socket = new DatagramDispatcher(null, { map });
    socket.createSocket();
    assertThrows(
      () => socket.bind({ hostname, port: PORT }),
      Deno.errors.AddrNotAvailable,
    );
    socket.close();
  }
});

Deno.test("Datagrams are the same in each run with the same seed", async () => {
  const traces = new Set<string>();
  for (let i = 0; i < 2; i++) {
    const { sim } = await arrivals({ seed: 11, faults: "harsh" });
    traces.add(sim.trace());
  }
  assertEquals(traces.size, 1);
});
