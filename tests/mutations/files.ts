/**
 * Files that never answer.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

export const FILES: Mutation[] = [
  {
    promise: "FIFOs leave threads for files and names",
    file: "core/blocking_threads.ts",
    from: "export const MOST_READS = 20;",
    to: "export const MOST_READS = 1_000;",
    test: "tests/files_in_trouble_test.ts",
    filter: "40 FIFOs",
  },
  {
    promise: "a FIFO is told from a file without a prompt",
    file: "core/blocking_threads.ts",
    from: "    seekSync.call(file, 0, Deno.SeekMode.Current);\n",
    to: "    if ((file as Deno.FsFile).statSync().isFifo) throw 0;\n",
    test: "tests/files_in_trouble_test.ts",
    filter: "could bring a prompt",
  },
];
