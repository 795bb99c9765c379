import { assertRejects } from "@std/assert";
import {
  type FaultLevel,
  type Faults,
  type Scenario,
  simulate,
  SimulationError,
} from "../testing/mod.ts";
import {
  acknowledgedIsStored,
  AcknowledgesFirst,
  allAreAnswered,
  allArrives,
  KeepsTheTail,
  LinesAreMessages,
  LosesTheTail,
  OneRecvIsOneMessage,
  recordsArrive,
  StoresFirst,
} from "./sim_bugs.ts";

const SEEDS = 200;

interface Bug {
  name: string;
  faults: Faults | FaultLevel;
  wrong: Scenario;
  right: Scenario;
  hidesOnAGoodNetwork: boolean;
  /** What the scenario says of it. */
  message: string;
}

const BUGS: readonly Bug[] = [
  {
    name: "one recv() is taken for one message",
    faults: "mild",
    wrong: recordsArrive(OneRecvIsOneMessage),
    right: recordsArrive(LinesAreMessages),
    hidesOnAGoodNetwork: true,
    message: "other records arrive",
  },
  {
    name: "what send() did not take is lost",
    faults: { stall: 0.02, split: 0.3, partial: 0.2 },
    wrong: allArrives(LosesTheTail),
    right: allArrives(KeepsTheTail),
    hidesOnAGoodNetwork: true,
    message: "the tail is lost",
  },
  {
    name: "what is acknowledged is not stored yet",
    faults: "harsh",
    wrong: acknowledgedIsStored(AcknowledgesFirst),
    right: acknowledgedIsStored(StoresFirst),
    hidesOnAGoodNetwork: false,
    message: "records are not stored",
  },
  {
    name: "a peer that never answers is waited for",
    faults: "harsh",
    wrong: allAreAnswered(Infinity),
    right: allAreAnswered(3_000),
    hidesOnAGoodNetwork: true,
    message: "After 60000 simulated ms it is not true that",
  },
];

for (const bug of BUGS) {
  const { name, faults, wrong, right, message, hidesOnAGoodNetwork } = bug;
  Deno.test(`simulate() finds the bug within ${SEEDS} seeds: ${name}`, async () => {
    await assertRejects(
      () => simulate({ seeds: SEEDS, faults }, wrong),
      SimulationError,
      message,
    );
    if (hidesOnAGoodNetwork) await simulate({ seeds: 20 }, wrong);
  });

  Deno.test(`simulate() lets the correct program pass ${SEEDS} seeds: not "${name}"`, async () => {
    await simulate({ seeds: SEEDS, faults }, right);
  });
}
