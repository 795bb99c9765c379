/**
 * Says in one sentence what is missing where the library cannot run. Each entry
 * imports this module before all others, which touch Deno as they are loaded.
 *
 * @module
 */

/** The oldest Deno that the library runs on. */
const MAJOR = 2;
const MINOR = 7;

/** How a runtime can be told from the others. */
interface Runtime {
  Deno?: { version: { deno: string } };
  Bun?: { version: string };
  process?: { versions?: { node?: string } };
}

/** What runs this instead, with its version; nothing where it will do. */
function findOther(runtime: Runtime): string | null {
  const { Deno, Bun } = runtime;
  if (Deno) {
    const { deno } = Deno.version;
    const [major = 0, minor = 0] = deno.split(".").map(Number);
    const isOld = major < MAJOR || major === MAJOR && minor < MINOR;
    return isOld ? `Deno ${deno}` : null;
  }
  if (Bun) return `Bun ${Bun.version}`;
  // Not before: to ask for it makes Deno load what Node has, which takes 9 ms.
  const node = runtime.process?.versions?.node;
  return node ? `Node ${node}` : "another runtime";
}

const other = findOther(globalThis as Runtime);
if (other !== null) {
  throw new Error(
    `@asyncore/asyncore needs Deno ${MAJOR}.${MINOR} or later, and this is ${other}`,
  );
}
