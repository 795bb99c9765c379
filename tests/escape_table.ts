/**
 * What a program on a simulated host can call, and what comes of it: the table
 * of `docs/testing.md`. `escape_table_test.ts` tries each call in two processes.
 */

import nodeCrypto, { randomBytes, randomInt, randomUUID } from "node:crypto";
import nodeDns, { lookup } from "node:dns";
import fs, { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import dgram from "node:dgram";
import os, { cpus, hostname } from "node:os";
import { execSync, spawn } from "node:child_process";
import perfHooks from "node:perf_hooks";
import process, { env, hrtime, pid } from "node:process";
import timers, { setTimeout as setNodeTimeout } from "node:timers";
import { scheduler, setTimeout as sleep } from "node:timers/promises";
import v8 from "node:v8";
import { Worker as NodeWorker } from "node:worker_threads";

/** What becomes of a call on a simulated host. */
export type Verdict = "simulated" | "refused" | "real";

/** Calls with the same fate. */
export interface Row {
  verdict: Verdict;
  /** How it is simulated, what to use instead, or why it is real. */
  reason: string;
  /** The calls; what one returns is compared as text, if it must be the same. */
  calls: Record<string, () => unknown>;
  /** A real one that is the same in every process. */
  isSame?: boolean;
  /** It takes `--allow-sys` to notice them. */
  needsSys?: boolean;
}

const { subtle } = crypto;
const bytes = new Uint8Array(16);
const aes = { name: "AES-GCM", length: 128 };
const hmac = { name: "HMAC", hash: "SHA-256" };
const rsa = {
  name: "RSA-OAEP",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
};
const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
// Made here, by what a host has not: a program may bring its keys.
const rsaKeys = await subtle.generateKey(rsa, true, ["encrypt", "decrypt"]);
const ecKeys = await subtle.generateKey(ecdsa, true, ["sign", "verify"]);
const aesKey = await subtle.importKey("raw", bytes, "AES-GCM", true, [
  "encrypt",
]);
const ed25519 = await subtle.importKey(
  "jwk",
  {
    kty: "OKP",
    crv: "Ed25519",
    d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
  },
  "Ed25519",
  false,
  ["sign"],
);
const { readTextFile } = Deno;
const formatter = new Intl.DateTimeFormat();

/** Collects garbage, in a process with `--v8-flags=--expose-gc`. */
async function collect(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await subtle.digest("SHA-256", bytes); // In a turn of its own.
    (globalThis as { gc?: () => void }).gc?.();
  }
}

async function jwk(algorithm: AesKeyGenParams | HmacKeyGenParams) {
  const usages: KeyUsage[] = algorithm === hmac ? ["sign"] : ["encrypt"];
  const key = await subtle.generateKey(algorithm, true, usages);
  return (await subtle.exportKey("jwk", key as CryptoKey)).k;
}

const hex = async (buffer: Promise<ArrayBuffer>) =>
  new Uint8Array(await buffer).toHex();

