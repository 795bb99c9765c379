/**
 * Escapes from a simulation: calls whose outcome does not depend on the seed
 * alone, and what to use instead.
 *
 * @module
 */

/** A call that escapes. */
export interface Escape {
  /** The call as a program has it: `fetch()`, `new Worker()`. */
  readonly call: string;
  /** The replacement to use, as the end of a sentence. */
  readonly instead: string;
  /** It starts a real timer. */
  readonly isTimer: boolean;
}

/** Functions and classes of one object, with the same advice. */
interface Group {
  readonly owner: object | undefined;
  readonly prefix: string;
  readonly names: readonly string[];
  readonly instead: string;
  readonly isTimer?: boolean;
}

const TIMERS = "use callLater() or callEvery() of a dispatcher or its map, " +
  "which follow the simulated time";
const SOCKETS = "use the sockets of a dispatcher, whose map has the " +
  "simulated network";
const FILES = "use the disk of the host, or read the file before the " +
  "simulation and keep what it says in memory";
const OUTSIDE = "do without it, or give the program a stand-in for it";

const GROUPS: readonly Group[] = [
  {
    owner: globalThis,
    prefix: "",
    names: ["setTimeout", "setInterval", "setImmediate"],
    instead: TIMERS,
    isTimer: true,
  },
  {
    owner: AbortSignal,
    prefix: "AbortSignal.",
    names: ["timeout"],
    instead: TIMERS,
    isTimer: true,
  },
  {
    // Some builds of Deno have none.
    owner: globalThis.Temporal?.Now,
    prefix: "Temporal.Now.",
    names: [
      ...["plainDateISO", "plainDateTimeISO", "plainTimeISO"],
      "zonedDateTimeISO",
    ],
    instead: "use Temporal.Now.instant() or Date.now(), which follow the " +
      "simulated time",
  },
  {
    owner: globalThis,
    prefix: "",
    names: ["fetch", "WebSocket", "EventSource", "Worker", "MessageChannel"],
    instead: OUTSIDE,
  },
  {
    owner: Deno,
    prefix: "Deno.",
    names: [
      ...["connect", "connectTls", "startTls", "listen", "listenTls"],
      ...["listenDatagram", "resolveDns", "serve"],
    ],
    instead: SOCKETS,
  },
  {
    owner: Deno,
    prefix: "Deno.",
    names: [
      ...["open", "create", "readFile", "readTextFile", "writeFile"],
      ...["writeTextFile", "stat", "lstat", "readDir", "readLink", "realPath"],
      ...["mkdir", "makeTempDir", "makeTempFile", "remove", "rename"],
      ...["copyFile", "truncate", "watchFs"],
    ],
    instead: FILES,
  },
  {
    owner: Deno,
    prefix: "Deno.",
    names: ["Command", "spawn", "spawnAndWait"],
    instead: OUTSIDE,
  },
  {
    owner: Deno,
    prefix: "Deno.",
    names: ["exit"],
    instead: "let the scenario crash the host with { process: true }",
  },
];

/** All of them, with the object and the property to replace. */
export const ESCAPES: readonly (Escape & { owner: object; name: string })[] =
  GROUPS.flatMap(({ owner, prefix, names, instead, isTimer = false }) =>
    owner === undefined ? [] : names.map((name) => {
      const isClass = /^[A-Z]/.test(name);
      const call = `${isClass ? "new " : ""}${prefix}${name}()`;
      return { owner, name, call, instead, isTimer };
    })
  );
