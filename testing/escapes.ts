/**
 * Escapes from a simulation: calls whose outcome does not depend on the seed
 * alone, and what to use instead.
 *
 * @module
 */

import {
  CLOCKS,
  type Escape,
  EXIT,
  FILES,
  type Group,
  OUTSIDE,
  SOCKETS,
  SURROUNDINGS,
  TIMERS,
  words,
} from "./escape_group.ts";
import { nodeGroups } from "./node_escapes.ts";

/** Where an escape is found, to be replaced. */
export interface Place extends Escape {
  readonly owner: object;
  readonly name: string;
  /** The module of Node that exports it, without `node:`. */
  readonly module: string | undefined;
  /** It escapes when it is read, not when it is called. */
  readonly isValue: boolean;
}

/** These escape when they are read. */
const VALUES = new Set(
  words(
    "env stdin readable caches localStorage sessionStorage gpu locks",
  ),
);

/**
 * Members of `Deno` with advice of their own. All other functions of `Deno`
 * escape as well: one that a later Deno brings is no hole.
 */
const DENO_SOCKETS = words(
  "connect connectTls startTls listen listenTls listenDatagram resolveDns " +
    "serve serveHttp connectQuic upgradeWebSocket upgradeWebTransport",
);
const DENO_OUTSIDE = words(
  "Command ChildProcess Process run spawn spawnAndWait spawnAndWaitSync kill " +
    "dlopen UnsafeFnPointer UnsafeCallback openKv cron HttpClient " +
    "createHttpClient addSignalListener removeSignalListener QuicEndpoint",
);
const DENO_SURROUNDINGS = words(
  "consoleSize cpuUsage cwd execPath gid isatty loadavg memoryUsage " +
    "networkInterfaces osRelease osUptime systemMemoryInfo uid umask chdir",
);
/** These give the same for the same input, or are simulated. */
const DENO_HARMLESS = words(
  "inspect hostname exit refTimer unrefTimer test bench UnsafePointer " +
    "UnsafePointerView Permissions PermissionStatus AtomicOperation Kv KvU64 " +
    "KvListIterator QuicBidirectionalStream QuicConn QuicListener " +
    "QuicReceiveStream QuicSendStream QuicIncoming",
);

function globalGroups(): Group[] {
  return [
    {
      owner: globalThis,
      prefix: "",
      names: words("setTimeout setInterval setImmediate"),
      instead: TIMERS,
      inScenario: true,
    },
    {
      owner: AbortSignal,
      prefix: "AbortSignal.",
      names: ["timeout"],
      instead: TIMERS,
      inScenario: true,
    },
    {
      owner: Atomics,
      prefix: "Atomics.",
      names: words("wait waitAsync"),
      instead: TIMERS,
      inScenario: true,
    },
    {
      owner: globalThis,
      prefix: "",
      names: words(
        "fetch WebSocket WebSocketStream WebTransport EventSource Worker " +
          "SharedWorker MessageChannel BroadcastChannel FileReader caches " +
          "localStorage sessionStorage createImageBitmap alert confirm prompt",
      ),
      instead: OUTSIDE,
    },
    {
      owner: navigator,
      prefix: "navigator.",
      names: words("gpu locks"),
      instead: OUTSIDE,
    },
    ...platformGroups(),
    { owner: globalThis, prefix: "", names: ["close"], instead: EXIT },
  ];
}

function platformGroups(): Group[] {
  return [
    {
      owner: Performance.prototype,
      prefix: "performance.",
      names: words(
        "mark measure getEntries getEntriesByName getEntriesByType " +
          "eventLoopUtilization timerify",
      ),
      instead: CLOCKS,
    },
    {
      owner: globalThis,
      prefix: "",
      names: ["PerformanceObserver"],
      instead: CLOCKS,
    },
    {
      owner: URL,
      prefix: "URL.",
      names: ["createObjectURL"],
      instead: OUTSIDE,
    },
    {
      owner: WebAssembly,
      prefix: "WebAssembly.",
      names: words("compileStreaming instantiateStreaming"),
      instead: "use WebAssembly.compile() or instantiate()",
    },
  ];
}

function denoGroups(): Group[] {
  const prefix = "Deno.";
  return [
    { owner: Deno, prefix, names: DENO_SOCKETS, instead: SOCKETS },
    { owner: Deno, prefix, names: DENO_OUTSIDE, instead: OUTSIDE },
    { owner: Deno, prefix, names: DENO_SURROUNDINGS, instead: SURROUNDINGS },
    { owner: Deno, prefix, names: ["exit"], instead: EXIT },
    {
      owner: Deno,
      prefix,
      except: [
        ...DENO_HARMLESS,
        ...DENO_SOCKETS,
        ...DENO_OUTSIDE,
        ...DENO_SURROUNDINGS,
      ],
      instead: FILES,
    },
    {
      owner: Deno.env,
      prefix: "Deno.env.",
      names: words("get has set delete toObject"),
      instead: SURROUNDINGS,
    },
    {
      owner: Deno.permissions,
      prefix: "Deno.permissions.",
      names: words("query querySync request requestSync revoke revokeSync"),
      instead: SURROUNDINGS,
    },
    ...(["stdout", "stderr"] as const).map((name) => ({
      owner: Deno[name],
      prefix: `Deno.${name}.`,
      names: ["isTerminal"],
      instead: SURROUNDINGS,
    })),
    {
      owner: Deno.stdin,
      prefix: "Deno.stdin.",
      names: words("read readSync readable isTerminal setRaw"),
      instead: OUTSIDE,
    },
  ];
}

function placesOf(group: Group): Place[] {
  const { owner, prefix, except = [], instead } = group;
  const { module, inScenario = false } = group;
  if (owner === undefined) return [];
  const names = group.names ??
    Object.keys(owner).filter((name) =>
      !except.includes(name) &&
      typeof (owner as Record<string, unknown>)[name] === "function"
    );
  return names.map((name) => {
    const isClass = /^[A-Z]/.test(name);
    const isValue = VALUES.has(name);
    const call = `${isClass ? "new " : ""}${prefix}${name}`;
    const end = isValue ? "" : "()";
    return {
      owner,
      name,
      call: call + end,
      module,
      isValue,
      instead,
      inScenario,
    };
  });
}

/** All places; looks for them anew. */
export function findEscapes(): Place[] {
  return [...globalGroups(), ...denoGroups(), ...nodeGroups()]
    .flatMap(placesOf);
}
