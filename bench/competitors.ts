/**
 * Who takes part: the servers under each load, the reference first.
 *
 * @module
 */

import { epollNetwork } from "../epoll/mod.ts";
import type { Runtime } from "./machine.ts";

/** One server program, as it is called in the table. */
export interface Competitor {
  name: string;
  runtime: Runtime;
  /** In `servers/`. */
  file: string;
  args?: string[];
  /** The most connections that it can have. */
  most?: number;
}

const RAW: Competitor = {
  name: "conn.read/write loop",
  runtime: "deno",
  file: "echo_raw.ts",
};

function library(name: string, kind: string): Competitor {
  return { name, runtime: "deno", file: "echo_library.ts", args: [kind] };
}

const BUFFERED = library("asyncore, buffered", "buffered");
const INTO = library("asyncore, recvInto", "into");
const CLASSIC = library("asyncore, classic", "classic");
const WRITABLE = library("asyncore, writable alone", "writable");

/** The library on its second engine, where it can be had. */
function onEpoll(...kinds: Competitor[]): Competitor[] {
  if (!epollNetwork.available) return [];
  return kinds.map((kind) => ({
    ...kind,
    name: kind.name.replace(/^\w+/, "$& on epoll"),
    args: [...kind.args ?? [], "epoll"],
  }));
}

const NET: Competitor[] = [
  { name: "node:net, Deno", runtime: "deno", file: "echo_net.mjs" },
  { name: "node:net, Node", runtime: "node", file: "echo_net.mjs" },
];

const PYTHON: Competitor = {
  name: "asyncore, CPython",
  runtime: "python",
  file: "echo_asyncore.py",
  most: 1_000, // select() takes 1,024 descriptors.
};

/** The loop by hand, the library on both engines, and its peers. */
function echoOf(...kinds: Competitor[]): Competitor[] {
  return [RAW, ...kinds, ...onEpoll(...kinds), ...NET, PYTHON];
}

/** Send back what they receive. */
export const ECHO: Competitor[] = echoOf(BUFFERED, INTO, CLASSIC);

/** The same, and one more class, to which many idle connections matter. */
export const SMALL_ECHO: Competitor[] = echoOf(
  BUFFERED,
  INTO,
  CLASSIC,
  WRITABLE,
);

/** Send back what they receive, over TLS. */
export const TLS: Competitor[] = [
  RAW,
  BUFFERED,
  INTO,
  CLASSIC,
  ...onEpoll(BUFFERED),
  { ...NET[0]!, name: "node:tls, Deno" },
  { ...NET[1]!, name: "node:tls, Node" },
];

const CHAT: Competitor = {
  name: "AsyncChat",
  runtime: "deno",
  file: "lines_async_chat.ts",
};

/** Count lines. */
export const LINES: Competitor[] = [
  { ...RAW, name: "conn.read, by hand", file: "lines_raw.ts" },
  CHAT,
  ...onEpoll(CHAT),
  { name: "readline, Deno", runtime: "deno", file: "lines_readline.mjs" },
  { name: "readline, Node", runtime: "node", file: "lines_readline.mjs" },
  { name: "asynchat, CPython", runtime: "python", file: "lines_asynchat.py" },
];

/** Read and copy files. */
export const FILES: Competitor[] = [
  { name: "file.read loop", runtime: "deno", file: "files.ts", args: ["raw"] },
  {
    name: "FileDispatcher",
    runtime: "deno",
    file: "files.ts",
    args: ["dispatcher"],
  },
  {
    name: "FileWrapper loop",
    runtime: "deno",
    file: "files.ts",
    args: ["wrapper"],
  },
];

/** Arm, reset and cancel timers. */
export const TIMERS: Competitor[] = [
  { name: "setTimeout, Deno", runtime: "deno", file: "timers_runtime.mjs" },
  { name: "callLater", runtime: "deno", file: "timers_library.ts" },
  { name: "setTimeout, Node", runtime: "node", file: "timers_runtime.mjs" },
];

/** Start and end. */
export const PROGRAMS: Competitor[] = [
  { name: "empty program", runtime: "deno", file: "empty.ts" },
  { name: "import of mod.ts", runtime: "deno", file: "import_mod.ts" },
];
