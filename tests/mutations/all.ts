/**
 * What the tests must notice: each entry takes one protection out of the
 * library, and the test that stands for it has to fail. `deno task mutate`
 * tries them all.
 *
 * @module
 */

import { CLOSINGS } from "./closing.ts";
import { DATAGRAMS } from "./datagrams.ts";
import { ENDINGS } from "./endings.ts";
import { EXAMPLES } from "./examples.ts";
import { FILES } from "./files.ts";
import { HOOKS } from "./hooks.ts";
import { HOOK_ORDER } from "./hook_order.ts";
import { LIMITS } from "./limits.ts";
import { LISTENING } from "./listening.ts";
import { LOG } from "./log.ts";
import { MISUSE } from "./misuse.ts";
import type { Mutation } from "./mutation.ts";
import { PARSERS } from "./parsers.ts";
import { PEERS } from "./peers.ts";
import { SEAMS } from "./seams.ts";
import { SOAKED } from "./soak.ts";
import { SCENARIOS } from "./scenarios.ts";
import { TOOLS } from "./tools.ts";

/** All of them. */
export const MUTATIONS: readonly Mutation[] = [
  ...LIMITS,
  ...ENDINGS,
  ...CLOSINGS,
  ...HOOKS,
  ...HOOK_ORDER,
  ...LISTENING,
  ...LOG,
  ...MISUSE,
  ...DATAGRAMS,
  ...FILES,
  ...PARSERS,
  ...PEERS,
  ...SEAMS,
  ...SOAKED,
  ...SCENARIOS,
  ...TOOLS,
  ...EXAMPLES,
];
