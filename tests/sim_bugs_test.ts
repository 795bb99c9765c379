import { assert, assertMatch, assertRejects } from "@std/assert";
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
  byChannel,
  KeepsTheTail,
  keepsTheTail,
  LinesAreMessages,
  LosesTheTail,
  losesTheTail,
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
  message: RegExp;
}

const SLOW: Faults = { stall: 0.02, split: 0.3, partial: 0.2 };

const BUGS: readonly Bug[] = [
  {
    name: "one recv() is taken for one message",
    faults: "mild",
    wrong: recordsArrive(OneRecvIsOneMessage),
    right: recordsArrive(LinesAreMessages),
    hidesOnAGoodNetwork: true,
    message: /Got \["record 0".*, expected \["record 0"/,
  },
  {
    name: "what send() did not take is lost",
    faults: SLOW,
    wrong: allArrives(() => new LosesTheTail()),
    right: allArrives(() => new KeepsTheTail()),
    hidesOnAGoodNetwork: true,
    message: /Got \d+, expected 400000/,
  },
  {
    name: "what write() did not take is lost",
    faults: SLOW,
    wrong: allArrives(byChannel(losesTheTail)),
    right: allArrives(byChannel(keepsTheTail)),
    hidesOnAGoodNetwork: false,
    message: /Got \d+, expected 400000/,
  },
  {
    name: "what is acknowledged is not stored yet",
    faults: "harsh",
    wrong: acknowledgedIsStored(AcknowledgesFirst),
    right: acknowledgedIsStored(StoresFirst),
    hidesOnAGoodNetwork: false,
    message: /Got \["record \d+"\], expected \[\]/,
  },
  {
    name: "a peer that never answers is waited for",
    faults: "harsh",
    wrong: allAreAnswered(Infinity),
    right: allAreAnswered(3_000),
    hidesOnAGoodNetwork: true,
    message: /After 60000 simulated ms it is not true that/,
  },
];

for (const bug of BUGS) {
  const { name, faults, wrong, right, message, hidesOnAGoodNetwork } = bug;
  Deno.test(`simulate() finds the bug within ${SEEDS} seeds: ${name}`, async () => {
    const error = await assertRejects(
      () => simulate({ seeds: SEEDS, faults }, wrong),
      SimulationError,
    );
    console.log(error.message.split("\n", 1)[0]!.slice(0, 100));
    assertMatch(error.message, message);
    assert(error.seed <= SEEDS);
  });

  if (hidesOnAGoodNetwork) {
    Deno.test(`A good network hides the bug: ${name}`, async () => {
      await simulate({ seeds: 20 }, wrong);
    });
  }

  Deno.test(`simulate() lets the correct program pass ${SEEDS} seeds: not "${name}"`, async () => {
    await simulate({ seeds: SEEDS, faults }, right);
  });
}
