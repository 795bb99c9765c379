/**
 * What the tests must notice: each entry takes one protection out of the
 * library, and the test that stands for it has to fail. `deno task mutate`
 * tries them all.
 *
 * @module
 */

/** One protection, and how to take it out. */
export interface Mutation {
  /** What is promised. */
  promise: string;
  /** The file that keeps the promise. */
  file: string;
  /** A text that stands in the file once … */
  from: string;
  /** … and what it becomes without the protection. */
  to: string;
  /** The test file that notices. */
  test: string;
  /** A part of the test's name; by default all tests of the file are run. */
  filter?: string;
}

const LIMITS: Mutation[] = [
  {
    promise: "a silent peer is cut at its idleTimeout",
    file: "deadlines.ts",
    from: "if (idleTimeout < Infinity) this.#waitIdle(idleTimeout);",
    to: "",
    test: "tests/limits_test.ts",
    filter: "idleTimeout ends a connection",
  },
  {
    promise: "what is read counts against idleTimeout",
    file: "endpoint.ts",
    from: "    this.#deadlines?.touch();\n    this.#lastWords?.cancel();",
    to: "    this.#lastWords?.cancel();",
    test: "tests/limits_test.ts",
    filter: "last byte that was read",
  },
  {
    promise: "what the peer takes counts against idleTimeout",
    file: "endpoint.ts",
    from: "    this.#deadlines?.touch();\n    if (outbound.pending <= this",
    to: "    if (outbound.pending <= this",
    test: "tests/limits_test.ts",
    filter: "last bytes that the peer took",
  },
  {
    promise: "our own silence does not count as the peer's",
    file: "endpoint.ts",
    from: 'if (kind === "idle" && this.hooks.pending) return;',
    to: "",
    test: "tests/limits_test.ts",
    filter: "while the promise of a hook is pending",
  },
  {
    promise: "a dripping peer is cut at its lifetime",
    file: "deadlines.ts",
    from: 'events.startTimer(lifetime, () => events.expired("lifetime"));',
    to: "",
    test: "tests/limits_test.ts",
    filter: "lifetime ends a peer that sends a byte a second",
  },
  {
    promise: "a dripping reader does not outlive its lifetime by lingering",
    file: "endpoint.ts",
    from: "if (isGoingOn && !this.#deadlines?.isOver) {",
    to: "if (isGoingOn) {",
    test: "tests/limits_test.ts",
    filter: "takes a byte a second",
  },
  {
    promise: "a busy connection costs the heap of timers nothing",
    file: "deadlines.ts",
    from: "    this.#activeAt = this.#events.now();\n  }",
    to: "    this.#activeAt = this.#events.now();\n" +
      "    this.#events.startTimer(1e9, () => {}).cancel();\n  }",
    test: "tests/limits_test.ts",
    filter: "among 10,000",
  },
  {
    promise: "a listener takes no more than maxConnections",
    file: "accepting.ts",
    from: "this.#closed || this.#isFull) return;",
    to: "this.#closed) return;",
    test: "tests/limits_test.ts",
    filter: "maxConnections stops accepting",
  },
  {
    promise: "a listener goes on below maxConnections",
    file: "accepting.ts",
    from: "        this.#open--;",
    to: "",
    test: "tests/limits_test.ts",
    filter: "maxConnections stops accepting",
  },
  {
    promise: "handshakes count for maxConnections",
    file: "accepting.ts",
    from: "this.#open + this.#waiting.length + size >=",
    to: "this.#open + this.#waiting.length >=",
    test: "tests/limits_test.ts",
    filter: "those at their handshake",
  },
  {
    promise: "a state that comes and goes does not fill the log",
    file: "alarm.ts",
    from: "const quiet = isOn ? this.#quietUntil - now() : 0;",
    to: "const quiet = 0 * this.#quietUntil * now();",
    test: "tests/limits_test.ts",
    filter: "maxConnections says once",
  },
  {
    promise: "a client that takes nothing is not read",
    file: "endpoint.ts",
    from: "if (!this.asks) this.#wantsRead = !this.isFull;",
    to: "",
    test: "tests/backpressure_test.ts",
    filter: "while its client takes nothing",
  },
  {
    promise: "one packet of many questions is not answered all at once",
    file: "async_chat.ts",
    from: "if (endpoint.isFull && this.#hasInput) {",
    to: "if (this.#hasInput && false) {",
    test: "tests/backpressure_test.ts",
    filter: "hands out no more lines",
  },
  {
    promise: "two ends of this library do not wait for one another",
    file: "dispatcher.ts",
    from:
      "bufferedAmount < highWaterMark || !endpointOf(dispatcher)?.isAccepted",
    to: "bufferedAmount < highWaterMark",
    test: "tests/backpressure_test.ts",
    filter: "of this side's making",
  },
  {
    promise: "input without a terminator is cut at maxLength",
    file: "async_chat.ts",
    from: "    if (room <= 0) {",
    to: "    if (room <= -1e9) {",
    test: "tests/async_chat_hooks_test.ts",
    filter: "handleOverflow() logs and closes",
  },
  {
    promise: "a TLS handshake ends at handshakeTimeout",
    file: "handshake.ts",
    from: "timeout === Infinity ? null",
    to: "timeout > 0 ? null",
    test: "tests/tls_test.ts",
    filter: "handshakeTimeout",
  },
  {
    promise: "silent TLS clients hold up the others for a second at most",
    file: "accepting.ts",
    from: "else closeQuietly(oldest); // Its handshake fails with it.",
    to: "",
    test: "tests/tls_test.ts",
    filter: "Silent clients beyond 256",
  },
  {
    promise: "connecting ends at connectTimeout",
    file: "endpoint.ts",
    from: "if (connectTimeout === Infinity) return null;",
    to: "if (connectTimeout > 0) return null;",
    test: "tests/connect_timeout_test.ts",
    filter: "connectTimeout ends an attempt",
  },
  {
    promise: "a TLS connect that is given up leaves nothing behind",
    file: "network.ts",
    from: "      if (tls?.cert) {",
    to: "      if (tls) {",
    test: "tests/connect_timeout_test.ts",
    filter: "real attempt over tls",
  },
];

