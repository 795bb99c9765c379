/**
 * Isolates simulated hosts from the real world: clocks and random numbers are
 * the host's own, and escapes are noticed. Code that runs elsewhere sees no
 * difference.
 *
 * @module
 */

import { type Escape, TIMERS } from "./escape_group.ts";
import { findEscapes, type Place } from "./escapes.ts";
import { type HostContext, hostContext } from "./host_context.ts";
import { cryptoReplacements } from "./host_crypto.ts";
import { dateReplacements, EPOCH } from "./host_dates.ts";
import { type Import, ImportTraps } from "./import_traps.ts";
import { process } from "./node_process.ts";
import {
  type AnyFunction,
  Exchanges,
  functions,
  onHost,
  type Replacement,
  values,
} from "./replacements.ts";

/** Each program is started by the first process of its host. */
const PPID = 1;
const NS_PER_MS = 1_000_000n;

/** Throws on simulated hosts, by the escape. */
function check(escape: Escape): void {
  const error = hostContext.getStore()?.onEscape(escape);
  if (error) throw error;
}

/** Makes a function or class throw on simulated hosts. */
function trap<T extends AnyFunction>(original: T, escape: Escape): T {
  return new Proxy(original, {
    apply(target, self, args) {
      check(escape);
      return Reflect.apply(target, self, args);
    },
    construct(target, args, newTarget) {
      check(escape);
      return Reflect.construct(target, args, newTarget);
    },
  });
}

/** The functions of Node's modules that were replaced by traps. */
const trapped = new Map<string, Import>();

function escapeReplacement(place: Place): Replacement {
  const { owner, name, isValue, module } = place;
  const make = (original: AnyFunction) => {
    if (module) noteImport(module, name, original, place);
    return trap(original, place);
  };
  return { owner, name, isGetter: isValue, make };
}

function noteImport(
  module: string,
  name: string,
  original: AnyFunction,
  { call, ...rest }: Escape,
): void {
  const escape = { ...rest, call: `${name}() of node:${module}` };
  trapped.set(call, { module, name, original, escape });
}

/**
 * The class of the timers that all functions start, also those that were
 * imported before: it makes the real timer by a method without a public name.
 */
function timerReplacement(): Replacement {
  const timers = process.getBuiltinModule("node:timers");
  const timer = timers.setTimeout(() => {}, 0);
  timers.clearTimeout(timer);
  const owner = Object.getPrototypeOf(timer);
  const name = Object.getOwnPropertySymbols(owner)
    .find(({ description }) => description === "createTimer");
  const call = "setTimeout() or setInterval() of node:timers";
  const escape = { call, instead: TIMERS, inScenario: true };
  return {
    owner: name && owner,
    name: name ?? "",
    make: (original: AnyFunction) => trap(original, escape),
  };
}

function now(host: HostContext): number {
  const time = host.now();
  host.drew(time);
  return time;
}

function hrtimeBigint(host: HostContext): bigint {
  return BigInt(Math.floor(now(host) * 1_000)) * (NS_PER_MS / 1_000n);
}

/** `process.hrtime()`: seconds and nanoseconds, perhaps since an earlier time. */
function hrtime(host: HostContext, [since]: unknown[]): [number, number] {
  const [seconds, nanoseconds] = (since ?? [0, 0]) as [number, number];
  const all = hrtimeBigint(host) - BigInt(seconds) * (NS_PER_MS * 1_000n) -
    BigInt(nanoseconds);
  const second = NS_PER_MS * 1_000n;
  return [Number(all / second), Number(all % second)];
}

function clockReplacements(): Replacement[] {
  const hrtimeOf = (original: AnyFunction) =>
    Object.assign(onHost(original, hrtime), {
      bigint: onHost(
        (original as unknown as { bigint: AnyFunction }).bigint,
        hrtimeBigint,
      ),
    });
  return [
    ...functions(performance, { now }),
    ...values(performance, { timeOrigin: () => EPOCH }),
    ...functions(process, { uptime: (host) => now(host) / 1_000 }),
    { owner: process, name: "hrtime", make: hrtimeOf },
  ];
}

