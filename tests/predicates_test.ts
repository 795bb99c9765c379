/**
 * The work that a pass may leave out when thousands give the same answer again.
 * It asks every predicate once, and acts on every change.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
} from "@std/assert";
import { Dispatcher, ExitNow, poll } from "../mod.ts";
import {
  FakeChannel,
  FakeNetwork,
  newSeed,
  passes,
  quietMap,
  randomFrom,
  type RecorderOptions,
} from "./fakes.ts";
import { type Acts, recorder } from "./setups.ts";
import { loopUntil, type TestMap } from "./support.ts";

const REFUSED = new Error("refused");

/** A dispatcher that answers as it is told, and goes on after an error. */
function tell(map: TestMap, options: RecorderOptions = {}, acts: Acts = {}) {
  const channel = new FakeChannel();
  const wants = { read: true, write: false };
  const told = recorder(map, channel, {
    readable: () => wants.read,
    writable: () => wants.write,
    handleWrite() {},
    handleError() {},
    ...acts,
  }, options);
  return { channel, wants, told };
}

/** A dispatcher that has given the same answer for some passes. */
async function settled(reads: boolean) {
  const map = quietMap();
  const scene = tell(map);
  scene.wants.read = reads;
  await passes(map, 5);
  scene.told.trace.length = 0;
  return { map, ...scene };
}

for (const reads of [true, false]) {
  const name = `Dispatcher whose readable() was ${reads} for long`;

  Deno.test(`${name} is asked once in each pass`, async () => {
    const { map, told } = await settled(reads);
    await passes(map, 2);
    const once = ["readable", "writable"];
    assertEquals(told.trace, [...once, ...once]);
  });

  Deno.test(`${name} writes in the pass in which writable() turns true`, async () => {
    const { map, wants, told } = await settled(reads);
    wants.write = true;
    await passes(map, 1);
    assertEquals(told.count("handleWrite"), 1);
    wants.write = false;
    await passes(map, 3);
    assertEquals(told.count("handleWrite"), 1);
  });

  Deno.test(`${name} is not asked writable() when readable() has closed it`, async () => {
    const { map, told } = await settled(reads);
    told.readable = () => {
      told.close();
      return reads;
    };
    await passes(map, 3);
    assertEquals(told.trace, []);
  });

  for (const predicate of ["readable", "writable"] as const) {
    Deno.test(`${name} and whose ${predicate}() throws then hears of it in each pass`, async () => {
      const { map, channel, told } = await settled(reads);
      told[predicate] = () => {
        throw REFUSED;
      };
      await passes(map, 2);
      assertEquals(told.errors, [REFUSED, REFUSED]);
      // It goes on with what it wanted before.
      if (reads) channel.push("spam");
      await passes(map, 2);
      assertEquals(told.received, reads ? "spam" : "");
    });

    Deno.test(`${name} and whose ${predicate}() gives a promise then has made a mistake`, async () => {
      const { map, told } = await settled(reads);
      told[predicate] = () => Promise.resolve(true) as unknown as boolean;
      await passes(map, 1);
      assertEquals(told.errors.length, 1);
      assert(told.errors[0] instanceof TypeError);
    });
  }
}

for (const leave of ["close", "delChannel"] as const) {
  Deno.test(`ExitNow of a settled predicate after ${leave}() leaves the loop`, async () => {
    const { map, told } = await settled(true);
    told.writable = () => {
      told[leave]();
      throw new ExitNow("enough");
    };
    await assertRejects(() => poll(0, map), ExitNow, "enough");
  });
}

Deno.test("A settled predicate that closes and throws has its error told", async () => {
  const { map, told } = await settled(true);
  told.readable = () => {
    told.close();
    throw REFUSED;
  };
  await passes(map, 2);
  assertEquals([...map.errors, ...told.errors], [REFUSED]);
});

Deno.test("Promises of both settled predicates are told of as one mistake, and forgotten", async () => {
  const { map, told } = await settled(true);
  const rejects = () => Promise.reject(REFUSED) as unknown as boolean;
  told.readable = told.writable = rejects;
  await passes(map, 1);
  assertEquals(told.errors.length, 1);
});

