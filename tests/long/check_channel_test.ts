import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import type { Channel } from "../../mod.ts";
import {
  checkChannel,
  type CheckChannelOptions,
  type MakeChannels,
} from "../../testing/check_channel.ts";
import { memoryPair } from "../../testing/memory_pair.ts";
import { bytes, turn } from "../support.ts";

type Kind = NonNullable<CheckChannelOptions["kind"]>;

/** What a broken channel does instead. */
type Break = (channel: Channel, peer: Channel) => Partial<Channel>;

/** A channel that is broken in one way. */
function broken(channel: Channel, peer: Channel, wrong: Break): Channel {
  return {
    read: (target) => channel.read(target),
    write: (data) => channel.write(data),
    close: () => channel.close(),
    closeWrite: () => channel.closeWrite!(),
    ...wrong(channel, peer),
  };
}

/** Makes pairs of which both are broken. */
function pairs(kind: Kind, wrong: Break): MakeChannels {
  const capacity = kind === "file" ? 1024 * 1024 : 64 * 1024;
  return () => {
    const [ours, theirs] = memoryPair({ capacity });
    return [broken(ours, theirs, wrong), broken(theirs, ours, wrong)];
  };
}

/** The checks that fail, with what they say. */
async function failures(
  make: MakeChannels,
  options: CheckChannelOptions,
): Promise<string[]> {
  try {
    await checkChannel(make, options);
    return [];
  } catch (error) {
    assertInstanceOf(error, AggregateError);
    const list = error.errors.map(({ message }) => message);
    for (const message of list) assertStringIncludes(error.message, message);
    return list;
  }
}

const never = () => new Promise<never>(() => {});
/** Runs `change` with the bytes of each read, and how many came before them. */
function onRead(change: (bytes: Uint8Array, before: number) => void): Break {
  return (channel) => {
    let before = 0;
    return {
      read: async (target) => {
        const count = await channel.read(target);
        change(target.subarray(0, count ?? 0), before);
        before += count ?? 0;
        return count;
      },
    };
  };
}

/** The operations of a channel, one after the other. */
function inTurns(channel: Channel, ...slow: ("read" | "write")[]): Break {
  return () => {
    let last: Promise<unknown> = Promise.resolve();
    const queue = <T>(name: "read" | "write", run: () => Promise<T>) => {
      const result = last.then(run);
      if (slow.includes(name)) last = result.catch(() => {});
      return result;
    };
    return {
      read: (target) => queue("read", () => channel.read(target)),
      write: (data) => queue("write", () => channel.write(data)),
    };
  };
}

type Read = (channel: Channel, target: Uint8Array) => Promise<number | null>;
const reads = (read: Read): Break => (channel) => ({
  read: (target) => read(channel, target),
});

type Write = (channel: Channel, data: Uint8Array) => Promise<number>;
const writes = (write: Write): Break => (channel) => ({
  write: (data) => write(channel, data),
});

/** Does something else when a write fails with this error. */
const insteadOf = (
  name: string,
  run: (data: Uint8Array) => number | Promise<number>,
): Break =>
  writes((channel, data) =>
    channel.write(data).catch((error) => {
      if (error.name === name) return run(data);
      throw error;
    })
  );

interface Case {
  what: string;
  kind?: Kind;
  wrong: Break;
  /** The check that is there for it. */
  fails: string;
  /** What its failure says, among others. */
  says: string;
  timeout?: number;
}

