/**
 * Throws an error if the library cannot run on this runtime. Each entry imports
 * this module first, because the other modules use Deno as soon as they are loaded.
 *
 * @module
 */

/** The oldest Deno that the library runs on. */
const MAJOR = 2;
const MINOR = 7;

/** The global names by which runtimes differ. */
interface Runtime {
  Deno?: { version: { deno: string } };
  Bun?: { version: string };
  process?: { versions?: { node?: string } };
}

/** The name and version of a runtime that will not do; `null` if it will. */
function findOther(runtime: Runtime): string | null {
  const { Deno, Bun } = runtime;
  if (Deno) {
    const { deno } = Deno.version;
    const [major = 0, minor = 0] = deno.split(".").map(Number);
    const isOld = major < MAJOR || major === MAJOR && minor < MINOR;
    return isOld ? `Deno ${deno}` : null;
  }
  if (Bun) return `Bun ${Bun.version}`;
  // After the check for Deno: `process` makes Deno load Node's API, which takes 9 ms.
  const node = runtime.process?.versions?.node;
  return node ? `Node ${node}` : "another runtime";
}

const other = findOther(globalThis as Runtime);
if (other !== null) {
  throw new Error(
    `@asyncore/asyncore needs Deno ${MAJOR}.${MINOR} or later, and this is ${other}`,
  );
}
