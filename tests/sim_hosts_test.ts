import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { SimNetwork } from "../testing/mod.ts";
import {
  Client,
  clientOn,
  connectEnds,
  type EchoHandler,
  echoNetwork,
  isPending,
  Server,
} from "./sim_programs.ts";
import { bytes, text } from "./support.ts";

/** An echo server and a client that has had an answer. */
async function talking(): Promise<[SimNetwork, Client]> {
  const sim = echoNetwork();
  const client = clientOn(sim.host("client"));
  client.send(bytes("a"));
  await sim.run({ until: () => client.answer === "a" });
  return [sim, client];
}

Deno.test("A crash of a simulated host is silent, until it is up and spoken to", async () => {
  const [sim, client] = await talking();
  sim.crash("server");
  client.send(bytes("b"));
  await sim.run({ limit: 30_000 });
  assertEquals(client.events, ["connect"]);
  sim.restart("server");
  await sim.run({ until: () => client.events.length > 1 });
  assertEquals(client.events, ["connect", "close ConnectionReset"]);
});

Deno.test("A program of a simulated host that is killed ends its connections", async () => {
  const [sim, client] = await talking();
  sim.crash("server", { process: true });
  await sim.run();
  assertEquals(client.events, ["connect", "close"]);
  const second = clientOn(sim.host("client"));
  await sim.run();
  assertEquals(second.events[0], "error ConnectionRefused");
});

Deno.test("A simulated peer that is never back is given up after a quarter of an hour", async () => {
  const [sim, client] = await talking();
  sim.crash("server");
  client.send(bytes("b"));
  await sim.run({ until: () => client.events.length > 1, limit: 2_000_000 });
  assertEquals(client.events.slice(0, 2), ["connect", "error TimedOut"]);
  assertGreater(sim.now, 900_000);
});

for (const oneWay of [false, true]) {
  Deno.test(`A partition keeps bytes, which arrive when it ends, oneWay: ${oneWay}`, async () => {
    const [sim, client] = await talking();
    let received = "";
    const handler = [...sim.host("server").map].at(-1) as EchoHandler;
    handler.handleRead = () => void (received += text(handler.recv()));
    sim.partition(["client"], ["server"], { oneWay });
    handler.send(bytes("b"));
    client.send(bytes("c"));
    await sim.run({ limit: 10_000 });
    assertEquals([client.answer, received], [oneWay ? "ab" : "a", ""]);
    sim.heal();
    await sim.run();
    assertEquals([client.answer, received], ["ab", "c"]);
  });
}

Deno.test("A host that lost power retransmits nothing: what was lost is lost", async () => {
  const [sim, client] = await talking();
  sim.partition(["client"], ["server"]);
  client.send(bytes("b"));
  await sim.run({ limit: 1_000 });
  sim.crash("client");
  sim.heal();
  const from = sim.now;
  await sim.run();
  assert(!sim.trace({ from }).includes("1 bytes"), sim.trace({ from }));
});

Deno.test("Lingering of a simulated connection ends after its simulated time", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new Server(() => {})); // Neither read nor closed.
  const client = clientOn(sim.host("client"), { linger: 5_000 });
  client.send(new Uint8Array(1_000_000));
  await sim.run({ limit: 1_000 });
  client.close();
  const start = sim.now;
  await sim.run({ until: () => !client.closing });
  const time = sim.now - start;
  assert(time >= 5_000 && time <= 10_000, `${time} ms`);
  assert(sim.trace(5).includes("was closed and lost"), sim.trace(5));
});

Deno.test("A crash inside a timer lets no other timer of that host run", async () => {
  const sim = new SimNetwork();
  const { map } = sim.host("server");
  let runs = 0;
  for (let i = 0; i < 5; i++) {
    map.callLater(5, () => {
      runs++;
      sim.crash("server");
    });
  }
  await sim.run();
  assertEquals(runs, 1);
});

for (const method of ["readable", "handleWrite"] as const) {
  Deno.test(`A crash inside a predicate or hook stops the pass in its middle: ${method}`, async () => {
    const sim = echoNetwork();
    const client = sim.host("client");
    const calls: string[] = [];
    let isArmed = false;
    const call = (name: string): boolean => {
      if (isArmed) calls.push(name);
      if (isArmed && name === method) client.crash();
      return isArmed;
    };
    class Crashing extends Client {
      override readable(): boolean {
        return call("readable") || true;
      }
      override writable(): boolean {
        return call("writable") || !this.connected;
      }
      override handleWrite(): void {
        call("handleWrite");
      }
    }
    client.run(() => [new Crashing(), new Crashing(), new Crashing()]);
    await sim.run();
    isArmed = true;
    client.map.wake();
    await sim.run();
    assertEquals(calls.filter((name) => name === method).length, 1);
    assertEquals(calls.at(-1), method);
  });
}

Deno.test("A restart of a simulated host runs its program, or another one", async () => {
  const sim = new SimNetwork();
  const starts: string[] = [];
  sim.host("server", () => starts.push("first"));
  sim.restart("server");
  sim.restart("server", () => starts.push("second"));
  sim.crash("server");
  sim.crash("server");
  await sim.run();
  sim.restart("server");
  assertEquals(starts, ["first", "first", "second", "first"]);
});