const SIMULATED: Row[] = [
  {
    verdict: "simulated",
    reason: "drawn from the seed, for each host its own",
    calls: {
      "Math.random()": () => Math.random(),
      "crypto.getRandomValues()": () => crypto.getRandomValues(bytes),
      "crypto.randomUUID()": () => crypto.randomUUID(),
      "randomUUID() of node:crypto": () => randomUUID(),
      "getRandomValues() of node:crypto": () =>
        nodeCrypto.getRandomValues(bytes),
    },
  },
  {
    verdict: "simulated",
    reason: "keys of AES and HMAC are random bytes of the host",
    calls: {
      "crypto.subtle.generateKey() with AES-GCM": () => jwk(aes),
      "crypto.subtle.generateKey() with HMAC": () => jwk(hmac),
    },
  },
  {
    verdict: "simulated",
    reason: "computed for real, while the simulated time stands still",
    calls: {
      "crypto.subtle.digest()": () => hex(subtle.digest("SHA-256", bytes)),
      "crypto.subtle.encrypt() with AES-GCM": () =>
        hex(subtle.encrypt({ name: "AES-GCM", iv: bytes }, aesKey, bytes)),
      "crypto.subtle.sign() with Ed25519": () =>
        hex(subtle.sign("Ed25519", ed25519, bytes)),
      "Blob.text()": () => new Blob(["spam"]).text(),
      "WebAssembly.compile()": () =>
        WebAssembly.compile(
          new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]),
        ),
    },
  },
  {
    verdict: "simulated",
    reason: "the host's clock; time 0 is the first of January 2030",
    calls: {
      "Date.now()": () => Date.now(),
      "new Date()": () => new Date().toISOString(),
      "Date()": () => Date(),
      "Temporal.Now": () =>
        globalThis.Temporal &&
        `${Temporal.Now.instant()} ${Temporal.Now.plainDateTimeISO()} ` +
          `${Temporal.Now.plainDateISO()} ${Temporal.Now.plainTimeISO()} ` +
          `${Temporal.Now.zonedDateTimeISO()} ${Temporal.Now.timeZoneId()}`,
      "new Intl.DateTimeFormat().format()": () =>
        new Intl.DateTimeFormat(undefined, { timeStyle: "full" }).format(),
      "Intl.DateTimeFormat.formatToParts()": () =>
        JSON.stringify(new Intl.DateTimeFormat().formatToParts()),
      "File.lastModified": () => new File([], "a").lastModified,
      "performance.now()": () => performance.now(),
      "performance.timeOrigin": () => performance.timeOrigin,
      "performance of node:perf_hooks": () => perfHooks.performance.now(),
      "process.hrtime()": () => process.hrtime(process.hrtime()),
      "process.hrtime.bigint()": () => process.hrtime.bigint(),
      "process.uptime()": () => process.uptime(),
    },
  },
  {
    verdict: "simulated",
    reason: "local time is UTC, and the default language American English",
    calls: {
      "new Date(2030, 0, 1)": () => new Date(2030, 0, 1, 5).getTime(),
      "Date.parse() of a local time": () => Date.parse("2030-07-01T05:00"),
      "Date.getHours()": () => new Date(5).getHours(),
      "Date.setHours()": () => new Date(5).setHours(3),
      "Date.getTimezoneOffset()": () => new Date(5).getTimezoneOffset(),
      "Date.toString()": () => `${new Date(5)}`,
      "Date.toLocaleString()": () => new Date(5).toLocaleString(),
      "Number.toLocaleString()": () => (1234.5).toLocaleString(),
      "String.localeCompare()": () => "i".localeCompare("ı"),
      "String.toLocaleUpperCase()": () => "title".toLocaleUpperCase(),
      "new Intl.NumberFormat()": () => new Intl.NumberFormat().format(1234.5),
      "new Intl.DateTimeFormat().resolvedOptions()": () =>
        JSON.stringify(new Intl.DateTimeFormat().resolvedOptions()),
      "navigator.language": () => navigator.language,
      "navigator.languages": () => `${navigator.languages}`,
    },
  },
  {
    verdict: "simulated",
    reason: "the host's own name and numbers; a host has one processor",
    calls: {
      "Deno.hostname()": () => Deno.hostname(),
      "os.hostname()": () => os.hostname(),
      "Deno.pid": () => Deno.pid,
      "Deno.ppid": () => Deno.ppid,
      "the global process.pid": () => globalThis.process.pid,
      "navigator.hardwareConcurrency": () => navigator.hardwareConcurrency,
    },
  },
  {
    verdict: "simulated",
    reason: "nothing is collected as long as the host's program runs",
    calls: {
      "new WeakRef()": async () => {
        const ref = new WeakRef({});
        await collect();
        return typeof ref.deref();
      },
      "new FinalizationRegistry()": async () => {
        let collected = 0;
        const registry = new FinalizationRegistry(() => void collected++);
        registry.register({}, 5);
        await collect();
        return collected;
      },
    },
  },
];

const NAMED = " imported by name";