const ENDINGS: Mutation[] = [
  {
    promise: "shutdown() aborts at its deadline",
    file: "shutdown.ts",
    from: ": clock.setTimeout(() => this.#onDeadline(), deadline);",
    to: ": clock.setTimeout(() => {}, deadline);",
    test: "tests/shutdown_test.ts",
    filter: "aborts at the deadline",
  },
  {
    promise: "shutdown() aborts connections that linger, too",
    file: "shutdown.ts",
    from: "[...reactor.members.values(), ...reactor.lingering]",
    to: "[...reactor.members.values()]",
    test: "tests/shutdown_test.ts",
    filter: "aborts at the deadline",
  },
  {
    promise: "shutdown() lets a hook finish what it is at",
    file: "endpoint.ts",
    from:
      "    this.hooks.whenSettled(() => {\n      if (!this.closed) this.hooks.run(",
    to: "    [0].forEach(() => {\n      if (!this.closed) this.hooks.run(",
    test: "tests/shutdown_test.ts",
    filter: "waits for the promise of a hook",
  },
  {
    promise: "shutdown() makes way for another loop",
    file: "reactor.ts",
    from: 'if (this.#driver === "owner") {',
    to: 'if (this.#driver !== "nobody") {',
    test: "tests/shutdown_test.ts",
    filter: "makes way",
  },
  {
    promise: "a peer that goes on talking has the last answer",
    file: "linger.ts",
    from: "const isWaiting = heard || mayGoOn;",
    to: "const isWaiting = heard;",
    test: "tests/lingering_test.ts",
    filter: "goes on talking",
  },
  {
    promise: "close() sends what was accepted",
    file: "endpoint.ts",
    from: "if (this.#options.linger > 0 && (unsent || this.#mayBeReset())) {",
    to: "if (this.#options.linger > 0 && this.#mayBeReset()) {",
    test: "tests/nothing_lost_test.ts",
  },
  {
    promise: "AsyncChat ends writing after its producers",
    file: "async_chat.ts",
    from: "if (this.#queue.length === 0) super.shutdownWrite();\n    else",
    to: "if (this.#queue.length >= 0) super.shutdownWrite();\n    else",
    test: "tests/async_chat_producer_test.ts",
    filter: "shutdownWrite",
  },
  {
    promise: "toStreams() works inside handleConnect()",
    file: "streams.ts",
    from: "if (endpoint.channel !== null) this.#connected.resolve();",
    to: "if (dispatcher.connected) this.#connected.resolve();",
    test: "tests/streams_test.ts",
    filter: "toStreams() in a handleConnect()",
  },
  {
    promise: "a slow reader has all that came before a write broke",
    file: "endpoint.ts",
    from:
      "if (this.waitsForReader && !this.#wantsRead && !inbound.ended) return false;",
    to: "",
    test: "tests/streams_test.ts",
    filter: "slow reader have all",
  },
];

const LOG: Mutation[] = [
  {
    promise: "bidirectional controls of a peer never reach the log raw",
    file: "log.ts",
    from: "\\p{Zp}\\p{Bidi_Control}]",
    to: "\\p{Zp}]",
    test: "tests/log_injection_test.ts",
  },
  {
    promise: "control characters of a peer never reach the log raw",
    file: "log.ts",
    from: "/[\\p{Cc}\\p{Zl}",
    to: "/[\\p{Zl}",
    test: "tests/log_injection_test.ts",
  },
  {
    promise: "what a program logs of a peer is one harmless line",
    file: "log.ts",
    from: "return cut(`${message}`, LONGEST_LINE).replace(HARMFUL, escape);",
    to: "return `${message}`;",
    test: "tests/log_injection_test.ts",
    filter: "log() and logInfo()",
  },
  {
    promise: "what a peer says does not fill the log",
    file: "log.ts",
    from: "text.length > limit ?",
    to: "text.length > limit && limit < 0 ?",
    test: "tests/log_injection_test.ts",
    filter: "cut what is too long",
  },
];

const FILES: Mutation[] = [
  {
    promise: "FIFOs leave threads for files and names",
    file: "blocking_reads.ts",
    from: "export const MOST_BLOCKING_READS = 24;",
    to: "export const MOST_BLOCKING_READS = 1_000;",
    test: "tests/files_in_trouble_test.ts",
    filter: "40 FIFOs",
  },
  {
    promise: "a FIFO is told from a file without a prompt",
    file: "blocking_reads.ts",
    from: "    seekSync.call(file, 0, Deno.SeekMode.Current);\n",
    to: "    if ((file as Deno.FsFile).statSync().isFifo) throw 0;\n",
    test: "tests/files_in_trouble_test.ts",
    filter: "could bring a prompt",
  },
];

/** All of them. */
export const MUTATIONS: readonly Mutation[] = [
  ...LIMITS,
  ...ENDINGS,
  ...LOG,
  ...FILES,
];