Deno.test("Dispatcher is read when readable() turns true after long, and not after it turned false", async () => {
  const { map, channel, wants, told } = await settled(false);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(told.received, "");
  wants.read = true;
  await passes(map, 3);
  assertEquals(told.received, "spam");
  wants.read = false;
  channel.push("eggs");
  await passes(map, 5);
  assertEquals(told.received, "spam");
  wants.read = true;
  await passes(map, 3);
  assertEquals(told.received, "spameggs");
});

Deno.test("Dispatcher is not asked while the promise of a hook is pending, however settled it was", async () => {
  const map = quietMap();
  const { promise, resolve } = Promise.withResolvers<void>();
  let isPending = false;
  const { told } = tell(map, { idleTimeout: 20 }, {
    async handleTimeout() {
      isPending = true;
      await promise;
      isPending = false;
    },
  });
  await loopUntil(map, () => isPending);
  told.trace.length = 0;
  await passes(map, 3);
  assertEquals(told.trace, []);
  resolve();
  await passes(map, 3);
  assertGreater(told.trace.length, 0);
  told.close();
});

/** The predicates of some dispatchers, in the order in which they are asked. */
function predicatesOf(labels: string[]): string[] {
  return labels.flatMap((label) => [`${label}.readable`, `${label}.writable`]);
}

Deno.test("Dispatcher that leaves and comes back before its first pass is asked last", async () => {
  const map = quietMap();
  const trace: string[] = [];
  const [first] = ["a", "b", "c"].map((label) => tell(map, { label, trace }));
  first!.told.delChannel();
  first!.told.addChannel();
  await passes(map, 1);
  assertEquals(trace, predicatesOf(["b", "c", "a"]));
});

Deno.test("Dispatchers of all kinds are asked once in each pass, in their order, whatever happens", async () => {
  const random = randomFrom(newSeed());
  const pick = (below: number) => Math.floor(random() * below);
  const map = quietMap();
  const trace: string[] = [];
  const order: (ReturnType<typeof tell> & { sent: string })[] = [];
  const add = (label: string) =>
    order.push({ ...tell(map, { label, trace }), sent: "" });
  for (let i = 0; i < 40; i++) add(`${i}`);
  await passes(map, 1);
  for (let round = 0; round < 500; round++) {
    for (let n = pick(4); n > 0; n--) {
      const at = pick(order.length);
      const one = order[at]!;
      const { told, channel, wants } = one;
      switch (pick(4)) {
        case 0:
          wants.read = !wants.read;
          break;
        case 1:
          wants.write = !wants.write;
          break;
        case 2:
          channel.push(`${round};`);
          one.sent += `${round};`;
          break;
        case 3: // It leaves, and comes back to the end.
          told.delChannel();
          told.addChannel();
          order.splice(at, 1);
          order.push(one);
      }
    }
    if (pick(2) === 0) add(`${round}+`);
    if (order.length > 30) order.splice(pick(20), 1)[0]!.told.close();
    trace.length = 0;
    await passes(map, 1);
    const expected = predicatesOf(order.map(({ told }) => told.label));
    const asked = trace.filter((entry) => /able$/.test(entry));
    assertEquals(asked, expected, `round ${round}`);
  }
  for (const { wants } of order) wants.read = true;
  await passes(map, 200);
  for (const { told, sent } of order) assertEquals(told.received, sent);
});

Deno.test("Dispatcher that connects in the midst of a pass is asked before it writes", async () => {
  class Silent extends Dispatcher {
    writes = 0;
    override writable(): boolean {
      return false;
    }
    override handleWrite(): void {
      this.writes++;
    }
  }
  const network = new FakeNetwork();
  network.succeed(new FakeChannel());
  const map = quietMap({ network });
  const pass = poll(0, map);
  const silent = new Silent(null, { map });
  silent.createSocket();
  silent.connect({ port: 7 });
  await pass;
  await passes(map, 2);
  assertEquals([silent.connected, silent.writes], [true, 0]);
  silent.abort();
});
