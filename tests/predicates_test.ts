/**
 * What a pass may leave out when thousands give the same answer again, and what
 * it must not: every predicate is asked once, and every change is acted on.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
} from "@std/assert";
import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  ExitNow,
  poll,
  type SocketMap,
} from "../mod.ts";
import { FakeChannel, newSeed, passes, quietMap, randomFrom } from "./fakes.ts";
import { loopUntil } from "./support.ts";

/** Answers as it is told, and writes down when it is asked. */
class Told extends Dispatcher {
  reads = true;
  writes = false;
  received = "";
  sends = 0;
  errors: unknown[] = [];
  readonly #asked: string[];
  readonly #id: string;

  constructor(
    map: SocketMap,
    channel: Channel,
    asked: string[] = [],
    id = "",
    options: DispatcherOptions = {},
  ) {
    super(channel, { map, ...options });
    this.#asked = asked;
    this.#id = id;
  }
  override readable(): boolean {
    this.#asked.push(`${this.#id}r`);
    return this.reads;
  }
  override writable(): boolean {
    this.#asked.push(`${this.#id}w`);
    return this.writes;
  }
  override handleRead(): void | Promise<void> {
    this.received += new TextDecoder().decode(this.recv());
  }
  override handleWrite(): void {
    this.sends++;
  }
  override handleClose(): void {
    this.close();
  }
  override handleError(error: unknown): void {
    this.errors.push(error);
  }
}

/** A dispatcher that has given the same answer for some passes. */
async function settled(reads: boolean) {
  const map = quietMap();
  const channel = new FakeChannel();
  const asked: string[] = [];
  const told = new Told(map, channel, asked);
  told.reads = reads;
  await passes(map, 5);
  asked.length = 0;
  return { map, channel, told, asked };
}

for (const reads of [true, false]) {
  const name = `Dispatcher whose readable() was ${reads} for long`;

  Deno.test(`${name} is asked once in each pass`, async () => {
    const { map, asked } = await settled(reads);
    await passes(map, 3);
    assertEquals(asked, ["r", "w", "r", "w", "r", "w"]);
  });

  Deno.test(`${name} writes in the pass in which writable() turns true`, async () => {
    const { map, told } = await settled(reads);
    told.writes = true;
    await passes(map, 1);
    assertEquals(told.sends, 1);
    told.writes = false;
    await passes(map, 3);
    assertEquals(told.sends, 1);
  });

  Deno.test(`${name} is not asked writable() when readable() has closed it`, async () => {
    const { map, told, asked } = await settled(reads);
    const { readable } = told;
    told.readable = () => {
      told.close();
      return readable.call(told);
    };
    await passes(map, 3);
    assertEquals(asked, ["r"]);
  });

  for (const predicate of ["readable", "writable"] as const) {
    Deno.test(`${name} and whose ${predicate}() throws then hears of it in each pass`, async () => {
      const { map, channel, told } = await settled(reads);
      const failure = new Error("refused");
      told[predicate] = () => {
        throw failure;
      };
      await passes(map, 2);
      assertEquals(told.errors, [failure, failure]);
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

for (
  const [name, leave] of [["closes", "close"], [
    "leaves",
    "delChannel",
  ]] as const
) {
  Deno.test(`ExitNow of a settled predicate that ${name} first leaves the loop`, async () => {
    const { map, told } = await settled(true);
    told.writable = () => {
      told[leave]();
      throw new ExitNow("enough");
    };
    await assertRejects(() => poll(0, map), ExitNow, "enough");
    told.abort();
  });
}

Deno.test("A settled predicate that closes and throws has its error told", async () => {
  const { map, told } = await settled(true);
  const failure = new Error("refused");
  told.readable = () => {
    told.close();
    throw failure;
  };
  await passes(map, 2);
  assertEquals([...map.errors, ...told.errors], [failure]);
});

Deno.test("Promises of both settled predicates are told of as one mistake, and forgotten", async () => {
  const { map, told } = await settled(true);
  const rejects = () => Promise.reject(new Error("spam")) as unknown as boolean;
  told.readable = told.writable = rejects;
  await passes(map, 1);
  assertEquals(told.errors.length, 1);
});

Deno.test("Dispatcher is read when readable() turns true after long, and not after it turned false", async () => {
  const { map, channel, told } = await settled(false);
  channel.push("spam");
  await passes(map, 3);
  assertEquals(told.received, "");
  told.reads = true;
  await passes(map, 3);
  assertEquals(told.received, "spam");
  told.reads = false;
  channel.push("eggs");
  await passes(map, 5);
  assertEquals(told.received, "spam");
  told.reads = true;
  await passes(map, 3);
  assertEquals(told.received, "spameggs");
});

Deno.test("Dispatcher is not asked while the promise of a hook is pending, however settled it was", async () => {
  const map = quietMap();
  const asked: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let isPending = false;
  class Slow extends Told {
    override async handleTimeout(): Promise<void> {
      isPending = true;
      await promise;
      isPending = false;
    }
  }
  const channel = new FakeChannel();
  const slow = new Slow(map, channel, asked, "", { idleTimeout: 20 });
  await loopUntil(map, () => isPending);
  asked.length = 0;
  await passes(map, 3);
  assertEquals(asked, []);
  resolve();
  await passes(map, 3);
  assertGreater(asked.length, 0);
  slow.close();
});

Deno.test("Dispatcher that leaves and comes back before its first pass is asked last", async () => {
  const map = quietMap();
  const asked: string[] = [];
  const [first, ...others] = ["a", "b", "c"].map((id) =>
    new Told(map, new FakeChannel(), asked, id)
  );
  first!.delChannel();
  first!.addChannel();
  await passes(map, 1);
  assertEquals(asked, ["br", "bw", "cr", "cw", "ar", "aw"]);
  for (const told of [first!, ...others]) told.abort();
});

Deno.test("Dispatchers of all kinds are asked once in each pass, in their order, whatever happens", async () => {
  const random = randomFrom(newSeed());
  const pick = (below: number) => Math.floor(random() * below);
  const map = quietMap();
  const asked: string[] = [];
  const order: {
    id: string;
    told: Told;
    channel: FakeChannel;
    sent: string;
  }[] = [];
  const add = (id: string) => {
    const channel = new FakeChannel();
    const told = new Told(map, channel, asked, id);
    order.push({ id, told, channel, sent: "" });
  };
  for (let i = 0; i < 40; i++) add(`${i} `);
  await passes(map, 1);
  for (let round = 0; round < 500; round++) {
    for (let n = pick(4); n > 0; n--) {
      const at = pick(order.length);
      const one = order[at]!;
      const { told, channel } = one;
      switch (pick(4)) {
        case 0:
          told.reads = !told.reads;
          break;
        case 1:
          told.writes = !told.writes;
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
    if (pick(2) === 0) add(`${round}+ `);
    if (order.length > 30) order.splice(pick(20), 1)[0]!.told.close();
    asked.length = 0;
    await passes(map, 1);
    const expected = order.flatMap(({ id }) => [`${id}r`, `${id}w`]);
    assertEquals(asked, expected, `round ${round}`);
  }
  for (const { told } of order) told.reads = true;
  await passes(map, 200);
  for (const { told, sent } of order) assertEquals(told.received, sent);
});
