/** A log that fails costs nobody anything but the line. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Dispatcher, type Logger, loop, poll, SocketMap } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { Echo, FakeChannel, LogLines, quietMap } from "./fakes.ts";
import { LEVELS, pass, type Site, SITES } from "./log_sites.ts";
import { captureConsole, captureRejections, turns } from "./support.ts";

const SPAM = new Error("the disk of the log is full");

/** A logger of which each method does the same. */
function loggerOf(log: () => unknown): Logger {
  return Object.fromEntries(LEVELS.map((level) => [level, log])) as never;
}

/** How a log misbehaves, and whether it tells of it. */
interface BadLog {
  name: string;
  logger?: unknown;
  logInfo?: () => unknown;
  /** What comes to `onError()`. */
  error?: typeof Error;
}

const BAD_LOGS: BadLog[] = [
  {
    name: "logger throws",
    logger: loggerOf(() => {
      throw SPAM;
    }),
    error: Error,
  },
  {
    name: "logger rejects",
    logger: loggerOf(() => Promise.reject(SPAM)),
    error: Error,
  },
  {
    name: "logger gives a thenable that rejects",
    logger: loggerOf(() => ({
      then: (_: unknown, reject: (reason: unknown) => void) => reject(SPAM),
    })),
    error: Error,
  },
  {
    name: "logger gives a thenable that throws",
    logger: loggerOf(() => ({
      then() {
        throw SPAM;
      },
    })),
    error: Error,
  },
  {
    name: "logger never answers",
    logger: loggerOf(() => new Promise(() => {})),
  },
  { name: "logger has no methods", logger: {}, error: TypeError },
  { name: "logger is a number", logger: 5, error: TypeError },
  {
    name: "logInfo() throws",
    logInfo: () => {
      throw SPAM;
    },
    error: Error,
  },
  {
    name: "logInfo() rejects",
    logInfo: () => Promise.reject(SPAM),
    error: Error,
  },
];

/** Where a logger is set. */
type Place = "dispatcher" | "map";

/** Has a bad log be used: which hooks ran, why it ended, and what was told. */
async function live(site: Site, bad: BadLog, place: Place) {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const channel = new FakeChannel();
  const neighbour = new Echo(channel, { map });
  neighbour.logger = new LogLines();
  let victim!: Dispatcher;
  const hooks: string[] = [];
  const prepare = (dispatcher: Dispatcher) => {
    victim = dispatcher;
    victim.ignoreLogTypes.clear();
    for (const hook of ["handleError", "handleClose"] as const) {
      const original = victim[hook].bind(victim) as (error: unknown) => void;
      victim[hook] = (error?: unknown) => {
        hooks.push(hook);
        return original(error);
      };
    }
    if (bad.logInfo) victim.logInfo = bad.logInfo as () => void;
    const owner = place === "map" ? map : victim;
    if (bad.logger !== undefined) owner.logger = bad.logger as Logger;
  };
  const looping = loop({ map });
  site.provoke(map, prepare);
  await pass(clock, site);
  channel.push("still there");
  await turns();
  assertEquals(channel.sent, "still there");
  assertEquals([victim.socket, map.size, map.lingering], [null, 1, 0]);
  neighbour.close();
  await looping;
  const reason = victim.closeReason?.message;
  return { errors: map.errors, life: { hooks, reason } };
}

const GOOD: BadLog = { name: "logger is well", logger: new LogLines() };

for (const site of SITES) {
  for (const bad of BAD_LOGS) {
    Deno.test(`Dispatcher whose ${bad.name} at ${site.name} goes on as with a good one`, async () => {
      using rejections = captureRejections();
      const well = await live(site, GOOD, "dispatcher");
      assertEquals(well.errors, []);
      for (const place of ["dispatcher", "map"] as Place[]) {
        if (place === "map" && bad.logInfo) continue;
        const { errors, life } = await live(site, bad, place);
        assertEquals(life, well.life);
        assertEquals(errors.length > 0, bad.error !== undefined, `${errors}`);
        for (const error of errors) assert(error instanceof bad.error!);
      }
      assertEquals(rejections.reasons, []);
    });
  }
}

