/**
 * Tools for tests of what is built on this library: a simulated network with
 * simulated time, channels in memory, a clock that the test moves, a record of
 * hooks, and checks for channels of one's own.
 *
 * @module
 */

import "./runtime.ts";
export {
  type ChannelKind,
  checkChannel,
  type CheckChannelOptions,
  type MakeChannels,
} from "./testing/check_channel.ts";
export type { FaultEvent, FaultLevel, Faults } from "./testing/faults.ts";
export { memoryPair, type MemoryPairOptions } from "./testing/memory_pair.ts";
export { MockClock, type MockClockOptions } from "./testing/mock_clock.ts";
export { type HookRecord, recordHooks } from "./testing/record_hooks.ts";
export {
  shrink,
  type ShrinkOptions,
  type ShrinkResult,
} from "./testing/shrink.ts";
export type { SimDisk } from "./testing/sim_disk.ts";
export type { CrashOptions, SimHost } from "./testing/sim_host.ts";
export {
  type PartitionOptions,
  type RunOptions,
  SimNetwork,
  type SimNetworkOptions,
} from "./testing/sim_network.ts";
export {
  type Scenario,
  simulate,
  type SimulateOptions,
  type SimulateResult,
} from "./testing/simulate.ts";
export { SimulationError } from "./testing/simulation_error.ts";
