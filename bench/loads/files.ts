/**
 * A file that is read, and one that is copied.
 *
 * @module
 */

import { FILES } from "../competitors.ts";
import { type Load, openSession } from "../load.ts";
import { Program } from "../program.ts";
import type { Sample } from "../stats.ts";

const MIB = 1_024 * 1_024;
const SIZE = 64 * MIB;

interface Copied {
  bytes: number;
  ms: number;
  cpu: number;
}

/** Has the program copy again and again, for some seconds. */
async function measureCopies(
  program: Program,
  order: string,
  seconds: number,
): Promise<Sample> {
  const total: Copied = { bytes: 0, ms: 0, cpu: 0 };
  do {
    const { bytes, ms, cpu }: Copied = JSON.parse(await program.ask(order));
    if (bytes !== SIZE) throw new Error(`It took ${bytes} of ${SIZE} bytes`);
    total.bytes += bytes;
    total.ms += ms;
    total.cpu += cpu;
  } while (total.ms < seconds * 1_000);
  const pieces = total.bytes / MIB;
  return { cpu: total.cpu / pieces, rate: pieces / total.ms * 1_000 };
}

/** 64 MiB, in whatever pieces the competitor takes. */
export const FILES_LOAD: Load = {
  id: "files",
  unit: "MiB",
  competitors: FILES,
  open: (competitor, bench) =>
    openSession(async (stack) => {
      const folder = await Deno.makeTempDir();
      stack.defer(() => Deno.remove(folder, { recursive: true }));
      const [source, target] = [`${folder}/source`, `${folder}/target`];
      await Deno.writeFile(source, new Uint8Array(SIZE).fill(1));
      // There is no client: both processors are for the program.
      const program = stack.use(new Program(bench.launchOf(competitor, false)));
      const measure = async (
        title: string,
        to: string | null,
        seconds: number,
      ) => {
        const order = JSON.stringify([source, to]);
        const sample = await measureCopies(program, order, seconds);
        return { title: `${title} a file of ${SIZE / MIB} MiB`, sample };
      };
      const both = async (seconds: number) => [
        await measure("Reading", null, seconds),
        await measure("Copying", target, seconds),
      ];
      await both(0); // Warms up.
      return () => both(bench.seconds);
    }),
};