Deno.test("Dispatcher.log() and logInfo() throw what the logger throws to the program that calls them", async () => {
  const map = quietMap();
  const dispatcher = new Dispatcher(null, { map });
  dispatcher.logger = BAD_LOGS[0]!.logger as Logger;
  const thrown: unknown[] = [];
  for (const level of [undefined, "error", "debug"]) {
    try {
      if (level === undefined) dispatcher.log("spam");
      else dispatcher.logInfo("spam", level);
    } catch (error) {
      thrown.push(error);
    }
  }
  assertEquals(thrown, [SPAM, SPAM, SPAM]);
  dispatcher.logger = BAD_LOGS[1]!.logger as Logger;
  dispatcher.log("spam");
  dispatcher.logInfo("spam");
  await turns();
  // A thenable is no exception, even if it throws one.
  dispatcher.logger = BAD_LOGS[3]!.logger as Logger;
  dispatcher.logInfo("spam");
  await turns();
  assertEquals(map.errors, [SPAM, SPAM, SPAM], "the map watches promises");
});

// What becomes of errors that have no dispatcher

for (
  const { name, logger } of BAD_LOGS.filter(({ error, logger }) =>
    error && logger
  )
) {
  Deno.test(`SocketMap whose ${name} writes an uncaught error to the console, with the logger's own`, async () => {
    using rejections = captureRejections();
    using output = captureConsole();
    const map = new SocketMap();
    map.logger = logger as Logger;
    const echo = new Echo(new FakeChannel(), { map });
    map.callLater(0, () => {
      throw new Error("spam");
    });
    await loop({ map, count: 2, timeout: 0 });
    await turns();
    assertEquals(output.err.length, 1);
    assertStringIncludes(output.err[0]!, "in the loop (Error: spam");
    assertStringIncludes(output.err[0]!, "and telling it failed (");
    echo.abort();
    assertEquals(rejections.reasons, []);
  });
}

const BAD_HANDLERS: Record<string, unknown> = {
  "throws": () => {
    throw SPAM;
  },
  "rejects": () => Promise.reject(SPAM),
  "gives a thenable that throws": () => ({
    then() {
      throw SPAM;
    },
  }),
  "is none": 5,
  "is null": null,
};

for (const [what, onError] of Object.entries(BAD_HANDLERS)) {
  Deno.test(`SocketMap whose onError() ${what} writes to the console, and loses no error`, async () => {
    using rejections = captureRejections();
    using output = captureConsole();
    const map = new SocketMap();
    map.onError = onError as SocketMap["onError"];
    const echo = new Echo(new FakeChannel(), { map });
    map.callLater(0, () => {
      throw new Error("spam");
    });
    await loop({ map, count: 2, timeout: 0 });
    await turns();
    assertEquals(output.err.length, 1);
    assertStringIncludes(output.err[0]!, "in the loop (Error: spam");
    assertStringIncludes(output.err[0]!, "and telling it failed (");
    echo.abort();
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("SocketMap whose onError() throws the error again writes it once", async () => {
  using output = captureConsole();
  const map = new SocketMap({
    onError: (error) => {
      throw error;
    },
  });
  map.callLater(0, () => {
    throw new Error("spam");
  });
  const echo = new Echo(new FakeChannel(), { map });
  await loop({ map, count: 2, timeout: 0 });
  assertEquals(output.err.length, 1);
  assert(!output.err[0]!.includes("failed"), output.err[0]);
  echo.abort();
});

Deno.test("SocketMap goes on where the console throws, too", async () => {
  using output = captureConsole();
  console.error = () => {
    throw new Error("there is no console");
  };
  const map = new SocketMap();
  map.callLater(0, () => {
    throw new Error("spam");
  });
  const channel = new FakeChannel();
  const echo = new Echo(channel, { map });
  channel.push("still there");
  for (let i = 0; i < 1_000 && channel.sent === ""; i++) await poll(0, map);
  assertEquals(channel.sent, "still there");
  assertEquals(output.err, []);
  echo.abort();
});
