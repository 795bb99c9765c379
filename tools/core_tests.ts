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
import { modulesFrom, read } from "../tests/modules.ts";
import { engineFlags, runWithStd } from "./with_std.ts";

const root = dirname(import.meta.dirname!);

/** Files about the repository itself, which needs a Deno of its own. */
const OF_REPOSITORY =
  /^(?:bench_.*|count_calls|readme|runtime|structure|tasks)_test/;

/** Long tests. All but the first differ by the engine, and run on the second one. */
const LONG = [
  "tests/long/hook_matrix_test.ts",
  "tests/long/hostile_peers_test.ts",
  "tests/long/hostile_tls_test.ts",
  "tests/long/resets_test.ts",
];
const isOnEpoll = engineFlags([]).length > 0;

/** Tests that were not made to run on a Deno that old: FIFOs hang there. */
const TOO_NEW = /^(?:epoll_|sim_|escape_table_|datagram_)/;
const isOld = /^2\.[0-8]\./.test(Deno.version.deno);

/** Tests that need no engine: those of simulations, and of their tools. */
const WITHOUT_ENGINE =
  /^(?:sim_|simulate_|shrink_|escape_table_|check_|mock_clock_|memory_pair_)/;

/** Whether a file of tests is about an example: it imports one, or starts one. */
function isOfExample(path: string): boolean {
  return /Child\.(?:start|serve)\(/.test(read(path)) ||
    modulesFrom(path).some((module) => module.startsWith("examples/"));
}

const files = Array.from(Deno.readDirSync(`${root}/tests`), ({ name }) => name)
  .filter((name) => name.endsWith("_test.ts") && !OF_REPOSITORY.test(name))
  .filter((name) => !(isOnEpoll && WITHOUT_ENGINE.test(name)))
  .filter((name) => !(isOld && TOO_NEW.test(name)))
  .map((name) => `tests/${name}`)
  .concat(isOnEpoll ? LONG : LONG.slice(0, 1))
  .filter((path) => !isOfExample(path))
  .sort()
  .map((path) => `${root}/${path}`);
const flags = ["-A", "--no-check", "--no-config", "--unstable-net"];
Deno.exit(await runWithStd(["test", ...flags, ...files]));