const BUFFERS: Case[] = [
  {
    what: "changes bytes",
    wrong: onRead((bytes) => void (bytes[0]! ^= 1)),
    fails: "carries bytes as they are",
    says: "byte 0 arrived as 1, expected 0",
  },
  {
    what: "changes bytes far into a stream",
    wrong: onRead((bytes, before) => before > 100_000 && bytes.reverse()),
    fails: "carries a large amount",
    says: "byte 131072 arrived as",
  },
  {
    what: "loses its place when it is read in small pieces",
    wrong: onRead((bytes, before) =>
      before > 100_000 && bytes.length < 2_000 && bytes.reverse()
    ),
    fails: "carries a large amount in small pieces",
    says: "byte 100058 arrived as",
  },
  {
    what: "doubles a byte at the end",
    wrong: (channel) => ({
      close: () => {
        channel.write(bytes("x")).catch(() => {});
        channel.close();
      },
    }),
    fails: "carries bytes as they are",
    says: "more than the 1000 bytes that were written",
  },
  {
    what: "drops what does not fit into a read",
    wrong: reads(async (channel, target) => {
      const whole = new Uint8Array(64 * 1024);
      const count = await channel.read(whole);
      if (count === null) return null;
      target.set(whole.subarray(0, Math.min(count, target.length)));
      return Math.min(count, target.length);
    }),
    fails: "read() gives what fits, and the rest later",
    says: "read() of the second channel did not settle",
  },
  {
    what: "writes beyond what it read",
    wrong: reads(async (channel, target) => {
      const count = await channel.read(target);
      target.fill(0, count ?? 0);
      return count;
    }),
    fails: "read() writes only as far as it says",
    says: "wrote where it did not say",
  },
  {
    what: "reads to the beginning of the buffer",
    wrong: reads(async (channel, target) => {
      const whole = new Uint8Array(target.buffer);
      return await channel.read(whole.subarray(0, target.length));
    }),
    fails: "read() writes only as far as it says",
    says: "arrived as 7, expected 1",
  },
  {
    what: "detaches the target",
    wrong: reads(async (channel, target) => {
      const count = await channel.read(target);
      structuredClone(target.buffer, {
        transfer: [target.buffer as ArrayBuffer],
      });
      return count;
    }),
    fails: "read() writes only as far as it says",
    says: "read() detached",
  },
  {
    what: "goes on using a target that was given back",
    wrong: (channel) => {
      let first: Uint8Array | null = null;
      return {
        read: async (target) => {
          const count = await channel.read(target);
          first?.set(target.subarray(0, Math.min(count ?? 0, first.length)));
          first ??= target;
          return count;
        },
      };
    },
    fails: "read() leaves its target alone afterwards",
    says: "changed after it had settled",
  },
  {
    what: "takes no room for the end",
    wrong: reads((channel, target) =>
      target.length > 0 ? channel.read(target) : Promise.resolve(null)
    ),
    fails: "read() into no room takes nothing",
    says: "returned null, expected 0",
  },
  {
    what: "says that it took all, and takes a part",
    wrong: writes(async (channel, data) => {
      await channel.write(data.subarray(0, 200_000));
      return data.length;
    }),
    fails: "write() says how many bytes it took",
    says: "returned 262151, and 200000 bytes arrived",
  },
  {
    what: "says that it took more than there is",
    wrong: writes(async (channel, data) => await channel.write(data) + 1),
    fails: "carries bytes as they are",
    says: "returned 1001, expected a whole number from 1 to 1000",
  },
  {
    what: "sends the whole buffer behind its bytes",
    wrong: writes((channel, data) =>
      channel.write(new Uint8Array(data.buffer, 0, data.length))
    ),
    fails: "write() sends the part of a buffer that it is given",
    says: "byte 0 arrived as 7",
  },
  {
    what: "changes what it is given",
    wrong: writes(async (channel, data) => {
      const count = await channel.write(data);
      data.fill(0);
      return count;
    }),
    fails: "write() leaves its bytes as they are",
    says: "changed the bytes",
  },
  {
    what: "detaches what it is given",
    wrong: writes(async (channel, data) => {
      const count = await channel.write(data);
      structuredClone(data, { transfer: [data.buffer as ArrayBuffer] });
      return count;
    }),
    fails: "write() leaves its bytes as they are",
    says: "write() detached",
  },
  {
    what: "keeps what it is given and sends it later",
    wrong: writes(async (channel, data) => {
      await turn();
      void turn().then(() => channel.write(data)).catch(() => {});
      return data.length;
    }),
    fails: "write() does not look at its bytes afterwards",
    says: "arrived as 0, expected",
  },
  {
    what: "ends at a write of no bytes",
    wrong: writes(async (channel, data) => {
      if (data.length === 0) await channel.closeWrite!();
      return data.length === 0 ? 0 : await channel.write(data);
    }),
    fails: "write() of no bytes sends nothing",
    says: "BrokenPipe",
  },
];

