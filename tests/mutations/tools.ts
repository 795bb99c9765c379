/**
 * The tools for tests: time, channels in memory, records of hooks.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const CLOCK: Mutation[] = [
  {
    promise: "timeouts of the same time run in the order of setting",
    file: "testing/mock_clock.ts",
    from: "entry[1].due < next[1].due",
    to: "entry[1].due <= next[1].due",
    test: "tests/mock_clock_test.ts",
    filter: "in the order of setting",
  },
  {
    promise: "mocked time never goes back",
    file: "testing/mock_clock.ts",
    from: "this.#now = Math.max(this.#now, end);",
    to: "this.#now = end;",
    test: "tests/mock_clock_test.ts",
    filter: "never goes back",
  },
  {
    promise: "a timeout is reacted to before the next one runs",
    file: "testing/mock_clock.ts",
    from: "while (this.#jump(end)) await turns();",
    to: "while (this.#jump(end));",
    test: "tests/mock_clock_test.ts",
    filter: "happen before the next",
  },
  {
    promise: "mocked time does not jump while something happens",
    file: "testing/mock_clock.ts",
    from: "if (this.#activity !== before || this.#advancing > 0) continue;",
    to: "if (this.#advancing > 0) continue;",
    test: "tests/mock_clock_test.ts",
    filter: "while a conversation goes on",
  },
  {
    promise: "mocked time does not jump while a hook is at work",
    file: "testing/mock_clock.ts",
    from: "const TURNS = 12;",
    to: "const TURNS = 1;",
    test: "tests/mock_clock_test.ts",
    filter: "of a few turns",
  },
  {
    promise: "mocked time does not jump while advance() moves it",
    file: "testing/mock_clock.ts",
    from: " || this.#advancing > 0",
    to: "",
    test: "tests/mock_clock_test.ts",
    filter: "leaves the time to advance()",
  },
  {
    promise: "mocked time does not jump to where there is nothing",
    file: "testing/mock_clock.ts",
    from: "this.#jump(Number.MAX_VALUE)",
    to: "this.#jump(Infinity)",
    test: "tests/mock_clock_test.ts",
    filter: "that never comes",
  },
  {
    promise: "a loop that waits in vain in mocked time ends",
    file: "testing/mock_clock.ts",
    from: "this.#autojump && this.#now > this.#limit",
    to: "this.#autojump && this.#now > 1e9",
    test: "tests/mock_clock_test.ts",
    filter: "what does not come",
  },
  {
    promise: "the threshold counts from the last pass of the loop",
    file: "testing/mock_clock.ts",
    from: "    this.#activity++;\n    return this.#now;",
    to: "    return this.#now;",
    test: "tests/mock_clock_test.ts",
    filter: "waits for sockets",
  },
  {
    promise: "the threshold leaves no timer behind",
    file: "testing/mock_clock.ts",
    from: "if (this.#timeouts.size === 0) this.#endWait();",
    to: "",
    test: "tests/mock_clock_test.ts",
    filter: "no real timer",
  },
];

const RECORDS: Mutation[] = [
  {
    promise: "recording makes no class one that is asked in each pass",
    file: "testing/record_hooks.ts",
    from: "  if (kind) ownMethods.set(recorder, kind);\n",
    to: "",
    test: "tests/record_hooks_test.ts",
    filter: "what the loop asks",
  },
  {
    promise: "a record shows what an instance has put over its class",
    file: "testing/record_hooks.ts",
    from:
      "if (before) Object.defineProperty(dispatcher, name, before);\n    else ",
    to: "",
    test: "tests/record_hooks_test.ts",
    filter: "leaves no trace",
  },
  {
    promise: "recordings end in any order",
    file: "testing/record_hooks.ts",
    from: "if (isOn) note(args);",
    to: "note(args);",
    test: "tests/record_hooks_test.ts",
    filter: "in any order",
  },
  {
    promise: "the end of a recording takes away only what it has put there",
    file: "testing/record_hooks.ts",
    from: "if (Reflect.get(dispatcher, name) !== recorder) return;",
    to: "",
    test: "tests/record_hooks_test.ts",
    filter: "put in its place",
  },
  {
    promise: "a recorded dispatcher gives its streams",
    file: "net/to_streams.ts",
    from: "ownMethods.has(dispatcher[name])",
    to: "dispatcher[name] === Dispatcher.prototype[name]",
    test: "tests/record_hooks_test.ts",
    filter: "free for toStreams()",
  },
  {
    promise: "a hook that does not exist is not counted as never called",
    file: "testing/record_hooks.ts",
    from: "if (names.includes(hook)) {",
    to: "if (hook) {",
    test: "tests/record_hooks_test.ts",
    filter: "what is wrong",
  },
];

const CHANNELS: Mutation[] = [
  {
    promise: "a channel in memory copies what it is given",
    file: "testing/memory_pair.ts",
    from: "new Uint8Array(writer.data.subarray(0, most))",
    to: "writer.data.slice(0, most)",
    test: "tests/memory_pair_test.ts",
    filter: "a Buffer too",
  },
  {
    promise: "a channel in memory has only so much room",
    file: "testing/memory_pair.ts",
    from: "const room = this.#capacity - this.#bytes;",
    to: "const room = Infinity;",
    test: "tests/memory_pair_test.ts",
    filter: "lets writes wait",
  },
  {
    promise: "a channel in memory forgets no operation for another",
    file: "testing/memory_pair.ts",
    from: 'if (this.#writer !== null) reject(busyError("write"));\n      else ',
    to: "",
    test: "tests/memory_pair_test.ts",
    filter: "while one is pending",
  },
  {
    promise: "a write to a FIFO settles when it is closed",
    file: "file_dispatcher.ts",
    from: "    this.#interrupt();\n",
    to: "",
    test: "tests/long/channel_conformance_test.ts",
    filter: "FIFO",
  },
  {
    promise: "a check of a channel ends though all goes on by promises alone",
    file: "testing/check_channel_flow.ts",
    from:
      "    await turn(); // The check's own timeout must have its chance.\n",
    to: "",
    test: "tests/long/check_channel_test.ts",
    filter: "takes bytes for ever",
  },
  {
    promise: "checkChannel() closes what it has checked",
    file: "testing/check_channel.ts",
    from: "      for (const channel of channels) closeQuietly(channel);\n",
    to: "",
    test: "tests/long/check_channel_test.ts",
    filter: "closes both",
  },
];

const ELSEWHERE: Mutation[] = [
  {
    promise: "a soak of no time is refused",
    file: "tests/soak.ts",
    from: "if (minutes > 0) return minutes;",
    to: "if (minutes >= 0) return minutes;",
    test: "tests/tasks_test.ts",
    filter: "deno task soak says",
  },
  {
    promise: "each fault of a simulation is listed once",
    file: "testing/faults.ts",
    from: "...new Set([...Object.keys(LEVELS.harsh), ...TIMES]),",
    to: "...Object.keys(LEVELS.harsh), ...TIMES,",
    test: "tests/simulate_test.ts",
    filter: "names each fault once",
  },
  {
    promise: "the tests of the repository refuse a Deno that is too old",
    file: "tools/with_std.ts",
    from: ">= 0) return;",
    to: "!== null) return;",
    test: "tests/tasks_test.ts",
    filter: "which Deno",
  },
  {
    promise: "a run of no mutation says so",
    file: "tools/mutate.ts",
    from: "if (chosen.length === 0) {",
    to: "if (false) {",
    test: "tests/tasks_test.ts",
    filter: "nothing has",
  },
  {
    promise: "a timeout that runs although it was cleared leaves no other",
    file: "core/reactor.ts",
    from: "    this.#disarm();\n    if (this.#resume === null) return;\n",
    to: "    this.#timerId = undefined;\n    this.#timerDue = NaN;\n" +
      "    if (this.#resume === null) return;\n",
    test: "tests/loop_test.ts",
    filter: "leaves no timeout behind",
  },
  {
    promise: "imports lead from net/ to no other room of its rank",
    file: "net/deno_network.ts",
    from: 'import { listenUnix } from "./unix_listener.ts";\n',
    to: 'import { listenUnix } from "./unix_listener.ts";\n' +
      'import "../chat/terminator.ts";\n',
    test: "tests/structure_test.ts",
    filter: "only the rooms that theirs may",
  },
  {
    promise: "a class that grows beyond its bounds is seen",
    file: "chat/collector.ts",
    from: "  #plainTo = 0;\n",
    to: "  #plainTo = 0;\n" + "  a = 0;\n".repeat(25),
    test: "tests/structure_test.ts",
    filter: "Library files have at most",
  },
  {
    promise: "the library says what it needs before it touches what is missing",
    file: "mod.ts",
    from: 'import "./core/runtime.ts";\n',
    to: "",
    test: "tests/runtime_test.ts",
    filter: "in another runtime",
  },
  {
    promise: "the library refuses a Deno that is too old",
    file: "core/runtime.ts",
    from: "minor < MINOR",
    to: "minor < 0",
    test: "tests/runtime_test.ts",
    filter: "in Deno 2.6.10",
  },
  {
    promise: "a simulation needs no Temporal",
    file: "testing/sim_globals.ts",
    from: "if (globalThis.Temporal) replace(",
    to: "replace(",
    test: "tests/runtime_test.ts",
    filter: "needs no Temporal",
  },
];

export const TOOLS: Mutation[] = [
  ...CLOCK,
  ...RECORDS,
  ...CHANNELS,
  ...ELSEWHERE,
];
