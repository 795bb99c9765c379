/**
 * One hook at a time, in a map, and an `ExitNow` that changes nothing; and an
 * empty map that ends the loop.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const ORDER = "tests/hook_order_test.ts";
const EXIT = "tests/exit_state_test.ts";
const EMPTY = "tests/empty_map_test.ts";
const MOVING = "tests/moving_test.ts";

export const HOOK_ORDER: Mutation[] = [
  {
    promise: "handleClose() runs once",
    file: "core/hooks.ts",
    from: 'if (target.closed || this.#close !== "due") return;',
    to: "if (target.closed) return;",
    test: "tests/nothing_lost_test.ts",
    filter: "handleClose() runs once, whichever",
  },
  {
    promise: "a new socket waits for the hook that made it",
    file: "core/hooks.ts",
    from:
      "    if (++this.#pending === 1 && this.#successor) this.#holdSuccessor();\n",
    to: "    ++this.#pending;\n",
    test: ORDER,
    filter: "setSocket() in its async handleRead()",
  },
  {
    promise: "a new socket waits for a hook that is pending already",
    file: "core/hooks.ts",
    from: "    if (this.#pending > 0) this.#holdSuccessor();\n",
    to: "",
    test: ORDER,
    filter: "made elsewhere while a hook is pending",
  },
  {
    promise: "handleClose() waits for a pending handleEnd()",
    file: "core/connection.ts",
    from: ".then(() => this.whenMay(() => this.hooks.closeForGood()));",
    to: ".then(() => this.hooks.closeForGood());",
    test: ORDER,
    filter:
      "handleEnd() is pending hears of nothing else, though both sides end",
  },
  {
    promise: "handleShutdown() of a new socket waits for the hook that made it",
    file: "core/hooks.ts",
    from: "return !this.isBusy && this.#former === null;",
    to: "return !this.isBusy;",
    test: ORDER,
    filter: "handleShutdown() of a new socket",
  },
  {
    promise: "the time outside of a map does not count as idle",
    file: "core/connection.ts",
    from: "    if (!this.joined) this.#deadlines?.touch();\n",
    to: "",
    test: ORDER,
    filter: "has its idle time anew",
  },
  {
    promise: "handleTimeout() comes in a map only",
    file: "core/connection.ts",
    from: "    if (this.joined && !this.held) tell();",
    to: "    if (!this.held) tell();",
    test: ORDER,
    filter: "is back that it is idle",
  },
  {
    promise: "the end of a lifetime is heard of in a map only",
    file: "core/connection.ts",
    from: "this.whenMay(() => hooks.inAnyCase(tell, end), true);",
    to: "hooks.inAnyCase(tell, end);",
    test: ORDER,
    filter: "is back that its lifetime is over",
  },
  {
    promise: "handleClose() comes in a map only",
    file: "core/hooks.ts",
    from: "    if (!target.joined && !target.closed) {\n",
    to: "    if (target === null) {\n",
    test: ORDER,
    filter: "leaves its map in handleError()",
  },
  {
    promise: "what came outside of a map is told in the next one",
    file: "core/connection.ts",
    from: "if (this.#outcome || this.outbound.failed || this.#due) {",
    to: "if (this.outbound.failed) {",
    test: ORDER,
    filter: "is back that",
  },
  {
    promise: "the last bytes are read after a hook in which the write broke",
    file: "core/connection.ts",
    from: "    if (broken && this.#wantsRead) this.#inbound!.arm();\n",
    to: "",
    test: "tests/nothing_lost_test.ts",
    filter: "broke while a hook was pending",
  },
  {
    promise: "an ExitNow from handleTimeout() starts the idle time anew",
    file: "core/limits.ts",
    from:
      '      try {\n        this.#events.expired("idle");\n      } finally { // One that stays open has another idle time, also after an ExitNow.\n        this.#waitIdle(idleTimeout);\n      }',
    to:
      '      this.#events.expired("idle");\n      this.#waitIdle(idleTimeout);',
    test: EXIT,
    filter: "handleTimeout() that leaves all",
  },
  {
    promise: "an ExitNow from handleRead() leaves no deaf dispatcher",
    file: "core/connection.ts",
    from:
      "    try {\n      this.hooks.run(READ);\n    } finally { // An ExitNow must not leave a deaf dispatcher behind.\n      if (!this.held && this.joined) this.#goOnReading();\n    }",
    to:
      "    this.hooks.run(READ);\n    if (!this.held && this.joined) this.#goOnReading();",
    test: EXIT,
    filter: "handleRead() that leaves all",
  },
  {
    promise: "an ExitNow from handleAccepted() leaves its connection open",
    file: "core/dispatcher_hooks.ts",
    from: "  if (!(error instanceof ExitNow)) closeQuietly(conn);",
    to: "  closeQuietly(conn);",
    test: "tests/exit_now_test.ts",
    filter: "to whoever took it",
  },
  {
    promise: "a lifetime goes on by the clock of the next map",
    file: "core/limits.ts",
    from: "    this.#end += change;\n",
    to: "",
    test: MOVING,
    filter: "1000000 ms more leaves the rest of the lifetime",
  },
  {
    promise: "an idle time begins anew by the clock of the next map",
    file: "core/limits.ts",
    from: "this.#activeAt = this.#events.now() + change;",
    to: "void change;",
    test: MOVING,
    filter: "begins the idle time anew",
  },
  {
    promise: "a map that the last dispatcher leaves ends the wait",
    file: "core/reactor.ts",
    from:
      "    if (this.members.size === 0) this.#takeReaders(Infinity);\n    this.activity++;\n    this.#resumeWait();",
    to:
      "    if (this.members.size === 0) this.#takeReaders(Infinity);\n    this.activity++;",
    test: EMPTY,
    filter: "leaves during the wait",
  },
  {
    promise: "the end of the last lingering connection ends the wait",
    file: "core/reactor.ts",
    from: "    if (this.#endsIdle && this.idle) this.#resumeWait();",
    to: "",
    test: EMPTY,
    filter: "last lingering connection",
  },
  {
    promise: "poll() sleeps though its map became empty",
    file: "core/reactor.ts",
    from: "    this.#endsIdle = endsIdle;",
    to: "    this.#endsIdle = true;",
    test: EMPTY,
    filter: "waits on though a lingering connection ends",
  },
  {
    promise: "a pass that finds newcomers without news waits",
    file: "core/reactor.ts",
    from:
      "      this.#fresh.delete(entry);\n      if (!this.#has(entry)) continue;",
    to: "      if (!this.#has(entry)) continue;",
    test: EMPTY,
    filter: "whole timeout after listen()",
  },
  {
    promise: "a startTls() that nobody awaits does not end the process",
    file: "core/tls_request.ts",
    from: "  refusal.catch(() => {\n    const hooks",
    to: "  void (() => {\n    const hooks",
    test: "tests/start_tls_test.ts",
    filter: "is told in a warning",
  },
];