const ENDS: Case[] = [
  {
    what: "drops at close() what was not read",
    wrong: (channel, peer) => ({
      close: () => {
        channel.close();
        peer.read(new Uint8Array(1024 * 1024)).catch(() => {});
      },
    }),
    fails: "close() tells the peer of the end, after all bytes",
    says: "ended after 0 of the 500 bytes",
  },
  {
    what: "does not tell of its end",
    wrong: () => ({ close() {} }),
    fails: "read() at the end gives null again and again",
    says: "did not settle",
  },
  {
    what: "fails when it is read after the end",
    wrong: (channel) => {
      let hasEnded = false;
      return {
        read: async (target) => {
          if (hasEnded) throw new TypeError("It has ended");
          const count = await channel.read(target);
          hasEnded = count === null;
          return count;
        },
      };
    },
    fails: "read() at the end gives null again and again",
    says: "TypeError: It has ended",
  },
  {
    what: "forgets a pending read at close()",
    wrong: reads(async (channel, target) =>
      await channel.read(target).catch(never)
    ),
    fails: "close() settles a read that is pending",
    says: "did not settle",
  },
  {
    what: "fails a pending read with some error at close()",
    wrong: reads((channel, target) =>
      channel.read(target).catch(() => {
        throw new TypeError("spam");
      })
    ),
    fails: "close() settles a read that is pending",
    says: "failed with TypeError: spam, expected a disconnect",
  },
  {
    what: "throws at the second close()",
    wrong: (channel) => {
      let isClosed = false;
      return {
        close: () => {
          if (isClosed) throw new TypeError("Closed already");
          isClosed = true;
          channel.close();
        },
      };
    },
    fails: "close() a second time does no harm",
    says: "threw TypeError: Closed already",
  },
  {
    what: "gives bytes after close()",
    wrong: reads((channel, target) => channel.read(target).catch(() => 1)),
    fails: "read() after close() gives no bytes",
    says: "returned 1",
  },
  {
    what: "takes bytes after close()",
    wrong: insteadOf("BadResource", ({ length }) => length),
    fails: "write() after close() fails with a disconnect",
    says: "returned 4",
  },
];

const FLOW: Case[] = [
  {
    what: "does not wait for bytes",
    kind: "pipe",
    wrong: reads(async (channel, target) =>
      await Promise.race([
        channel.read(target),
        turn().then(turn).then(turn).then(() => 0),
      ])
    ),
    fails: "read() waits for bytes that come later",
    says: "returned 0",
  },
  {
    what: "does not tell a waiting read of the end",
    kind: "pipe",
    wrong: reads(async (channel, target) => {
      const start = performance.now();
      const count = await channel.read(target);
      await turn();
      const hasWaited = performance.now() - start > 0;
      return count === null && hasWaited ? await never() : count;
    }),
    fails: "read() that waits is told of the end",
    says: "did not settle",
  },
  {
    what: "forgets a pending write at close()",
    kind: "pipe",
    wrong: insteadOf("Interrupted", never),
    fails: "close() settles a write that is pending",
    says: "did not settle",
  },
  {
    what: "forgets a pending write when the peer leaves",
    kind: "pipe",
    wrong: insteadOf("BrokenPipe", never),
    fails: "write() that is pending is told that the peer has left",
    says: "did not settle",
  },
  {
    what: "goes on taking bytes for a peer that has left",
    kind: "pipe",
    wrong: insteadOf("BrokenPipe", ({ length }) => length),
    fails: "write() to a peer that has left fails with a disconnect",
    says: "went on succeeding",
  },
  {
    what: "never waits for its peer",
    kind: "pipe",
    timeout: 20_000,
    wrong: (channel) => {
      let last: Promise<unknown> = Promise.resolve();
      let failure: Error | null = null;
      const queue: Uint8Array[] = [];
      const send = async () => {
        let data = queue.shift()!;
        while (data.length > 0) {
          data = data.subarray(await channel.write(data));
        }
      };
      return {
        write: async (data) => {
          if (failure) throw failure;
          await Promise.resolve();
          queue.push(data.slice());
          last = last.then(send).catch((error) => failure = error);
          return data.length;
        },
      };
    },
    fails: "write() waits for a peer that does not read, then goes on",
    says: "bytes that nobody reads",
  },
  {
    what: "counts a write wrong that had to wait",
    kind: "pipe",
    wrong: writes(async (channel, data) => {
      const writing = channel.write(data);
      const late = turn().then(turn).then(() => null);
      const count = await Promise.race([writing, late]);
      return count ?? await writing - 1;
    }),
    fails: "write() waits for a peer that does not read, then goes on",
    says: "write() returned 65535, and 65536 bytes arrived",
  },
  {
    what: "has one buffer for both directions",
    kind: "connection",
    timeout: 4_000,
    wrong: (channel) => {
      const buffer = new Uint8Array(64 * 1024);
      return {
        read: async (target) => {
          const view = buffer.subarray(0, target.length);
          const count = await channel.read(view);
          await turn();
          target.set(view.subarray(0, count ?? 0));
          return count;
        },
        write: async (data) => {
          const view = buffer.subarray(0, data.length);
          view.set(data.subarray(0, view.length));
          await turn();
          return await channel.write(view);
        },
      };
    },
    fails: "carries bytes both ways at once",
    says: "arrived as",
  },
  {
    what: "cannot write while it reads",
    kind: "connection",
    wrong: (channel) => inTurns(channel, "read")(channel, channel),
    fails: "writes while a read is pending",
    says: "and write() of the first channel",
  },
  {
    what: "cannot read while it writes",
    kind: "connection",
    wrong: (channel) => inTurns(channel, "write")(channel, channel),
    fails: "reads while a write is pending",
    says: "read() of the first channel did not settle",
  },
  {
    what: "ends both ways at closeWrite()",
    kind: "connection",
    wrong: (channel) => ({
      closeWrite: () => Promise.resolve(channel.close()),
    }),
    fails: "closeWrite() ends one direction, and leaves the other",
    says: "BrokenPipe",
  },
  {
    what: "does not tell of closeWrite()",
    kind: "connection",
    wrong: () => ({ closeWrite: () => Promise.resolve() }),
    fails:
      "closeWrite() ends one direction, and leaves the other (second to first)",
    says: "did not settle",
  },
];
const CASES: Case[] = [...BUFFERS, ...ENDS, ...FLOW];

