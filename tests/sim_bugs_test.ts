import { assertRejects } from "@std/assert";
import {
  type FaultLevel,
  type Faults,
  type Scenario,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import {
  allArrives,
  isAnswered,
  keepsTheTail,
  LinesAreMessages,
  losesTheTail,
  OneRecvIsOneMessage,
  recordsArrive,
} from "./sim_bugs.ts";

const SEEDS = 200;

interface Bug {
  name: string;
  faults: Faults | FaultLevel;
  wrong: Scenario;
  right: Scenario;
  /** What the scenario says of it. */
  message: string;
}

const BUGS: readonly Bug[] = [
  {
    name: "one recv() is taken for one message",
    faults: "mild",
    wrong: recordsArrive(OneRecvIsOneMessage),
    right: recordsArrive(LinesAreMessages),
    message: "other records arrive",
  },
  {
    name: "what write() did not take is lost",
    faults: { split: 0.3, partial: 0.02 },
    wrong: allArrives(losesTheTail),
    right: allArrives(keepsTheTail),
    message: "the tail is lost",
  },
  {
    name: "a peer that never answers is waited for",
    faults: "harsh",
    wrong: isAnswered(Infinity),
    right: isAnswered(3_000),
    message: "After 60000 simulated ms it is not true that",
  },
];

for (const { name, faults, wrong, right, message } of BUGS) {
  Deno.test(`simulate() finds within ${SEEDS} seeds what a good network hides: ${name}`, async () => {
    await assertRejects(
      () => simulate({ seeds: SEEDS, faults }, wrong),
      SimulationError,
      message,
    );
    await simulate({ seeds: 20 }, wrong);
  });

  Deno.test(`simulate() lets the correct program pass ${SEEDS} seeds: not "${name}"`, async () => {
    await simulate({ seeds: SEEDS, faults }, right);
  });
}
