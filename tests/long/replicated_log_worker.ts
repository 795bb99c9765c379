/**
 * Runs the replicated log under the seeds that it is sent: the replicated log's
 * test has several such workers at a time.
 */

import { simulate } from "../../testing/mod.ts";
import { FAULTS, logScenario } from "../replicated_log_scenario.ts";

const scope = self as unknown as Worker;

scope.onmessage = async ({ data: seeds }) => {
  const result = await simulate({ seeds, faults: FAULTS }, logScenario())
    .catch((error) => error.message);
  scope.postMessage(result);
};
