import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { type Channel, Dispatcher, loop } from "../mod.ts";
import { type SimHost, SimNetwork } from "../testing/mod.ts";
import {
  bytes,
  Client,
  clientOn,
  connectEnds,
  EchoHandler,
  EchoServer,
  isPending,
  PORT,
} from "./sim_programs.ts";

/** A server and a client that has had an answer. */
async function talking(
  start = (): unknown => new EchoServer(),
): Promise<[SimNetwork, Client]> {
  const sim = new SimNetwork();
  sim.host("server", start);
  const client = clientOn(sim.host("client"));
  client.send(bytes("a"));
  await sim.run({ until: () => client.answer === "a" });
  return [sim, client];
}

Deno.test("A crash of a simulated host is silent, until it is up and spoken to", async () => {
  const [sim, client] = await talking();
  sim.crash("server");
  await sim.run();
  assertEquals(client.events, ["connect"]);
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

Deno.test("A partition of simulated hosts keeps bytes, which arrive when it ends", async () => {
  const [sim, client] = await talking();
  sim.partition(["client"], ["server"]);
  client.send(bytes("b"));
  await sim.run({ limit: 10_000 });
  assertEquals(client.answer, "a");
  sim.heal();
  await sim.run({ until: () => client.answer === "ab" });
  assertEquals(client.events, ["connect"]);
});

Deno.test("A partition of simulated hosts can be one way", async () => {
  const [sim, client] = await talking();
  let received = "";
  const [handler] = [...sim.host("server").map].filter((member) =>
    member instanceof EchoHandler
  ) as EchoHandler[];
  handler!.handleRead = () => {
    received += new TextDecoder().decode(handler!.recv());
  };
  sim.partition(["client"], ["server"], { oneWay: true });
  handler!.send(bytes("from server"));
  client.send(bytes("from client"));
  await sim.run({ limit: 10_000 });
  assertEquals([client.answer, received], ["afrom server", ""]);
  sim.heal();
  await sim.run();
  assertEquals(received, "from client");
});

Deno.test("Who lost power sends nothing again: what was lost is lost", async () => {
  const [sim, client] = await talking();
  sim.partition(["client"], ["server"]);
  client.send(bytes("b"));
  await sim.run({ limit: 1_000 });
  sim.crash("client");
  sim.heal();
  await sim.run();
  assert(!sim.trace(3).includes("1 bytes"), sim.trace(3));
});

Deno.test("What was sent before close() arrives, in a simulation too", async () => {
  const sim = new SimNetwork({ faults: { split: 0.5, partial: 0.5 } });
  let received = 0;
  let ends = 0;
  class Sink extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      new Sink(conn);
    }
    override handleRead(): void {
      received += this.recv(1_000).length;
    }
    override handleClose(): void {
      ends++;
      this.close();
    }
  }
  sim.host("server", () => {
    const server = new Sink();
    server.createSocket();
    server.bind({ port: PORT });
    server.listen();
  });
  const client = clientOn(sim.host("client"));
  client.send(new Uint8Array(300_000));
  client.close();
  await sim.run();
  assertEquals([received, ends, client.closing], [300_000, 1, false]);
});

Deno.test("Lingering of a simulated connection ends after its simulated time", async () => {
  class Deaf extends EchoServer {
    override handleAccepted(): void {} // Neither read nor closed.
  }
  const sim = new SimNetwork();
  sim.host("server", () => new Deaf());
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

Deno.test("A dispatcher made on a simulated host, or in its hooks, joins its map", async () => {
  const [sim] = await talking();
  const { map } = sim.host("server");
  assertEquals([...map].map((member) => member.constructor), [
    EchoServer,
    EchoHandler,
  ]);
});

Deno.test("A crash inside a hook lets no other hook of that host run", async () => {
  const sim = new SimNetwork();
  const calls: number[] = [];
  sim.host("server").run(() => {
    for (let i = 0; i < 5; i++) {
      new Dispatcher().map.callLater(5, () => {
        calls.push(i);
        sim.crash("server");
      });
    }
  });
  await sim.run();
  assertEquals(calls, [0]);
});

Deno.test("A crash inside a predicate lets no other predicate of that host be asked", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new EchoServer());
  const client = sim.host("client");
  const asked: string[] = [];
  let isArmed = false;
  class Asker extends Client {
    override readable(): boolean {
      if (isArmed) {
        asked.push("readable");
        client.crash();
      }
      return true;
    }
    override writable(): boolean {
      if (isArmed) asked.push("writable");
      return !this.connected;
    }
  }
  client.run(() => {
    const askers = [new Asker(), new Asker()];
    askers[0]!.map.callLater(50, () => void (isArmed = true));
  });
  await sim.run();
  assertEquals(asked, ["readable"]);
});