Deno.test("SimNetwork says which hosts there are", () => {
  const sim = new SimNetwork();
  assertThrows(() => sim.crash("a"), TypeError, 'no host "a", only: none');
  sim.host("b");
  assertThrows(() => sim.crash("a"), TypeError, 'no host "a", only: b');
  sim.host("c", () => {});
  assertThrows(() => sim.host("c", () => {}), Error, "there already");
  assertEquals(sim.host("c"), sim.hosts[1]);
});

for (const process of [false, true]) {
  Deno.test(`SimDisk keeps what was ${process ? "written when a program ends" : "synced when the power fails"}`, async () => {
    const sim = new SimNetwork();
    const host = sim.host("server", async ({ disk }) => {
      disk.set("a", ["safe"]);
      disk.set("b", 1);
      await disk.sync();
      disk.set("b", undefined);
      disk.set("c", 3);
    });
    await sim.run();
    host.crash({ process });
    host.restart(() => {});
    const stored = [...host.disk.keys()].map((name) => host.disk.get(name));
    assertEquals(stored, [["safe"], process ? 3 : 1]);
  });
}

Deno.test("SimDisk is not synced yet when the power fails meanwhile", async () => {
  const sim = new SimNetwork();
  const host = sim.host("server");
  host.disk.set("a", 1);
  let isSynced = false;
  void host.disk.sync().then(() => isSynced = true);
  host.map.callLater(0.5, () => host.crash());
  await sim.run();
  host.restart();
  assertEquals([isSynced, host.disk.get("a")], [false, undefined]);
});

Deno.test("SimDisk holds copies, and a dead program writes nothing", () => {
  const host = new SimNetwork().host("server");
  const { disk } = host;
  const list = ["a"];
  disk.set("list", list);
  list.push("b");
  (disk.get("list") as string[]).push("c");
  host.crash({ process: true });
  disk.set("list", []);
  host.restart();
  assertEquals(host.disk.get("list"), ["a"]);
});

Deno.test("A partition by chance is one way, the other, or both, and ends", async () => {
  const sim = new SimNetwork({ faults: { partition: 20, outage: 3_000 } });
  sim.host("a").map.callEvery(1_000, () => {});
  sim.host("b");
  await sim.run({ limit: 120_000 });
  for (const way of ["<", ">", "|"]) {
    assert(sim.trace().includes(`partition a ${way} b\n`), way);
    assert(sim.trace().includes(`partition a ${way} b ends\n`), way);
  }
});

Deno.test("A partition by chance that is one way lets the other way through", async () => {
  // Shorter than the time between two draws: they do not overlap.
  const sim = new SimNetwork({ faults: { partition: 20, outage: 900 } });
  const { client, server } = await connectEnds(sim);
  sim.host("client").map.callEvery(1_000, () => {});
  const isOneWay = () => sim.trace(1).endsWith("partition server > client\n");
  await sim.run({ until: isOneWay, limit: 600_000 });
  const reads = [client, server].map((end) => end.read(new Uint8Array(1)));
  for (const end of [client, server]) await end.write(new Uint8Array(1));
  await sim.run({ limit: 50 });
  const [toClient, toServer] = await Promise.all(reads.map(isPending));
  assertEquals([toClient, toServer], [true, false], sim.trace(8));
});

Deno.test("A partition by chance lasts no longer than an outage may", async () => {
  const faults = { partition: 20, outage: 3_000 };
  const run = async (options = {}): Promise<SimNetwork> => {
    const sim = echoNetwork({ faults, ...options });
    sim.host("client").map.callEvery(1_000, () => {});
    await sim.run({ limit: 20_000 });
    return sim;
  };
  const { id } = (await run()).faultEvents[0]!;
  const sim = await run({ only: [id] });
  assertEquals(sim.faultEvents.length, 1);
  const client = clientOn(sim.host("client"));
  client.send(bytes("spam"));
  await sim.run({ until: () => client.answer === "spam", limit: 500 });
});

Deno.test("Chance crashes only hosts that know how to start again, both ways", async () => {
  const sim = new SimNetwork({ faults: { crash: 20, outage: 3_000 } });
  let starts = 0;
  sim.host("a", () => starts++);
  sim.host("b").map.callEvery(1_000, () => {});
  await sim.run({ limit: 120_000 });
  const trace = sim.trace();
  const crashes = trace.match(/ a (crashes|is killed)\n/g)!;
  assertEquals(new Set(crashes).size, 2);
  const isDown = sim.host("a").isUp ? 0 : 1;
  assertEquals(starts, 1 + crashes.length - isDown);
  assert(!/ b (crashes|is killed)\n/.test(trace));
});

Deno.test("SimNetwork.calm() ends partitions and all faults", async () => {
  const sim = echoNetwork({ faults: "harsh" });
  sim.host("client");
  sim.partition(["server"], ["client"]);
  sim.calm();
  const client = clientOn(sim.host("client"));
  client.send(new Uint8Array(100_000));
  await sim.run({ until: () => client.answer.length === 100_000 });
  await sim.run({ limit: 600_000 });
  assertEquals([sim.faultEvents, client.events], [[], ["connect"]]);
});
