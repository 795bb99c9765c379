/**
 * Tools for tests of what is built on this library: a simulated network with
 * simulated time, channels in memory, a clock that the test moves, a record of
 * hooks, and checks for channels of one's own.
 *
 * @module
 */

import "../core/runtime.ts";
import "../net/deno_network.ts";
export {
  type ChannelKind,
  checkChannel,
  type CheckChannelOptions,
  type MakeChannels,
} from "./check_channel.ts";
export type { DiskFaults } from "./disk_faults.ts";
export type { FaultEvent, FaultLevel, Faults } from "./faults.ts";
export { memoryPair, type MemoryPairOptions } from "./memory_pair.ts";
export { MockClock, type MockClockOptions } from "./mock_clock.ts";
export { type HookRecord, recordHooks } from "./record_hooks.ts";
export { shrink, type ShrinkOptions, type ShrinkResult } from "./shrink.ts";
export type { SimDisk } from "./sim_disk.ts";
export type { SimFile, SimFileInfo, SimFileMode } from "./sim_file.ts";
export type {
  SimFiles,
  SimFolderOptions,
  SimOpenOptions,
  SimWriteOptions,
} from "./sim_files.ts";
export type { CrashOptions, SimHost } from "./sim_host.ts";
export {
  type PartitionOptions,
  type RunOptions,
  SimNetwork,
  type SimNetworkOptions,
} from "./sim_network.ts";
export {
  type Scenario,
  simulate,
  type SimulateOptions,
  type SimulateResult,
} from "./simulate.ts";
export { SimulationError } from "./simulation_error.ts";