/** The process that tells which host's it is, where a program asks `process`. */
function processOf(get: AnyFunction): AnyFunction {
  const real = get() as typeof process;
  return onHost(get, ({ identity }) => {
    if (identity === null) return real;
    const answers: Record<PropertyKey, number> = {
      pid: identity.pid,
      ppid: PPID,
    };
    return new Proxy(real, {
      get: (target, name) => answers[name] ?? Reflect.get(target, name, target),
    });
  });
}

/** What tells a host from another: its name and the id of its process. */
function identityReplacements(): Replacement[] {
  const named = (original: AnyFunction) =>
    onHost(original, ({ identity }) => identity?.name ?? original());
  const pid = (original: AnyFunction) =>
    onHost(original, ({ identity }) => identity?.pid ?? original());
  const os = process.getBuiltinModule("node:os");
  return [
    { owner: Deno, name: "hostname", make: named },
    { owner: os, name: "hostname", make: named },
    { owner: Deno, name: "pid", make: pid, isGetter: true },
    { owner: globalThis, name: "process", make: processOf, isGetter: true },
    ...values(Deno, { ppid: () => PPID }),
    ...values(navigator, {
      hardwareConcurrency: () => 1,
      language: () => "en-US",
      languages: () => ["en-US", "en"],
    }),
  ];
}

/** Objects of a host stay until its process ends: no run sees any collected. */
function collectorReplacements(): Replacement[] {
  const weakRef = (Original: WeakRefConstructor) =>
    new Proxy(Original, {
      construct(target, args, newTarget) {
        hostContext.getStore()?.keep(args[0]);
        return Reflect.construct(target, args, newTarget);
      },
    });
  const register = (original: AnyFunction) =>
    onHost(original, (host, args, self) => {
      host.keep(args[0] as object);
      return Reflect.apply(original, self, args);
    });
  return [
    { owner: globalThis, name: "WeakRef", make: weakRef },
    {
      owner: FinalizationRegistry.prototype,
      name: "register",
      make: register,
    },
  ];
}

const exchanges = new Exchanges(() => [
  ...findEscapes().map(escapeReplacement),
  timerReplacement(),
  ...dateReplacements(),
  ...cryptoReplacements(),
  ...clockReplacements(),
  ...identityReplacements(),
  ...collectorReplacements(),
]);

/** Functions that hosts have by themselves, but not if imported by name. */
function simulatedImports(): Import[] {
  const names = [["process", "hrtime"], ["process", "uptime"], [
    "os",
    "hostname",
  ]];
  const getters = ["pid", "ppid"];
  return [
    ...names.map(([module, name]) => importOf(module!, name!, "value")),
    ...getters.map((name) => importOf("process", name, "get")),
  ].filter((found) => found !== null);
}

function importOf(
  module: string,
  name: string,
  kind: "value" | "get",
): Import | null {
  const owner = process.getBuiltinModule(`node:${module}`) as object;
  const original = exchanges.originalOf(owner, name)?.[kind] as
    | AnyFunction
    | undefined;
  if (typeof original !== "function") return null;
  const call = `${name} of node:${module}`;
  const instead = kind === "value"
    ? `call it as ${module}.${name}(), which a host has itself`
    : `use Deno.${name}, which a host has itself`;
  return {
    module,
    name,
    original,
    escape: { call, instead, inScenario: false },
  };
}

/**
 * Watches what was imported by name from Node's modules, while double runs and
 * runs outside of `simulate()` last.
 */
export const importTraps: ImportTraps = new ImportTraps(() => [
  ...trapped.values(),
  ...simulatedImports(),
]);

/** Puts the replacements in place; the returned function takes them away. */
export function isolateHosts(): () => void {
  return exchanges.install();
}
