/**
 * How a connection ends, and when the system has its address back.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const CLOSING = "tests/closing_test.ts";
const LOSSES = "tests/closing_losses_test.ts";
const FREE = "tests/closed_is_free_test.ts";
const OWN = "tests/own_close_test.ts";

export const CLOSINGS: Mutation[] = [
  {
    promise: "a closed connection reads on until its peer has ended",
    file: "core/closing.ts",
    from: "    this.#inbound!.discard();\n    this.#inbound!.arm();",
    to: "    this.#inbound!.discard();",
    test: "tests/nothing_lost_test.ts",
    filter: "reads what nobody wants",
  },
  {
    promise: "a peer that talks after close() has everything",
    file: "core/closing.ts",
    from: "        if (!channel.isLocal) return;\n",
    to: "",
    test: CLOSING,
    filter: "close() over IPv4",
  },
  {
    promise: "a peer that goes on talking after close() has time",
    file: "core/closing.ts",
    from:
      "    if (this.#isFinished) return;\n    const { clock } = this.#options;\n    this.#activeAt = clock.now();\n",
    to:
      "    if (this.#isFinished) return;\n    const { clock } = this.#options;\n",
    test: CLOSING,
    filter: "closeAll() over TLS",
  },
  {
    promise: "a peer that talks without end is cut",
    file: "core/closing.ts",
    from: "this.#takenAt + MOST_LINGERS * linger,",
    to: "Infinity,",
    test: LOSSES,
    filter: "six linger times",
  },
  {
    promise: "a peer that is cut while it talks is told of",
    file: "core/closing.ts",
    from:
      "this.isCut = this.#hasEnded && clock.now() < this.#talkedAt + linger;",
    to: "void clock, linger;",
    test: LOSSES,
    filter: "six linger times",
  },
  {
    promise: "a quiet peer that keeps its side open is not told of",
    file: "core/closing.ts",
    from: "#talkedAt = -Infinity;",
    to: "#talkedAt = Infinity;",
    test: LOSSES,
    filter: "gives a quiet peer a linger time",
  },
  {
    promise: "a reset behind the peer's end is noticed",
    file: "core/closing.ts",
    from: "        await channel.write(NO_BYTES);",
    to: "",
    test: LOSSES,
    filter: "resets after all was sent, over IPv4",
  },
  {
    promise: "a reset of a closed connection is told, and counted",
    file: "core/connection.ts",
    from: "return this.outbound.written > 0 && isReset(this.#inbound?.reason);",
    to: "return false;",
    test: LOSSES,
    filter: "tells of a reset that a read brings",
  },
  {
    promise: "Unix sockets wait for no peer's end",
    file: "core/channel.ts",
    from: 'isLocal: transport === "unix" || transport === "unixpacket" ||',
    to: "isLocal:",
    test: LOSSES,
    filter: "over a Unix socket",
  },
  {
    promise: "a memoryPair() waits for no peer's end",
    file: "core/channel.ts",
    from: "transport === undefined && gentleChannels.has(channel),",
    to: "      false,",
    test: LOSSES,
    filter: "over a memoryPair()",
  },
  {
    promise: "channelFrom() gives a connection back as it is",
    file: "net/streams.ts",
    from: "return isChannel(streams) ? streams : new StreamChannel(streams);",
    to: "return new StreamChannel(streams);",
    test: LOSSES,
    filter: "channelFrom() of a connection",
  },
  {
    promise: "a linger of 0 says that it is why bytes were dropped",
    file: "core/writer.ts",
    from: "    if (!this.closing) this.fail(failureOf(",
    to: "    this.fail(failureOf(",
    test: LOSSES,
    filter: "a linger of 0 drops what was not sent",
  },
  {
    promise: "a linger of 0 says so of a connect, too",
    file: "core/connection.ts",
    from: "      if (!this.#isReleased) this.#connectFailed(",
    to: "      this.#connectFailed(",
    test: LOSSES,
    filter: "waits for its connect",
  },
  {
    promise: "shutdown() says what an open connection lost at its deadline",
    file: "core/connection.ts",
    from: "this.#isLossTold = reason === null || this.#hasHeardOfFailure;",
    to: "this.#isLossTold = true;",
    test: LOSSES,
    filter: "says at its deadline",
  },
  {
    promise: "startTls(), send(), close() lets out what was sent",
    file: "core/connection.ts",
    from: "    this.#closing?.attach(checked, this.#inbound);",
    to: "",
    test: LOSSES,
    filter: "right after startTls()",
  },
  {
    promise: "an address is free when loop() has returned",
    file: "core/connection.ts",
    from: "    if (accepting) this.#track(accepting.whenClosed());\n",
    to: "",
    test: FREE,
    filter: "shutdown() over IPv4",
  },
  {
    promise: "an address is free when poll() has returned",
    file: "loop.ts",
    from:
      "    await reactor.pass(timeout, false);\n  } finally {\n    if (reactor.releasing.size > 0) await reactor.released();\n",
    to: "    await reactor.pass(timeout, false);\n  } finally {\n",
    test: FREE,
    filter: "in a hook, once poll() has returned over",
  },
  {
    promise: "an address is free when an ExitNow has left loop()",
    file: "loop.ts",
    from:
      "    reactor.throwExit();\n  } finally {\n    if (reactor.releasing.size > 0) await reactor.released();\n",
    to: "    reactor.throwExit();\n  } finally {\n",
    test: FREE,
    filter: "close() and an ExitNow in a hook over Unix",
  },
  {
    promise: "an address is free in the next timer",
    file: "core/reactor.ts",
    from: "if (this.addressesHeld.size > 0 && this.timers.nextDue <= now)",
    to: "if (this.addressesHeld.size < 0)",
    test: FREE,
    filter: "of a busy map over",
  },
  {
    promise: "an address is free when shutdown() has returned at its deadline",
    file: "core/shutdown.ts",
    from: "      await reactor.released();\n",
    to: "",
    test: FREE,
    filter: "in a process with --unstable-net",
  },
  {
    promise: "an attempt to connect is given up at close()",
    file: "core/connection.ts",
    from: "    this.outbound.closing = true;\n    this.#attempt?.abort();\n",
    to: "    this.outbound.closing = true;\n",
    test: FREE,
    filter: "close() while connecting",
  },
  {
    promise: "an operation that nobody ends holds loop() for a linger time",
    file: "core/connection.ts",
    from: "clock.setTimeout(() => this.#freed(), linger);",
    to: "clock.setTimeout(() => this.#freed(), 0);",
    test: FREE,
    filter: "wait a linger time for a connect",
  },
  {
    promise: "a close() of one's own runs once",
    file: "core/hooks.ts",
    from: "    if (hasRun) {\n",
    to: "    if (hasRun === null) {\n",
    test: OWN,
    filter: "whose handleClose() calls it is closed",
  },
  {
    promise: "an async close() of one's own is waited for",
    file: "core/hooks.ts",
    from: "      this.#follow(result, () => target.closeAnyway(), (error) => {",
    to:
      "      target.close();\n      this.#follow(result, () => target.closeAnyway(), (error) => {",
    test: OWN,
    filter: "say goodbye after an await",
  },
  {
    promise: "a class that forgets super.close() is told of once",
    file: "dispatcher.ts",
    from: "    if (forgetful.has(this.constructor)) return;\n",
    to: "",
    test: OWN,
    filter: "whose close() does nothing is closed",
  },
  {
    promise: "timers of a dispatcher without a socket end with it",
    file: "dispatcher.ts",
    from: "    this.#endpoint?.close();\n    this.#timers?.end();\n",
    to: "    this.#endpoint?.close();\n",
    test: "tests/timers_test.ts",
    filter: "without a socket is cancelled by close()",
  },
];