const REFUSED_OF_DENO: Row[] = [
  {
    verdict: "refused",
    reason: "use `callLater()` or `callEvery()`",
    calls: {
      "setTimeout()": () => setTimeout(() => {}, 1),
      "setInterval()": () => setInterval(() => {}, 1),
      "setImmediate()": () => setImmediate(() => {}),
      "AbortSignal.timeout()": () => AbortSignal.timeout(1),
      "Atomics.waitAsync()": () =>
        Atomics.waitAsync(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1),
    },
  },
  {
    verdict: "refused",
    reason: "use `performance.now()`",
    calls: {
      "performance.mark()": () => performance.mark("a"),
      "performance.measure()": () => performance.measure("a"),
      "performance.getEntries()": () => performance.getEntries().length,
      "new PerformanceObserver()": () => new PerformanceObserver(() => {}),
    },
  },
  {
    verdict: "refused",
    reason: "use the sockets of dispatchers",
    calls: {
      "Deno.connect()": () => Deno.connect({ port: 1 }),
      "Deno.listen()": () => Deno.listen({ port: 0 }).close(),
      "Deno.serve()": () => Deno.serve(() => new Response()).shutdown(),
      "Deno.resolveDns()": () => Deno.resolveDns("localhost", "A"),
    },
  },
  {
    verdict: "refused",
    reason: "use the disk of the host, or read the file before",
    calls: {
      "Deno.readTextFile()": () => Deno.readTextFile("deno.json"),
      "Deno.readTextFileSync()": () => Deno.readTextFileSync("deno.json"),
      "Deno.openSync()": () => Deno.openSync("deno.json").close(),
      "Deno.statSync()": () => Deno.statSync("deno.json").size,
      "Deno.makeTempDirSync()": () => Deno.removeSync(Deno.makeTempDirSync()),
      "localStorage": () => localStorage.length,
    },
  },
  {
    verdict: "refused",
    reason: "ask before the simulation, and give the program the answer",
    calls: {
      "Deno.env.get()": () => Deno.env.get("HOME"),
      "Deno.env.toObject()": () => Object.keys(Deno.env.toObject()),
      "process.env": () => process.env.HOME,
      "env of node:process": () => env.HOME,
      "Deno.cwd()": () => Deno.cwd(),
      "process.cwd()": () => process.cwd(),
      "Deno.memoryUsage()": () => Deno.memoryUsage().rss,
      "process.memoryUsage()": () => process.memoryUsage().rss,
      "Deno.systemMemoryInfo()": () => Deno.systemMemoryInfo().free,
      "Deno.stdout.isTerminal()": () => Deno.stdout.isTerminal(),
      "Deno.loadavg()": () => Deno.loadavg(),
      "Deno.osUptime()": () => Deno.osUptime(),
      "Deno.networkInterfaces()": () => Deno.networkInterfaces().length,
      "Deno.permissions.query()": () => Deno.permissions.query({ name: "env" }),
      "os.cpus()": () => os.cpus().length,
      "v8.getHeapStatistics()": () => v8.getHeapStatistics().used_heap_size,
    },
  },
  {
    verdict: "refused",
    reason: "do without it, or give the program a stand-in",
    calls: {
      "fetch()": () => fetch("data:,"),
      "new WebSocket()": () => new WebSocket("ws://localhost"),
      "new EventSource()": () => new EventSource("http://localhost"),
      "new Worker()": () => new Worker("data:text/javascript,"),
      "new MessageChannel()": () => new MessageChannel(),
      "new BroadcastChannel()": () => new BroadcastChannel("a").close(),
      "new Deno.Command()": () => new Deno.Command("true"),
      "Deno.stdin.read()": () => Deno.stdin.read(new Uint8Array(1)),
      "Deno.stdin.readable": () => Deno.stdin.readable,
      "process.stdin": () => process.stdin,
      "prompt()": () => prompt("?"),
      "navigator.gpu": () => navigator.gpu,
      "caches": () => caches,
      "URL.createObjectURL()": () => URL.createObjectURL(new Blob()),
    },
  },
  {
    verdict: "refused",
    reason: "let the scenario crash the host",
    calls: {
      "Deno.exit()": () => Deno.exit(),
      "process.exit()": () => process.exit(),
    },
  },
  {
    verdict: "refused",
    reason: "make keys before; use AES, HMAC, Ed25519 or RSASSA-PKCS1-v1_5",
    calls: {
      "crypto.subtle.generateKey() with RSA-OAEP": () =>
        subtle.generateKey(rsa, true, ["encrypt", "decrypt"]),
      "crypto.subtle.generateKey() with ECDSA": () =>
        subtle.generateKey(ecdsa, true, ["sign", "verify"]),
      "crypto.subtle.generateKey() with Ed25519": () =>
        subtle.generateKey("Ed25519", true, ["sign", "verify"]),
      "crypto.subtle.encrypt() with RSA-OAEP": () =>
        hex(subtle.encrypt("RSA-OAEP", rsaKeys.publicKey, bytes)),
      "crypto.subtle.sign() with ECDSA": () =>
        hex(subtle.sign(ecdsa, ecKeys.privateKey, bytes)),
      "crypto.generateKeyPairSync()": () =>
        nodeCrypto.generateKeyPairSync("ed25519"),
      "crypto.createECDH() of node:crypto": () =>
        nodeCrypto.createECDH("prime256v1").generateKeys("hex"),
    },
  },
];

