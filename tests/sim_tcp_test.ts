import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
} from "@std/assert";
import { type Faults, SimNetwork, simulate } from "../testing/mod.ts";
import { pattern } from "./fakes.ts";
import {
  connectEnds,
  during,
  isPending,
  readAll,
  writeAll,
} from "./sim_programs.ts";

const { ConnectionReset } = Deno.errors;

/** What one side reads when the other writes ten bytes, again and again. */
async function readSizes(faults: Faults): Promise<number[]> {
  const sim = new SimNetwork({ seed: 3, faults });
  const { client, server } = await connectEnds(sim);
  const writing = (async () => {
    for (let i = 0; i < 200; i++) await writeAll(client, new Uint8Array(10));
    await client.closeWrite();
  })();
  const [parts] = await during(sim, Promise.all([readAll(server), writing]));
  const sizes = parts.map(({ length }) => length);
  assertEquals(sizes.reduce((a, b) => a + b, 0), 2_000);
  return sizes;
}

Deno.test("A simulated connection coalesces what arrives together", async () => {
  const sizes = await readSizes({});
  assert(sizes.every((size) => size % 10 === 0), `${sizes}`);
  assert(sizes.some((size) => size > 10), `${sizes}`);
});

Deno.test("A simulated connection splits writes and reads", async () => {
  const sizes = await readSizes({ split: 0.3 });
  assert(sizes.some((size) => size % 10 !== 0), `${sizes}`);
});

Deno.test("A simulated connection takes only a part of a write, with partial", async () => {
  const sim = new SimNetwork({ faults: { partial: 1 } });
  const { client } = await connectEnds(sim);
  const written = await client.write(new Uint8Array(1_000));
  assert(written > 0 && written < 1_000, `${written}`);
});

Deno.test("A simulated connection loses, doubles and reorders nothing", async () => {
  const faults = { split: 0.4, partial: 0.3, stall: 0.02, partition: 5 };
  const options = { seeds: 60, faults, bandwidth: 1_000_000 };
  const result = await simulate(options, async (sim) => {
    const { client, server } = await connectEnds(sim);
    const carry = async (
      from: typeof client,
      to: typeof client,
    ) => {
      const data = pattern(1 + Math.floor(sim.random() ** 4 * 150_000));
      const reading = readAll(to, 1 + Math.floor(sim.random() * 5_000));
      for (let at = 0; at < data.length;) {
        const most = 1 + Math.floor(sim.random() ** 3 * 20_000);
        at += await from.write(data.subarray(at, at + most));
      }
      await from.closeWrite();
      const parts = await reading;
      assertEquals(parts.flatMap((part) => [...part]), [...data]);
    };
    const both = [carry(client, server), carry(server, client)];
    await during(sim, Promise.all(both), 3_600_000);
  });
  assertGreater(result.faults, 1_000);
});

Deno.test("A simulated connection takes no more than its window holds", async () => {
  const sim = new SimNetwork();
  const { client, server } = await connectEnds(sim);
  let accepted = 0;
  let writing: Promise<number>;
  for (let writes = 0;; writes++) {
    assert(writes < 20, `${accepted} bytes were taken`);
    writing = client.write(new Uint8Array(10_000));
    if (await isPending(writing)) break;
    accepted += await writing;
  }
  await sim.run();
  assert(await isPending(writing));
  assertEquals(accepted, 64 * 1024);
  assertEquals(await server.read(new Uint8Array(1_000)), 1_000);
  const before = sim.now;
  assertEquals(await during(sim, writing), 1_000);
  assertGreater(sim.now, before); // The window update had to travel.
});

Deno.test("A simulated connection is reset in the middle of a write", async () => {
  const sim = new SimNetwork();
  const { client, server } = await connectEnds(sim);
  await writeAll(client, new Uint8Array(64 * 1024));
  const writing = client.write(new Uint8Array(1)); // The window is full.
  await sim.run();
  server.close(); // Bytes that nobody has read: a reset.
  await assertRejects(() => during(sim, writing), ConnectionReset);
  await assertRejects(() => client.read(new Uint8Array(1)), ConnectionReset);
});

Deno.test("A reset loses what has arrived before it, with resetDiscards", async () => {
  for (const resetDiscards of [0, 1]) {
    const sim = new SimNetwork({ faults: { resetDiscards } });
    const { client, server } = await connectEnds(sim);
    await writeAll(server, new Uint8Array(1)); // So that closing resets.
    await writeAll(client, new Uint8Array(5));
    await sim.run();
    client.close();
    await sim.run();
    const read = server.read(new Uint8Array(10));
    if (resetDiscards === 0) assertEquals(await read, 5);
    else await assertRejects(() => read, ConnectionReset);
  }
});

Deno.test("A fault resets a simulated connection at both ends", async () => {
  const sim = new SimNetwork({ faults: { reset: 1 } });
  const { client, server } = await connectEnds(sim);
  await client.write(new Uint8Array(5));
  for (const end of [client, server]) {
    const reading = () => during(sim, end.read(new Uint8Array(5)));
    await assertRejects(reading, ConnectionReset);
  }
  const ids = sim.faultEvents.map(({ id }) => id);
  assertEquals(ids, ["reset #1 client>server 1"]);
});

Deno.test("A stalled segment is late, and keeps those behind it waiting", async () => {
  const times: number[] = [];
  for (const stall of [0, 1]) {
    const faults = { stall, stallTime: 100_000 };
    const sim = new SimNetwork({ faults, latency: [10, 10] });
    const { client, server } = await connectEnds(sim);
    const start = sim.now;
    await client.write(new Uint8Array(5));
    await during(sim, server.read(new Uint8Array(5)), 100_000);
    times.push(sim.now - start);
  }
  assertEquals(times[0], 10);
  assertGreater(times[1]!, 100);
});

Deno.test("Bandwidth bounds how fast bytes arrive", async () => {
  const sim = new SimNetwork({ bandwidth: 10_000, latency: [1, 1] });
  const { client, server } = await connectEnds(sim);
  const start = sim.now;
  await writeAll(client, new Uint8Array(20_000));
  await client.closeWrite();
  await during(sim, readAll(server));
  assert(Math.abs(sim.now - start - 2_001) < 1, `${sim.now - start} ms`);
});