/** How long a check may take: not long, where it is known to hang. */
function timeoutOf({ says, kind }: Case): number {
  return says.endsWith("did not settle") || kind === "connection" ? 400 : 4_000;
}

for (const one of CASES) {
  const { what, kind = "file", wrong, fails, says } = one;
  const { timeout = timeoutOf(one) } = one;
  Deno.test(`checkChannel() fails a channel that ${what}`, async () => {
    const list = await failures(pairs(kind, wrong), { kind, timeout });
    const failure = list.find((message) => message.startsWith(`${fails}: `));
    assert(failure, `"${fails}" is not among: ${list.join("; ")}`);
    assertStringIncludes(failure, says);
  });
}

Deno.test("checkChannel() has no check that is never seen to fail", async () => {
  const names = await checkChannel(() => memoryPair());
  const seen = new Set(CASES.map(({ fails }) => fails));
  const unseen = names.filter((name) => !name.endsWith(" (second to first)"))
    .filter((name) => !seen.has(name));
  assertEquals(unseen, []);
});

Deno.test("checkChannel() tells of all failures in one error", async () => {
  const make = pairs("file", (channel) => ({
    write: (data) => data.length > 0 ? channel.write(data) : Promise.resolve(7),
    close: () => {
      channel.close();
      throw new TypeError("spam");
    },
  }));
  const error = await assertRejects(
    () => checkChannel(make, { kind: "file" }),
    AggregateError,
  );
  const lines = error.message.split("\n");
  assertEquals(lines[0], `The channels fail ${lines.length - 1} of 18 checks:`);
  const zero = "write() of 0 bytes returned 7, expected 0";
  assert(lines.includes(`- write() of no bytes sends nothing: ${zero}`));
  const end = "close() tells the peer of the end, after all bytes";
  assert(lines.includes(`- ${end}: TypeError: spam`));
  assertEquals(
    error.errors.map(({ message }) => `- ${message}`),
    lines.slice(1),
  );
  const failure = error.errors.find(({ message }) => message.startsWith(end));
  assertInstanceOf(failure.cause, TypeError);
});

