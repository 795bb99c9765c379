/**
 * Notices escapes through functions of Node's modules that were imported by
 * their names: `import { readFileSync } from "node:fs"` gives a binding that
 * nothing can replace. V8's debugger sees the calls all the same.
 *
 * @module
 */

import type { Escape } from "./escape_group.ts";
import { hostContext } from "./host_context.ts";
import { process } from "./node_process.ts";
import type { AnyFunction } from "./replacements.ts";

/** A function that a program may have imported by its name. */
export interface Import {
  /** The module without `node:`. */
  readonly module: string;
  readonly name: string;
  readonly original: AnyFunction;
  readonly escape: Escape;
}

/** A session of V8's debugger, as far as it is used. */
interface Session {
  connect(): void;
  disconnect(): void;
  post(
    method: string,
    params: object,
    callback: (error: Error | null, result: never) => void,
  ): void;
  on(
    event: string,
    listener: (message: { params: { scriptId: string; url: string } }) => void,
  ): void;
}

/** The breakpoints' conditions and the debugger meet in a property of this name. */
const MEETING_PLACE = Symbol.for("asyncore.importTraps");
/** Deno's own modules, which import what they like. */
const OF_DENO = /^(?:$|node:|ext:|checkin:)/;
/** The modules of this folder, which import for themselves. */
const OWN = new URL(".", import.meta.url).href;
/** A module of Node, as a script names it that imports it. */
const MODULE =
  /(?:from|import|require)\s*\(?\s*["'](?:node:)?([a-z_/\d]+)["']/g;

/** Asks the debugger, which answers in the next turn. */
function ask<T>(session: Session, method: string, params = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    session.post(
      method,
      params,
      (error, result) => error ? reject(error) : resolve(result),
    );
  });
}

/** Opens a session; `null` if that is not permitted. */
function openSession(): Session | null {
  const permission = { name: "sys", kind: "inspector" } as const;
  // Never asks the user: without the permission, imports are not watched.
  const { state } = Deno.permissions.querySync(
    permission as unknown as Deno.PermissionDescriptor,
  );
  const inspector = process.getBuiltinModule("node:inspector");
  if (state !== "granted" || !inspector?.Session) return null;
  const session = new inspector.Session() as unknown as Session;
  session.connect();
  return session;
}

/** The modules of Node that a script imports, and all its words. */
interface Script {
  readonly modules: ReadonlySet<string>;
  readonly words: ReadonlySet<string>;
}

async function readScript(session: Session, scriptId: string): Promise<Script> {
  const { scriptSource } = await ask<{ scriptSource: string }>(
    session,
    "Debugger.getScriptSource",
    { scriptId },
  );
  const modules = [...scriptSource.matchAll(MODULE)].map(([, name]) => name!);
  const isNeeded = modules.length > 0;
  return {
    modules: new Set(modules),
    words: new Set(isNeeded ? scriptSource.match(/\w+/g) : []),
  };
}

/**
 * The sources of closures of which there are several: a breakpoint would stop
 * in all of them, also in those that a program made by `promisify()`.
 */
function sharedSources(imports: readonly Import[]): Set<string> {
  const originals = new Set(imports.map(({ original }) => original));
  const sources = new Set<string>();
  const shared = new Set<string>();
  for (const source of [...originals].map(String)) {
    (sources.has(source) ? shared : sources).add(source);
  }
  return shared;
}

/** The imports that some script of the program may have made. */
async function findUsed(
  session: Session,
  scriptIds: readonly string[],
  imports: readonly Import[],
): Promise<Import[]> {
  const scripts = await Promise.all(
    scriptIds.map((id) => readScript(session, id)),
  );
  // Several names may have the same function, which takes one breakpoint.
  const used = new Map<AnyFunction, Import>();
  const shared = sharedSources(imports);
  for (const candidate of imports) {
    const { module, name, original } = candidate;
    const isUsed = scripts.some(({ modules, words }) =>
      words.has(name) &&
      // Many functions of this one wrap the other's.
      (modules.has(module) || module === "fs" && modules.has("fs/promises"))
    );
    if (isUsed && !shared.has(`${original}`)) used.set(original, candidate);
  }
  return [...used.values()];
}

/** Sets breakpoints that never stop, but tell of the calls on hosts. */
async function watch(session: Session, used: readonly Import[]): Promise<void> {
  Object.defineProperty(globalThis, MEETING_PLACE, {
    configurable: true,
    value: {
      originals: used.map(({ original }) => original),
      onCall(index: number): boolean {
        const host = hostContext.getStore();
        // The call goes on, but the run ends with the error. Where the scenario
        // runs, the simulator itself waits by setImmediate().
        if (host?.identity) host.onEscape(used[index]!.escape);
        return false;
      },
    },
  });
  const place = `globalThis[Symbol.for("${MEETING_PLACE.description}")]`;
  await Promise.all(used.map(async (_, index) => {
    const { result: { objectId } } = await ask<{
      result: { objectId: string };
    }>(session, "Runtime.evaluate", {
      expression: `${place}.originals[${index}]`,
    });
    await ask(session, "Debugger.setBreakpointOnFunctionCall", {
      objectId,
      condition: `${place}.onCall(${index})`,
    });
  }));
}

/** Watches imported functions as long as somebody wants that. */
export class ImportTraps {
  readonly #find: () => readonly Import[];
  /** The functions that the program has imported; `null` before the first look. */
  #used: readonly Import[] | null = null;
  #users = 0;
  #session: Promise<Session | null> | null = null;

  /** `find` is called once, when it is first needed. */
  constructor(find: () => readonly Import[]) {
    this.#find = find;
  }

  /** Whether there may be something to watch. */
  get isNeeded(): boolean {
    return this.#used === null || this.#used.length > 0;
  }

  /** Watches until the returned function is called. */
  async acquire(): Promise<() => void> {
    if (!this.isNeeded) return () => {};
    this.#users++;
    this.#session ??= this.#open();
    const session = await this.#session;
    return () => {
      if (--this.#users > 0) return;
      this.#session = null;
      session?.disconnect();
      Reflect.deleteProperty(globalThis, MEETING_PLACE);
    };
  }

  async #open(): Promise<Session | null> {
    const session = openSession();
    if (session === null) {
      this.#used = [];
      return null;
    }
    const scripts: string[] = [];
    session.on("Debugger.scriptParsed", ({ params: { scriptId, url } }) => {
      if (!OF_DENO.test(url) && !url.startsWith(OWN)) scripts.push(scriptId);
    });
    await ask(session, "Debugger.enable");
    this.#used ??= await findUsed(session, scripts, this.#find());
    if (this.#used.length > 0) {
      await watch(session, this.#used);
      return session;
    }
    session.disconnect();
    return null;
  }
}
