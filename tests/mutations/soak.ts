/**
 * What the soak must notice by itself, and what it has found.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const SOAK = { test: "tests/soak/brief.ts" };

export const SOAKED: Mutation[] = [
  {
    ...SOAK,
    promise: "a soak notices a tail that is lost when a write takes a part",
    file: "core/writer.ts",
    from: "    this.#start += length;\n    this.pending",
    to: "    length = asked;\n    this.#start += length;\n    this.pending",
  },
  {
    ...SOAK,
    promise: "a soak notices a byte that is lost in reading",
    file: "core/reader.ts",
    from: "      this.#end += length;",
    to: "      this.#end += length > 1_000 ? length - 1 : length;",
  },
  {
    ...SOAK,
    promise: "a soak notices a buffer that is used again too early",
    file: "core/reader.ts",
    from: "new Uint8Array(this.#buffer!.subarray(from, from + length))",
    to: "this.#buffer!.subarray(from, from + length)",
  },
  {
    ...SOAK,
    promise: "a soak notices a buffer that is freed before it is written",
    file: "core/writer.ts",
    from: "    this.#writingTo = this.#end;",
    to: "    this.#writingTo = this.#end;\n    giveBuffer(this.#buffer);",
  },
  {
    ...SOAK,
    promise: "a soak notices a dispatcher that is left in the map",
    file: "core/reactor.ts",
    from: "    this.members.delete(entry.pollable);",
    to: "    if (this.activity % 500) this.members.delete(entry.pollable);",
  },
  {
    ...SOAK,
    promise: "a soak notices a timer that is left",
    file: "core/timers.ts",
    from: "    for (const timer of this.#timers ?? []) timer.cancel();",
    to: "",
  },
  {
    ...SOAK,
    promise: "a soak notices a timeout of the runtime that is left",
    file: "core/closing.ts",
    from: "    this.#options.clock.clearTimeout(this.#timer);\n",
    to: "",
  },
  {
    ...SOAK,
    promise: "a soak notices a descriptor that is left open",
    file: "core/connection.ts",
    from:
      "    if (channel) this.#closeChannel(channel);\n    this.reactor.lingering.add(this);",
    to:
      "    if (channel) this.#closeChannel(channel);\n    if (channel) Deno.openSync('/dev/null');\n    this.reactor.lingering.add(this);",
  },
  {
    ...SOAK,
    promise: "a soak notices a heap that grows",
    file: "core/connection.ts",
    from: "  #leave(): void {",
    to: "  static readonly kept: unknown[] = [];\n  #leave(): void {\n" +
      "    Endpoint.kept.push(this);",
  },
  {
    ...SOAK,
    promise: "a soak notices a hook's error that ends the loop",
    file: "core/hooks.ts",
    from: "  #failHard(error: unknown): void {",
    to: "  #failHard(error: unknown): void {\n    throw error;",
  },
  {
    ...SOAK,
    promise: "a soak notices a hook that runs after close()",
    file: "core/reactor.ts",
    from: "    entry.joined = false;",
    to: "    entry.joined = this.activity % 50 === 0;",
  },
  {
    ...SOAK,
    promise: "a soak notices a silent peer that is not cut",
    file: "core/limits.ts",
    from: "if (idleTimeout < Infinity) this.#waitIdle(idleTimeout);",
    to: "",
  },
  {
    promise: "closeWhenDone() in the midst of a message is its end",
    file: "chat/async_chat.ts",
    from: "    this.#closesWhenDone = true;\n    this.#forgetInput();\n",
    to: "    this.#closesWhenDone = true;\n",
    test: "tests/async_chat_send_test.ts",
    filter: "hands out no terminator",
  },
  {
    promise: "a newcomer that is broken is read before that is told",
    file: "core/connection.ts",
    from: "this.held || this.#interest === null) return;",
    to: "this.held) return;",
    test: "tests/nothing_lost_test.ts",
    filter: "before the loop has looked at it",
  },
  {
    promise: "a busy thread reads what has come before it gives up",
    file: "core/connection.ts",
    from: "          clock.setImmediate(() =>\n" +
      "            clock.setImmediate(() => this.reactor.queue(this))\n" +
      "          ),",
    to: "          this.reactor.queue(this) ?? clock,",
    test: "tests/nothing_lost_test.ts",
    filter: "as the wait for them ends",
  },
  {
    promise: "an ExitNow beside one that moves leaves nobody unheard",
    file: "core/reactor.ts",
    from: "visitAll(entries, () => this.#ready, (entry)",
    to:
      "const next = this.#ready;\n      visitAll(entries, () => next, (entry)",
    test: "tests/exit_now_test.ts",
    filter: "in which another has moved",
  },
  {
    promise: "a connection that stands as it is given up is closed",
    file: "core/network.ts",
    from: "  deaf.throwIfAborted = () => {};\n",
    to: "",
    test: "tests/connect_timeout_test.ts",
  },
];
