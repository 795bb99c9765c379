/**
 * Peers that reset, use up descriptors, or talk no TLS.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const RESETS = { test: "tests/long/resets_test.ts" };
const DESCRIPTORS = {
  test: "tests/descriptors_test.ts",
  filter: "more clients than descriptors",
};
const HOSTILE = { test: "tests/long/hostile_tls_test.ts" };

export const PEERS: Mutation[] = [
  {
    ...RESETS,
    promise:
      "a client that resets before it is accepted does not end accepting",
    file: "core/errors.ts",
    from: '  ...["ENOTCONN", "ECONNRESET", "ECONNABORTED", "EINVAL"],\n' +
      '  ...["NotConnected", "ConnectionReset", "ConnectionAborted"],\n',
    to: "",
    filter: "Send outlives 300 clients that reset before",
  },
  {
    ...RESETS,
    promise: "a handshake that a reset breaks is counted",
    file: "core/accepting.ts",
    from: "}, () => this.clientsGone++).finally(() => {",
    to: "}).finally(() => {",
    filter:
      "Send outlives 300 clients that reset in the midst of their handshake",
  },
  {
    ...RESETS,
    promise: "a handshake that failed gives its descriptor back",
    file: "core/handshake.ts",
    from: "    closeQuietly(channel);\n    throw error;",
    to: "    throw error;",
    filter:
      "Send outlives 300 clients that reset in the midst of their handshake",
  },
  {
    ...RESETS,
    promise: "a reset is the end of a connection and no error",
    file: "core/errors.ts",
    from: '  ...["ECONNRESET", "ENOTCONN", "ESHUTDOWN", "ECONNABORTED", ' +
      '"EPIPE"],\n' +
      '  ...["ConnectionReset", "BrokenPipe", "ConnectionAborted", ' +
      '"NotConnected"],\n',
    to: "",
    filter: "Send outlives 300 clients that reset with an answer unread",
  },
  {
    ...RESETS,
    promise: "a TLS connection that ends without a word is at its end",
    file: "core/errors.ts",
    from: '  "UnexpectedEof",\n',
    to: "",
    filter: "Send outlives 300 clients that reset with bytes unread at both",
  },
  {
    ...RESETS,
    promise: "a connection that a reset ended gives its descriptor back",
    file: "core/connection.ts",
    from:
      "    if (channel) this.#closeChannel(channel);\n    this.reactor.lingering.add(this);",
    to: "    this.reactor.lingering.add(this);",
    filter:
      "Send outlives 300 clients that reset in the midst of what they send",
  },
  {
    ...RESETS,
    promise: "a producer whose client resets is asked to stop",
    file: "chat/producer_queue.ts",
    from: "      this.cancel();\n    };",
    to: "    };",
    filter:
      "AsyncChat outlives 300 clients that reset in the midst of what they are sent",
  },
  {
    ...RESETS,
    promise: "a reset is told to one that reads nothing because it sends",
    file: "core/connection.ts",
    from:
      "      if (this.joined) reactor.queue(this);\n      return;\n    }\n" +
      "    this.#deadlines?.touch();\n    if (outbound.pending",
    to: "      return;\n    }\n" +
      "    this.#deadlines?.touch();\n    if (outbound.pending",
    filter: "Send outlives 300 clients that reset with bytes unread at both",
  },
  {
    promise: "a closed connection lingers no longer than its peer's side",
    file: "core/closing.ts",
    from: "    } else if (this.#hasEnded) this.#onEnd();",
    to: "    }",
    test: "tests/nothing_lost_test.ts",
    filter: "ends the writing direction and reads what nobody wants",
  },
  {
    ...RESETS,
    promise: "what a reset took from a closed connection is said",
    file: "core/connection.ts",
    from: "      if (this.#isLossTold || outbound.error === null) return;",
    to: "      return;",
    filter: "Send outlives 300 clients that reset when it has closed",
  },
  {
    ...DESCRIPTORS,
    promise: "accepting is retried at most 20 times a second",
    file: "core/accepting.ts",
    from: "const LONGEST_PAUSE = 1_000;",
    to: "const LONGEST_PAUSE = 10;",
  },
  {
    ...DESCRIPTORS,
    promise: "descriptors that run out do not end accepting",
    file: "core/errors.ts",
    from: '  ...["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"],',
    to: '  ...["ENFILE", "ENOBUFS", "ENOMEM"],',
  },
  {
    ...DESCRIPTORS,
    promise: "accepting resumes by itself when there are descriptors again",
    file: "core/accepting.ts",
    from: "      this.busy = false;\n      this.arm();\n    });",
    to: "      this.busy = false;\n    });",
  },
  {
    ...DESCRIPTORS,
    promise: "descriptors that run out are warned of once",
    file: "core/rate_limited_warning.ts",
    from: "if (isOn === this.#isTold || this.#isWaiting) return;",
    to: "if (this.#isWaiting) return;",
  },
  {
    ...DESCRIPTORS,
    promise: "that accepting goes on is said",
    file: "core/accepting.ts",
    from: "    this.#exhausted.set(false);\n",
    to: "",
  },
  {
    ...DESCRIPTORS,
    promise: "a closed connection's descriptor serves the next client",
    file: "core/connection.ts",
    from:
      "    if (channel) this.#closeChannel(channel);\n    this.reactor.lingering.add(this);",
    to: "    this.reactor.lingering.add(this);",
  },
  {
    ...DESCRIPTORS,
    promise: "a hook that throws without descriptors does not end the process",
    file: "core/accepting.ts",
    from: "if (this.#pause === 0) exhaustion.listeners++;",
    to: "",
    filter: "survives a hook that throws",
  },
  {
    ...HOSTILE,
    promise: "a client of TLS is connected after the handshake, not before",
    file: "core/connection.ts",
    from: "          await this.#secure(checked);\n",
    to: "",
    filter: "DispatcherWithSend tells its secret to no server",
  },
  {
    ...HOSTILE,
    promise: "a client of TLS never talks plain",
    file: "net/deno_network.ts",
    from: "return tls ? await startTls(conn, hostname, tls) : conn;",
    to: "return conn;",
    filter: "that closes at once tells its secret to no server",
  },
  {
    ...HOSTILE,
    promise: "the certificate is checked for the host that was asked for",
    file: "net/deno_network.ts",
    from: "Deno.startTls(conn, { hostname, ...tls });",
    to: "Deno.startTls(conn, { hostname, ...tls, " +
      "unsafelyDisableHostnameVerification: true });",
    filter:
      "AsyncChat tells its secret to no server whose certificate is for another host",
  },
  {
    ...HOSTILE,
    promise: "a client of a TLS server is accepted after its handshake",
    file: "core/accepting.ts",
    from: "    if (checked.shakesHands) this.#secure(checked);\n" +
      "    else this.#waiting",
    to: "    this.#waiting",
    filter: "A TLS server accepts nobody who",
  },
  {
    ...HOSTILE,
    promise: "a client that drips its hello is given up",
    file: "core/handshake.ts",
    from: "const timer = timeout === Infinity ? null",
    to: "const timer = timeout < Infinity ? null",
    filter: "slowly, and serves the others",
  },
  {
    ...HOSTILE,
    promise:
      "a server that is silent behind its answer to STARTTLS is given up",
    file: "core/connection.ts",
    from: "    await this.#secure(checked);\n    this.#attach(checked);",
    to: "    await channel.handshake?.();\n    this.#attach(checked);",
    filter:
      "startTls() that is awaited tells nothing to a server that is silent",
  },
  {
    ...HOSTILE,
    promise: "what was forged in a TLS connection ends it as an error",
    file: "core/errors.ts",
    from: '  "UnexpectedEof",\n',
    to: '  "UnexpectedEof",\n  "InvalidData",\n',
    filter: "hears nothing that somebody puts into its TLS connection",
  },
  {
    ...HOSTILE,
    promise:
      "closeReason tells a TLS connection that was cut from one that ended",
    file: "core/reader.ts",
    from: "    if (!this.closing) this.reason = error;\n",
    to: "    if (!isDisconnect(error)) this.reason = error;\n",
    filter: "can tell a TLS connection that somebody cut",
  },
  {
    ...HOSTILE,
    promise:
      "what waited unencrypted does not pass for said in secret, in lines",
    file: "chat/collector.ts",
    from: "return isHeld || this.#at < this.#data.length;",
    to: "return isHeld;",
    filter:
      "AsyncChat.startTls() that is awaited tells nothing to a server that says more in the packet",
  },
  {
    ...HOSTILE,
    promise: "what waited unencrypted does not pass for said in secret",
    file: "core/connection.ts",
    from: "    if (inbound!.available > 0) return UNREAD;\n",
    to: "",
    filter:
      "DispatcherWithSend.startTls() that is awaited tells nothing to a server that says more in the packet",
  },
  {
    ...HOSTILE,
    promise: "a refused startTls() that nobody awaits lets out no secret",
    file: "core/connection.ts",
    from: "      if (obstacle === UNREAD) return this.refuseTls(error);\n",
    to: "",
    filter:
      "DispatcherWithSend.startTls() that is not awaited tells nothing to a server that says more in the packet",
  },
  {
    ...HOSTILE,
    promise: "what is said during startTls() waits for the handshake",
    file: "core/connection.ts",
    from: "    outbound.detach();\n    const upgrade",
    to: "    const upgrade",
    filter: "startTls() that is not awaited",
  },
  {
    ...HOSTILE,
    promise: "a failed startTls() is told although nobody awaits it",
    file: "core/connection.ts",
    from:
      "      outbound.fail(error);\n      if (this.joined) this.reactor.queue(this);\n    }));",
    to: "    }));",
    filter:
      "DispatcherWithSend.startTls() that is not awaited tells nothing to a server that goes on",
  },
];