const REFUSED_OF_NODE: Row[] = [
  {
    verdict: "refused",
    reason: "use `crypto.getRandomValues()` or `Math.random()`",
    calls: {
      "randomInt() of node:crypto": () => nodeCrypto.randomInt(2 ** 40),
      "randomBytes() of node:crypto": () => nodeCrypto.randomBytes(8),
      "randomFillSync() of node:crypto": () =>
        nodeCrypto.randomFillSync(new Uint8Array(8)),
    },
  },
  {
    verdict: "refused",
    reason: "use the function whose name ends in Sync",
    calls: {
      "pbkdf2() of node:crypto": () =>
        nodeCrypto.pbkdf2("a", "b", 1, 8, "sha1", () => {}),
      "scrypt() of node:crypto": () => nodeCrypto.scrypt("a", "b", 8, () => {}),
    },
  },
  {
    verdict: "refused",
    reason:
      "Node's timers, clocks, sockets, files, processes: as those of Deno",
    calls: {
      "node:timers": () => timers.setTimeout(() => {}, 1),
      "node:timers/promises": () => timers.promises.setTimeout(1),
      "node:fs": () => fs.readFileSync("deno.json", "utf8"),
      "node:fs/promises": () => fs.promises.readFile("deno.json"),
      "node:net": () => net.connect(1, "127.0.0.1").on("error", () => {}),
      "node:net, as a server": () => net.createServer().listen(0),
      "node:dgram": () => dgram.createSocket("udp4").close(),
      "node:http": () => http.get("http://127.0.0.1:1").on("error", () => {}),
      "node:http, as a server": () => http.createServer().listen(0),
      "node:dns": () => nodeDns.lookup("localhost", () => {}),
      "node:perf_hooks": () => perfHooks.monitorEventLoopDelay(),
    },
  },
  {
    verdict: "refused",
    reason: "as those of Deno: their classes are watched from within",
    calls: {
      [`setTimeout() of node:timers${NAMED}`]: () =>
        setNodeTimeout(() => {}, 1),
      [`setTimeout() of node:timers/promises${NAMED}`]: () => sleep(1),
      [`scheduler of node:timers/promises${NAMED}`]: () => scheduler.wait(1),
      "new net.Socket().connect()": () =>
        new net.Socket().on("error", () => {}).connect(1, "127.0.0.1"),
      [`spawn() of node:child_process${NAMED}`]: () => spawn("true"),
    },
  },
  {
    verdict: "refused",
    needsSys: true,
    reason:
      "only noticed with `--allow-sys`: the debugger tells of the call, " +
      "which goes on, and then the run ends",
    calls: {
      [`randomInt() of node:crypto${NAMED}`]: () => randomInt(2 ** 40),
      [`randomBytes() of node:crypto${NAMED}`]: () => randomBytes(8),
      [`readFileSync() of node:fs${NAMED}`]: () => readFileSync("deno.json"),
      [`readFile() of node:fs/promises${NAMED}`]: () => readFile("deno.json"),
      [`hostname() of node:os${NAMED}`]: () => hostname(),
      [`cpus() of node:os${NAMED}`]: () => cpus().length,
      [`execSync() of node:child_process${NAMED}`]: () => execSync("true"),
      [`lookup() of node:dns${NAMED}`]: () => lookup("127.0.0.1", () => {}),
      [`hrtime() of node:process${NAMED}`]: () => hrtime(),
      "pid of the default of node:process": () => process.pid,
      [`Worker of node:worker_threads${NAMED}`]: () =>
        new NodeWorker("", { eval: true }).terminate(),
    },
  },
];

