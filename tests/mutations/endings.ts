/**
 * Endings in good order, in which nothing is lost.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

export const ENDINGS: Mutation[] = [
  {
    promise: "shutdown() aborts at its deadline",
    file: "core/shutdown.ts",
    from: ": clock.setTimeout(() => this.#onDeadline(), deadline);",
    to: ": clock.setTimeout(() => {}, deadline);",
    test: "tests/shutdown_test.ts",
    filter: "aborts at the deadline",
  },
  {
    promise: "shutdown() aborts connections that linger, too",
    file: "core/shutdown.ts",
    from: "for (const entry of [...reactor.lingering]) entry.abort(reason);",
    to: "",
    test: "tests/shutdown_test.ts",
    filter: "aborts at the deadline",
  },
  {
    promise: "shutdown() lets a hook finish what it is at",
    file: "core/connection.ts",
    from: "    if (this.hooks.mayRun) tell();\n    else this.whenMay(tell);",
    to: "    tell();",
    test: "tests/shutdown_test.ts",
    filter: "waits for the promise of a hook",
  },
  {
    promise: "shutdown() makes way for another loop",
    file: "core/reactor.ts",
    from: 'if (this.#driver === "owner") {',
    to: 'if (this.#driver !== "nobody") {',
    test: "tests/shutdown_test.ts",
    filter: "makes way",
  },
  {
    promise: "a peer that goes on talking has the last answer",
    file: "core/closing.ts",
    from: "        if (!channel.isLocal) return;\n",
    to: "",
    test: "tests/lingering_test.ts",
    filter: "goes on talking",
  },
  {
    promise: "close() sends what was accepted",
    file: "core/connection.ts",
    from: "if (linger === 0 || !(isUnsent || this.#mayBeReset)) {",
    to: "if (linger === 0 || !this.#mayBeReset) {",
    test: "tests/nothing_lost_test.ts",
  },
  {
    promise: "a half-closed client gets all that closeWhenDone() promised",
    file: "core/connection.ts",
    from: "      (allowHalfOpen || this.#isFinishing);",
    to: "      allowHalfOpen;",
    test: "tests/half_closed_client_test.ts",
  },
  {
    promise: "an end that closeWhenDone() passed over is told when it is off",
    file: "core/connection.ts",
    from: "if (isTaken && !this.#options.allowHalfOpen) this.#endTold = false;",
    to: "",
    test: "tests/half_closed_client_test.ts",
    filter: "takes closeWhenDone() back",
  },
  {
    promise: "what a hook sends behind the end is not for the next connection",
    file: "core/socket_slot.ts",
    from: 'isCloseDone || this.#socket?.phase === "created"',
    to: 'this.#socket?.phase === "created"',
    test: "tests/reconnect_test.ts",
    filter: "does nothing to the next one",
  },
  {
    promise: "what a hook sends behind the end is no error of a new socket",
    file: "core/socket_slot.ts",
    from: 'isCloseDone || this.#socket?.phase === "created"',
    to: "isCloseDone",
    test: "tests/reconnect_test.ts",
    filter: "SlowToClose",
  },
  {
    promise:
      "closeWhenDone() behind the end does not close the next connection",
    file: "chat/async_chat.ts",
    from: "if (endpoint !== this.#begin()) return;\n    this.#closesWhenDone",
    to: "this.#begin();\n    this.#closesWhenDone",
    test: "tests/reconnect_test.ts",
    filter: "closeWhenDone() behind the end",
  },
  {
    promise: "the end of writing does not wait for what was discarded",
    file: "chat/async_chat.ts",
    from: "this.#pump(endpoint); // The end of writing may be due.",
    to: "this.#watch(endpoint);",
    test: "tests/discard_buffers_test.ts",
    filter: "after shutdownWrite() ends the writing",
  },
  {
    promise: "a connection with nothing left to send is given up in the making",
    file: "core/closing.ts",
    from: "if (!outbound.failed && channel?.endsWriting) {",
    to: "if (!outbound.failed && channel!.endsWriting) {",
    test: "tests/discard_buffers_test.ts",
    filter: "gives a connection up",
  },
  {
    promise: "AsyncChat ends writing after its producers",
    file: "chat/async_chat.ts",
    from: "if (this.#output.length === 0) super.shutdownWrite();\n    else",
    to: "if (this.#output.length >= 0) super.shutdownWrite();\n    else",
    test: "tests/async_chat_producer_test.ts",
    filter: "shutdownWrite",
  },
  {
    promise: "toStreams() works inside handleConnect()",
    file: "net/to_streams.ts",
    from: "if (endpoint.channel !== null) this.#connected.resolve();",
    to: "if (dispatcher.connected) this.#connected.resolve();",
    test: "tests/streams_test.ts",
    filter: "toStreams() in a handleConnect()",
  },
  {
    promise: "a slow reader has all that came before a write broke",
    file: "core/connection.ts",
    from:
      "if (this.waitsForReader && !this.#wantsRead && !inbound.ended) return false;",
    to: "",
    test: "tests/streams_test.ts",
    filter: "slow reader have all",
  },
];
