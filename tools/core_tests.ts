/**
 * Runs the tests of the library itself, on whatever Deno runs this:
 *
 *     npx -y deno@2.7.1 task test:core
 *
 * The library runs on an older Deno than this repository, whose `deno.json`
 * such a Deno does not understand. So the tests run without it, and those of
 * the examples and of the repository are left out.
 *
 * @module
 */

import { dirname } from "node:path";
import { runWithStd } from "./with_std.ts";

const root = dirname(import.meta.dirname!);

/** Files that need the examples, or the repository's own Deno. */
const OTHERS =
  /^(?:bench|chat_server|examples|http|readme|replicated|runtime|smtp|stream_pipeline|structure|tasks|tcp_proxy)/;

const files = Array.from(Deno.readDirSync(`${root}/tests`), ({ name }) => name)
  .filter((name) => name.endsWith("_test.ts") && !OTHERS.test(name))
  .map((name) => `${root}/tests/${name}`)
  .concat(`${root}/tests/long/hook_matrix_test.ts`)
  .sort();

const flags = ["-A", "--no-check", "--no-config", "--unstable-net"];
Deno.exit(await runWithStd(["test", ...flags, ...files]));
