/**
 * Runs `deno` with the given arguments, also where JSR cannot be reached:
 *
 *     deno run -A tools/with_std.ts test -A tests/
 *
 * Where the `@std` packages resolve, from JSR or from the cache, the arguments
 * are passed on as they are. Elsewhere a line on standard error says so, and
 * the packages are mapped to the stand-ins in `tools/offline`.
 *
 * The variable WITH_STD (`jsr` or `offline`) holds the answer for the processes
 * started from here, so that nested runs agree; set it to choose by hand.
 *
 * With ASYNCORE_NETWORK=epoll, the maps of what `run` and `test` start, and of the
 * programs that they start from here, are on the second engine.
 *
 * @module
 */

const offline = `${import.meta.dirname}/offline`;

/** Slower than this, JSR counts as out of reach; the next run finds more in the cache. */
const PATIENCE = 2_000;

/** An older Deno does not read the section "test" of this repository's deno.json. */
const OLDEST = "2.9.5";

type Source = "jsr" | "offline";

/** The arguments for `deno`, with the import map that this machine needs. */
export async function withStd(args: string[]): Promise<string[]> {
  const [subcommand, ...rest] = args;
  if (!subcommand || !/^[a-z]+$/.test(subcommand)) {
    throw new TypeError(
      `Expected a deno subcommand such as run, test or check, got "${
        subcommand ?? ""
      }"`,
    );
  }
  if (subcommand === "test" && !args.includes("--no-config")) checkVersion();
  const isRun = subcommand === "run" || subcommand === "test";
  const engine = isRun ? engineFlags(rest) : [];
  const isOffline = await findStd() === "offline";
  if (!isOffline && !args.includes("--no-config")) {
    return [subcommand, ...engine, ...rest];
  }
  const map = isOffline ? "offline/import_map.json" : "../deno.json";
  const importMap = `--import-map=${import.meta.dirname}/${map}`;
  return [subcommand, importMap, ...engine, ...rest];
}

/**
 * The flags, besides `flags`, that put the maps of a program on the engine that
 * ASYNCORE_NETWORK names: none for Deno's network.
 */
export function engineFlags(flags: string[]): string[] {
  const network = Deno.env.get("ASYNCORE_NETWORK");
  if (!network) return [];
  if (network !== "epoll") {
    throw new TypeError(`ASYNCORE_NETWORK must be "epoll", got "${network}"`);
  }
  const preload = `${import.meta.dirname}/../tests/epoll_preload.ts`;
  const mayAll = flags.includes("-A") || flags.includes("--allow-all");
  return [`--preload=${preload}`, ...mayAll ? [] : ["--allow-ffi"]];
}

/** Runs `deno` to its end and returns its exit code. */
export async function runWithStd(args: string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: await withStd(args),
    stdin: "inherit",
  }).spawn();
  forwardSignals(child);
  return (await child.status).code;
}

function checkVersion(): void {
  const { deno } = Deno.version;
  if (deno.localeCompare(OLDEST, "en", { numeric: true }) >= 0) return;
  throw new TypeError(
    `The tests need Deno ${OLDEST} or later, and this is ${deno}: ` +
      '"deno task test:core" runs those of the library itself',
  );
}

async function findStd(): Promise<Source> {
  const known = Deno.env.get("WITH_STD");
  if (known === "jsr" || known === "offline") return known;
  if (known) {
    throw new TypeError(`WITH_STD must be "jsr" or "offline", got "${known}"`);
  }
  const found = await resolves() ? "jsr" : "offline";
  if (found === "offline") {
    console.error(
      "The @std packages cannot be had from JSR here: using the stand-ins in tools/offline",
    );
  }
  Deno.env.set("WITH_STD", found);
  return found;
}

/**
 * Loads the graph of the contract test, which imports every package. `info` is
 * the command that also tells of types out of reach, which a check would need.
 */
async function resolves(): Promise<boolean> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", `${offline}/contract_test.ts`],
    stderr: "null",
    signal: AbortSignal.timeout(PATIENCE),
  }).output();
  return success && !new TextDecoder().decode(stdout).includes('"error"');
}

/**
 * Stays alive until the child has shut down. A terminal sends Ctrl-C to the
 * child as well; from anywhere else it has to be passed on.
 */
function forwardSignals(child: Deno.ChildProcess): void {
  const forward = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // It has ended in the meantime.
    }
  };
  const shared = Deno.stdin.isTerminal() || Deno.build.os === "windows";
  Deno.addSignalListener("SIGINT", () => shared || forward("SIGINT"));
  if (Deno.build.os === "windows") return;
  Deno.addSignalListener("SIGTERM", () => forward("SIGTERM"));
}

if (import.meta.main) {
  try {
    Deno.exit(await runWithStd(Deno.args));
  } catch (error) {
    console.error(error instanceof TypeError ? error.message : error);
    Deno.exit(2);
  }
}
