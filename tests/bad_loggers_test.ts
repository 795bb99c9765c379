/** A log that fails costs nobody anything but the line. */

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Dispatcher, type Logger, loop, poll, SocketMap } from "../mod.ts";
import { Echo, FakeChannel, LogLines, quietMap } from "./fakes.ts";
import { pass, provoke, type Site, SITES } from "./log_sites.ts";
import { Trial } from "./misbehaviours.ts";
import { captureConsole, captureRejections, turns } from "./support.ts";

const SPAM = new Error("the disk of the log is full");

function throwSpam(): never {
  throw SPAM;
}
const reject = () => Promise.reject(SPAM);
const rejectingThenable = () => ({
  then: (_: unknown, reject: (reason: unknown) => void) => reject(SPAM),
});
const throwingThenable = () => ({ then: throwSpam });

/** A logger of which each method does the same. */
function loggerOf(log: () => unknown): Logger {
  return { debug: log, info: log, warn: log, error: log };
}

/** How a log misbehaves, and what comes to `onError()`. */
interface BadLog {
  name: string;
  logger?: unknown;
  logInfo?: () => unknown;
  error?: typeof Error;
}

const BAD_LOGS: BadLog[] = [
  ...Object.entries({
    "throws": throwSpam,
    "rejects": reject,
    "gives a thenable that rejects": rejectingThenable,
    "gives a thenable that throws": throwingThenable,
  }).map(([how, log]) => {
    return { name: `logger ${how}`, logger: loggerOf(log), error: Error };
  }),
  {
    name: "logger never answers",
    logger: loggerOf(() => new Promise(() => {})),
  },
  { name: "logger has no methods", logger: {}, error: TypeError },
  { name: "logger is a number", logger: 5, error: TypeError },
  { name: "logInfo() throws", logInfo: throwSpam, error: Error },
  { name: "logInfo() rejects", logInfo: reject, error: Error },
];

/** Where a logger is set. */
type Place = "dispatcher" | "map";

/** Has a bad log be used: which hooks ran, why it ended, and what was told. */
async function live(site: Site, bad: BadLog, place: Place) {
  using trial = new Trial();
  const { clock, map } = trial;
  trial.echo.logger = new LogLines();
  let victim!: Dispatcher;
  const hooks: string[] = [];
  await trial.begin();
  provoke(site, map, (dispatcher) => {
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
  });
  await pass(clock, site);
  assertEquals([victim.socket, map.size, map.lingering], [null, 1, 0]);
  await trial.end();
  const reason = victim.closeReason?.message;
  return { errors: map.errors, life: { hooks, reason } };
}

const GOOD: BadLog = { name: "logger is well", logger: new LogLines() };

for (const site of SITES) {
  for (const bad of BAD_LOGS) {
    Deno.test(`Dispatcher whose ${bad.name} at ${site.name} goes on as with a good one`, async () => {
      const well = await live(site, GOOD, "dispatcher");
      assertEquals(well.errors, []);
      for (const place of ["dispatcher", "map"] as Place[]) {
        if (place === "map" && bad.logInfo) continue;
        const { errors, life } = await live(site, bad, place);
        assertEquals(life, well.life);
        assertEquals(errors.length > 0, bad.error !== undefined, `${errors}`);
        for (const error of errors) assert(error instanceof bad.error!);
      }
    });
  }
}

Deno.test("Dispatcher.log() and logInfo() throw what the logger throws to the program that calls them", async () => {
  const map = quietMap();
  const dispatcher = new Dispatcher(null, { map });
  const logWith = (log: () => unknown) => {
    dispatcher.logger = loggerOf(log);
    dispatcher.log("spam");
    dispatcher.logInfo("spam", "debug");
  };
  assertThrows(() => logWith(throwSpam), Error, SPAM.message);
  assertThrows(() => dispatcher.logInfo("spam"), Error, SPAM.message);
  // A thenable is no exception, even if it throws one.
  logWith(reject);
  logWith(throwingThenable);
  await turns();
  assertEquals(map.errors, Array(4).fill(SPAM), "the map watches promises");
});

// What becomes of errors that have no dispatcher

/** Makes passes in which a timer throws; returns what the console shows. */
async function failIn(map: SocketMap): Promise<string[]> {
  using output = captureConsole();
  map.callLater(0, () => {
    throw new Error("spam");
  });
  const keeper = new Echo(new FakeChannel(), { map });
  await loop({ map, count: 2, timeout: 0 });
  await turns();
  keeper.abort();
  return output.err;
}

/** Ways in which telling an error fails. */
const MUTE: Record<string, Partial<SocketMap>> = {
  "onError() throws": { onError: throwSpam },
  "onError() rejects": { onError: reject },
  "onError() gives a thenable that throws": { onError: throwingThenable },
  "onError() is none": { onError: 5 as never },
  "onError() is null": { onError: null as never },
};
for (const { name, logger, error } of BAD_LOGS) {
  if (logger && error) MUTE[name] = { logger: logger as Logger };
}

for (const [what, mute] of Object.entries(MUTE)) {
  Deno.test(`SocketMap whose ${what} writes to the console, and loses no error`, async () => {
    using rejections = captureRejections();
    const lines = await failIn(Object.assign(new SocketMap(), mute));
    assertEquals(lines.length, 1);
    assertStringIncludes(lines[0]!, "in the loop (Error: spam");
    assertStringIncludes(lines[0]!, "and telling it failed (");
    assertEquals(rejections.reasons, []);
  });
}

Deno.test("SocketMap whose onError() throws the error again writes it once", async () => {
  const onError = (error: unknown) => {
    throw error;
  };
  const lines = await failIn(new SocketMap({ onError }));
  assertEquals(lines.length, 1);
  assert(!lines[0]!.includes("failed"), lines[0]);
});

Deno.test("SocketMap goes on where the console throws, too", async () => {
  using output = captureConsole();
  console.error = throwSpam;
  const map = new SocketMap();
  map.callLater(0, throwSpam);
  const channel = new FakeChannel();
  const echo = new Echo(channel, { map });
  channel.push("still there");
  for (let i = 0; i < 1_000 && channel.sent === ""; i++) await poll(0, map);
  assertEquals(channel.sent, "still there");
  assertEquals(output.err, []);
  echo.abort();
});