Deno.test("checkChannel() gives the names of the checks that were made", async () => {
  const closeWrite = "closeWrite() ends one direction, and leaves the other";
  const whole = await checkChannel(() => memoryPair());
  assert(whole.includes(closeWrite));
  assert(whole.includes(`${closeWrite} (second to first)`));
});

Deno.test("checkChannel() leaves out closeWrite() for a channel without it", async () => {
  const make: MakeChannels = () => {
    const [ours, theirs] = memoryPair();
    const { closeWrite: _, ...plain } = broken(ours, theirs, () => ({}));
    return [plain, theirs];
  };
  const names = await checkChannel(make);
  assertEquals(names.filter((name) => name.startsWith("closeWrite()")), [
    "closeWrite() ends one direction, and leaves the other (second to first)",
  ]);
});

Deno.test("checkChannel() makes a pair for each check, and closes both", async () => {
  let open = 0;
  let made = 0;
  const counting = (channel: Channel, peer: Channel): Channel => {
    open++;
    let isClosed = false;
    return broken(channel, peer, () => ({
      close: () => {
        if (!isClosed) open--;
        isClosed = true;
        channel.close();
      },
    }));
  };
  const names = await checkChannel(() => {
    made++;
    const [ours, theirs] = memoryPair();
    return [counting(ours, theirs), counting(theirs, ours)];
  });
  assertEquals(made, names.length);
  assertEquals(open, 0);
});

Deno.test("checkChannel() waits for the handshakes, and closes what fails them", async () => {
  let closed = 0;
  const shaking = (handshake: () => Promise<unknown>): MakeChannels => () => {
    const [ours, theirs] = memoryPair();
    let isReady = false;
    const shaky = (channel: Channel): Channel => ({
      ...broken(channel, channel, () => ({})),
      write: (data) => {
        assert(isReady, "written to before the handshake");
        return channel.write(data);
      },
      handshake: async () => {
        await handshake();
        isReady = true;
      },
      close: () => {
        closed++;
        channel.close();
      },
    });
    return [shaky(ours), shaky(theirs)];
  };
  await checkChannel(shaking(turn));
  closed = 0;
  const fail = () => Promise.reject(new TypeError("no handshake"));
  await assertRejects(() => checkChannel(shaking(fail)), TypeError, "no hand");
  assertEquals(closed, 2);
  const options = { timeout: 20 };
  await assertRejects(
    () => checkChannel(shaking(never), options),
    Error,
    "not done after 20 ms: a handshake() is pending",
  );
  assertEquals(closed, 4);
});

Deno.test("checkChannel() ends though a channel takes bytes for ever", async () => {
  const make = pairs("pipe", () => ({ write: () => Promise.resolve(1) }));
  const options = { kind: "pipe", timeout: 200 } as const;
  const list = await failures(make, options);
  const name = "close() settles a write that is pending";
  const failure = list.find((message) => message.startsWith(name));
  assertStringIncludes(failure ?? "", "not done after 200 ms");
});

const make = () => memoryPair();
const WRONG: [unknown, unknown, new () => Error, string][] = [
  [null, {}, TypeError, "make must be a function, got null"],
  [
    make,
    null,
    TypeError,
    "options must be an object like { name: value }, got null",
  ],
  [make, { kind: "tape" }, TypeError, 'or "file", got "tape"'],
  [make, { kind: "toString" }, TypeError, 'or "file", got "toString"'],
  [make, { timeout: "1" }, TypeError, "timeout must be a number of ms"],
  [make, { timeout: 0 }, RangeError, "timeout must be"],
  [make, { timeout: Infinity }, RangeError, "timeout must be"],
  [() => null, {}, TypeError, "make() must give two channels, got null"],
  [() => [], {}, TypeError, "make() must give two channels, got []"],
  [() => [{}, {}], {}, TypeError, "A channel has no read() method"],
  [never, { timeout: 20 }, Error, "after 20 ms: make() is pending"],
  [() => Promise.reject(new URIError("x")), {}, URIError, "x"],
];

for (const [make, options, Class, message] of WRONG) {
  Deno.test(`checkChannel() says what is wrong: ${message}`, async () => {
    await assertRejects(
      () => checkChannel(make as MakeChannels, options as CheckChannelOptions),
      Class,
      message,
    );
  });
}