Deno.test("A crash inside a hook stops the pass in its middle", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new EchoServer());
  const client = sim.host("client");
  let isArmed = false;
  let writes = 0;
  class Writer extends Client {
    override writable(): boolean {
      return isArmed || !this.connected;
    }
    override handleWrite(): void {
      if (!isArmed) return;
      writes++;
      client.crash();
    }
  }
  client.run(() => [new Writer(), new Writer(), new Writer()]);
  await sim.run();
  isArmed = true;
  client.map.wake();
  await sim.run();
  assertEquals(writes, 1);
});

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

Deno.test("A program of a simulated host may run the loop itself", async () => {
  const sim = new SimNetwork();
  const events: string[] = [];
  sim.host("server", async ({ map }) => {
    const server = new EchoServer();
    map.callLater(40_000, () => server.close());
    await loop({ timeout: 30_000, count: 1 });
    events.push(`one pass at ${sim.now}`);
    await loop();
    events.push(`the end at ${sim.now}`);
  });
  await sim.run();
  assertEquals(events[1], "the end at 40000");
});

Deno.test("A program of a simulated host that fails ends the run", async () => {
  const sim = new SimNetwork();
  sim.host("server", async () => {
    await Promise.resolve();
    throw new TypeError("no spam");
  });
  const error = await sim.run().then(() => null, (error) => error);
  assertEquals(error.name, "SimulationError");
  assert(error.message.includes("server: TypeError: no spam"), error.message);
  assert(error.cause instanceof TypeError);
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

/** What is on a host's disk after one crash. */
async function afterCrash(
  write: (host: SimHost) => unknown,
  process: boolean,
): Promise<[string, unknown][]> {
  const sim = new SimNetwork();
  const host = sim.host("server", write);
  await sim.run();
  sim.crash("server", { process });
  sim.restart("server", () => {});
  return [...host.disk.keys()].map((name) => [name, host.disk.get(name)]);
}

Deno.test("SimDisk keeps through a power failure what was synced, and no more", async () => {
  const write = async ({ disk }: SimHost) => {
    disk.set("a", ["safe"]);
    disk.set("b", 1);
    await disk.sync();
    disk.set("b", undefined);
    disk.set("c", 3);
  };
  assertEquals(await afterCrash(write, false), [["a", ["safe"]], ["b", 1]]);
  assertEquals(await afterCrash(write, true), [["a", ["safe"]], ["c", 3]]);
});

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
  const sim = new SimNetwork();
  const host = sim.host("server");
  const { disk } = host;
  const list = ["a"];
  disk.set("list", list);
  list.push("b");
  (disk.get("list") as string[]).push("c");
  assertEquals(disk.get("list"), ["a"]);
  host.crash({ process: true });
  disk.set("list", []);
  host.restart();
  assertEquals(host.disk.get("list"), ["a"]);
});

Deno.test("Chance cuts hosts off, both ways and each one way, and mends it", async () => {
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
  // Shorter than the time between two questions to chance: they do not overlap.
  const sim = new SimNetwork({ faults: { partition: 20, outage: 900 } });
  const { client, server } = await connectEnds(sim);
  sim.host("client").map.callEvery(1_000, () => {});
  const isCut = () => sim.trace(1).endsWith("partition server > client\n");
  await sim.run({ until: isCut, limit: 600_000 });
  const reads = [client, server].map((end) => end.read(new Uint8Array(1)));
  for (const end of [client, server]) await end.write(new Uint8Array(1));
  await sim.run({ limit: 50 });
  const [toClient, toServer] = await Promise.all(reads.map(isPending));
  assertEquals([toClient, toServer], [true, false], sim.trace(8));
});

Deno.test("A partition by chance lasts no longer than an outage may", async () => {
  const faults = { partition: 20, outage: 3_000 };
  const run = async (only?: string[]): Promise<SimNetwork> => {
    const sim = new SimNetwork(only ? { faults, only } : { faults });
    sim.host("server", () => new EchoServer());
    const { map } = sim.host("client");
    map.callEvery(1_000, () => {});
    await sim.run({ limit: 20_000 });
    return sim;
  };
  const { id } = (await run()).faultEvents[0]!;
  const sim = await run([id]);
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
  assert(new Set(crashes).size === 2, `${crashes}`);
  const isDown = sim.host("a").isUp ? 0 : 1;
  assertEquals(starts, 1 + crashes.length - isDown);
  assert(!/ b (crashes|is killed)\n/.test(trace));
});

Deno.test("SimNetwork.calm() ends partitions, and lets nothing go wrong any more", async () => {
  const sim = new SimNetwork({ faults: "harsh" });
  sim.host("server", () => new EchoServer());
  sim.host("client");
  sim.partition(["server"], ["client"]);
  sim.calm();
  const client = clientOn(sim.host("client"));
  client.send(new Uint8Array(100_000));
  await sim.run({ until: () => client.answer.length === 100_000 });
  await sim.run({ limit: 600_000 });
  assertEquals([sim.faultEvents, client.events], [[], ["connect"]]);
});