const REAL: Row[] = [
  {
    verdict: "real",
    isSame: true,
    reason: "depends on the program alone",
    calls: {
      "queueMicrotask()": () => new Promise<void>(queueMicrotask),
      "process.nextTick()": () =>
        new Promise<number>((done) => process.nextTick(done, 5)),
      "structuredClone()": () => structuredClone({ a: 1 }).a,
      "new CompressionStream()": async () => {
        const { readable, writable } = new CompressionStream("gzip");
        void new Blob(["spam"]).stream().pipeTo(writable);
        return (await new Response(readable).bytes()).toHex();
      },
      "Response.text()": () => new Response("spam").text(),
      "Event.timeStamp": () => new Event("a").timeStamp,
      "createHash() of node:crypto": () =>
        nodeCrypto.createHash("sha256").update("spam").digest("hex"),
      "pbkdf2Sync() of node:crypto": () =>
        nodeCrypto.pbkdf2Sync("a", "b", 1, 8, "sha1").toString("hex"),
    },
  },
  {
    verdict: "real",
    isSame: true,
    reason: "the same for the same Deno, system and command line",
    calls: {
      "Deno.version": () => Deno.version.v8,
      "Deno.build": () => Deno.build.target,
      "Deno.args": () => Deno.args.length,
      "navigator.userAgent": () => navigator.userAgent,
      "process.platform": () => process.platform,
    },
  },
  {
    verdict: "real",
    reason: "a value that was read when it was imported is a value",
    calls: { [`pid of node:process${NAMED}`]: () => pid },
  },
  {
    verdict: "real",
    reason: "taken from its object before the simulation, so that nothing " +
      "can replace it",
    calls: {
      "const { readTextFile } = Deno": () => readTextFile("deno.json"),
      "new Intl.DateTimeFormat() made before": () => formatter.format(0),
    },
  },
  {
    verdict: "real",
    reason: "has the folders of the machine; a log line in the trace has not",
    calls: { "Error.stack": () => new Error("a").stack },
  },
  {
    verdict: "real",
    reason: "syntax, which nothing can replace; import before the simulation",
    calls: { "import()": async () => (await import("node:url")).URL.name },
  },
  {
    verdict: "real",
    reason: "Deno draws the boundary itself; it differs from run to run",
    calls: {
      "new Response(new FormData())": () => new Response(new FormData()).text(),
    },
  },
  {
    verdict: "real",
    reason: "prints the real time, and gives the program nothing",
    calls: { "console.time()": () => console.time() },
  },
  {
    verdict: "real",
    reason: "depends on the memory that is free",
    calls: {
      "the depth of recursion": () => {
        const dive = (depth: number): number => {
          try {
            return dive(depth + 1);
          } catch {
            return depth;
          }
        };
        return dive(0) > 100;
      },
    },
  },
];

/** The whole table, in the order in which the page shows it. */
export const TABLE: readonly Row[] = [
  ...SIMULATED,
  ...REFUSED_OF_DENO,
  ...REFUSED_OF_NODE,
  ...REAL,
];

/** The table as Markdown, as wide as its longest cells. */
export function tableText(): string {
  const rows = TABLE.map(({ verdict, reason, calls }) => [
    verdict,
    Object.keys(calls).map(codeOf).join(", "),
    reason,
  ]);
  const all = [["on a host", "calls", "how, or why"], ...rows];
  const widths = [0, 1, 2].map((i) =>
    Math.max(...all.map((row) => row[i]!.length))
  );
  const line = (row: string[]) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return [line(all[0]!), rule, ...all.slice(1).map(line)].join("\n");
}

/** A call as Markdown: the words of a language around the code are no code. */
function codeOf(call: string): string {
  const [, code, rest] = /^(.*?)((?: of | with | imported | as | made |, ).*)?$/
    .exec(call)!;
  const isText = /^(?:the|pid of) /.test(call);
  return isText ? call : `\`${code}\`${rest ?? ""}`;
}
