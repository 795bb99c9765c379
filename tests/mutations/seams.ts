/**
 * What a program brings along and may misbehave: channels, clocks, producers,
 * streams, files, and what a class overrides.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const CHANNEL = { test: "tests/misbehaving_channel_test.ts" };
const CLOCK = { test: "tests/misbehaving_clock_test.ts" };
const PRODUCER = { test: "tests/misbehaving_producer_test.ts" };
const STREAMS = { test: "tests/misbehaving_streams_test.ts" };
const FILE = { test: "tests/misbehaving_file_test.ts" };
const CLASS = { test: "tests/misbehaving_class_test.ts" };

export const SEAMS: Mutation[] = [
  {
    ...CHANNEL,
    promise: "a thenable that throws, or settles twice, does so once",
    file: "core/thenable.ts",
    from:
      "return isPlain ? promise : new Promise((resolve) => resolve(promise));",
    to: "return promise as Promise<T>;",
    filter: "read() misbehaves while it is open",
  },
  {
    ...CHANNEL,
    promise: "a write that rejects with what is no error is told",
    file: "core/channel.ts",
    from: "  if (reason instanceof Error) return reason;\n  const message",
    to: "  if (1) return reason as Error;\n  const message",
    filter: "write() misbehaves while it is open",
  },
  {
    ...CHANNEL,
    promise: "an error whose getters throw is an error like any other",
    file: "core/channel.ts",
    from:
      "    return false; // A getter of an error that the system has not made.",
    to: "    throw error;",
    filter: "read() misbehaves after close()",
  },
  {
    ...CHANNEL,
    promise: "a number of bytes that cannot be shown is an error",
    file: "core/writer.ts",
    from: "const taken = showValue(length);",
    to: "const taken = `${length}`;",
    filter: "write() misbehaves in shutdown()",
  },
  {
    ...CHANNEL,
    promise: "a closeWrite() that fails is told",
    file: "core/writer.ts",
    from:
      "    if (!isDisconnect(error) && !isUnsupported(error)) this.#onError(error);\n",
    to: "",
    filter: "closeWrite() misbehaves in shutdownWrite()",
  },
  {
    ...CHANNEL,
    promise: "bytes that were lost before close() are warned of",
    file: "core/connection.ts",
    from:
      "return this.outbound.failed && (this.#failureTold || this.hooks.hasClosed);",
    to: "return this.outbound.failed;",
    filter: "write() misbehaves after close()",
  },
  {
    ...CHANNEL,
    promise: "a handshake that does not end with its channel is given up",
    file: "core/handshake.ts",
    from: "    reject(new Deno.errors.TimedOut(message));",
    to: "    closeQuietly(channel);\n    void message;",
    filter: "handshake() misbehaves at connect() costs",
  },
  {
    ...CHANNEL,
    promise: "a channel is asked for its chunkSize once",
    file: "core/connection.ts",
    from: "    const { chunkSize } = this.#checked!;",
    to: "    const { chunkSize } = this.channel!;",
    filter: "chunkSize throws later",
  },
  {
    ...CLOCK,
    promise: "a clock that fails costs its own map",
    file: "core/checked_clock.ts",
    from:
      "return clock === systemClock ? clock : new CheckedClock(clock, tell);",
    to: "void tell;\n  return clock;",
    filter: "while no loop runs",
  },
  {
    ...CLOCK,
    promise: "a clock's error while no loop runs is told",
    file: "core/reactor.ts",
    from: "    if (this.isRunning) this.#exitWith(error);",
    to: "    if (this) this.#exitWith(error);",
    filter: "while no loop runs",
  },
  {
    ...CLOCK,
    promise: "a callback that comes at once waits for its turn",
    file: "core/checked_clock.ts",
    from: "    if (!this.isAsked) nextTurn(this.run);\n    else if",
    to: "    if",
    filter: "setTimeout() calls back at once",
  },
  {
    ...CLOCK,
    promise: "a turn that a clock refuses comes nevertheless",
    file: "core/checked_clock.ts",
    from: "this.#clock.setImmediate(call.run, isOverdue), call.run);",
    to: "this.#clock.setImmediate(call.run, isOverdue), () => {});",
    filter: "setImmediate() throws from the start",
  },
  {
    ...PRODUCER,
    promise: "a promise in the place of what an iterator gives is awaited",
    file: "chat/producer.ts",
    from: "    ? toPromise(given as PromiseLike<T>).then(goOn)\n",
    to: "    ? (given as Promise<T>).then(goOn)\n",
    filter: "more() misbehaves in the middle",
  },
  {
    ...PRODUCER,
    promise: "what the return() of an iterator rejects with concerns nobody",
    file: "chat/producer.ts",
    from: "        quietly(() => result);\n",
    to: "        void result;\n",
    filter: "misbehaves in return()",
  },
  {
    ...STREAMS,
    promise: "a chunk that was transferred is an error",
    file: "net/streams.ts",
    from:
      "  if (!((chunk as Uint8Array).buffer as ArrayBuffer).detached) return;",
    to: "  if (chunk) return;",
    filter: "transfer",
  },
  {
    ...STREAMS,
    promise: "an abort() that throws in the listener of a signal is caught",
    file: "net/streams.ts",
    from:
      "    reactor.outside(() => void reactor.follow(this.#dispatcher.abort()));",
    to: "    this.#dispatcher.abort();",
    filter: "whose abort() misbehaves ends the connection",
  },
  {
    ...FILE,
    promise: "a number of bytes that a file cannot have read is an error",
    file: "file_dispatcher.ts",
    from: "length === null || isCount(length, this.#buffer.length)",
    to: "length === null || isCount(length, Infinity)",
    filter: "read() misbehaves while it is open",
  },
  {
    ...FILE,
    promise: "what an async close() of a file rejects with concerns nobody",
    file: "file_dispatcher.ts",
    from:
      "    return this.#file.close(); // It may be async, against its type.",
    to: "    this.#file.close();",
    filter: "close() misbehaves",
  },
  {
    ...CLASS,
    promise: "a getter in the place of a method costs its own connection",
    file: "core/connection.ts",
    from: "      this.hooks.failForGood(error);\n      return null;",
    to: "      throw error;",
    filter: "getters throw while it is open",
  },
  {
    ...CLASS,
    promise: "a getter that throws while it is asked costs its own connection",
    file: "core/connection.ts",
    from: "      this.refuse(error);\n      return false;",
    to: "      throw error;",
    filter: "DispatcherWithSend whose getters throw while it is open",
  },
  {
    ...CLASS,
    promise: "shutdown() does not ask a class whether it listens",
    file: "core/shutdown.ts",
    from:
      "function isListener({ listens }: Entry): boolean {\n  return listens;",
    to:
      "function isListener({ pollable }: Entry): boolean {\n  return pollable.accepting;",
    filter: "in shutdown()",
  },
  {
    ...CLASS,
    promise: "using a dispatcher whose close() rejects ends no process",
    file: "dispatcher.ts",
    from: "    const isAsync = reactorOf(this.#map).follow(this.close());",
    to: "    const isAsync = void this.close();",
    filter: "using a Dispatcher",
  },
];
