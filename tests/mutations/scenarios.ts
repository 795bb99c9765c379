/**
 * What shows on a bad network: each is found by a scenario in simulated time.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const BULK = { test: "tests/long/scenarios/bulk_test.ts" };
const LINES = { test: "tests/long/scenarios/chat_lines_test.ts" };
const SMTP = {
  file: "examples/smtp_session.ts",
  test: "tests/long/scenarios/smtp_test.ts",
};
const CHAT = {
  file: "examples/chat_server.ts",
  test: "tests/long/scenarios/chat_test.ts",
};
const HTTP = {
  file: "examples/http_connection.ts",
  test: "tests/long/scenarios/http_test.ts",
};
const PROXY = {
  file: "examples/tcp_proxy.ts",
  test: "tests/long/scenarios/proxy_test.ts",
};
const LIMITS = { test: "tests/long/scenarios/limits_test.ts" };

export const SCENARIOS: Mutation[] = [
  {
    ...BULK,
    promise: "what a partial write leaves is sent",
    file: "core/writer.ts",
    from: "this.#start += length;\n    this.pending -= length;",
    to: "this.#start += asked;\n    this.pending -= asked;",
  },
  {
    ...BULK,
    promise: "close() sends what was accepted, also while connecting",
    file: "core/connection.ts",
    from: "      (this.#checked !== null || isConnecting);",
    to: "      this.#checked !== null;",
  },
  {
    promise: "a closed connection reads on until its peer has ended",
    file: "core/closing.ts",
    from: "    this.#inbound!.discard();\n    this.#inbound!.arm();",
    to: "    this.#inbound!.discard();",
    test: "tests/lingering_test.ts",
    filter: "reaches a peer that writes before it reads",
  },
  {
    ...BULK,
    promise: "a client that takes nothing is not read",
    file: "dispatcher.ts",
    from: "const isFull = this.bufferedAmount >= this.#highWaterMark;",
    to: "const isFull = this.bufferedAmount >= 10 * this.#highWaterMark;",
  },
  {
    ...BULK,
    promise: "what arrived before a reset is not taken for all",
    file: "core/reader.ts",
    from: "if (!this.closing) this.reason = error;",
    to: "",
  },
  {
    promise: "a peer that talks may go on after close(), whenever that comes",
    file: "core/closing.ts",
    from: "      this.#activeAt + linger,\n      this.#takenAt",
    to: "      this.#takenAt + linger,\n      this.#takenAt",
    test: "tests/closing_losses_test.ts",
    filter: "six linger times",
  },
  {
    ...LINES,
    promise: "a terminator that overlaps itself is found, however it is split",
    file: "chat/terminator.ts",
    from: "matched = this.#fallback[matched]!;",
    to: "matched = 0;",
  },
  {
    ...LINES,
    promise: "what is pushed after a producer waits for its end",
    file: "chat/async_chat.ts",
    from: "if (this.#queue.length === 0) endpoint.buffer(bytes);",
    to: "if (this.#queue.length < 2) endpoint.buffer(bytes);",
  },
  {
    ...LINES,
    promise: "an async hook holds back the next one",
    file: "chat/async_chat.ts",
    from: "if (isPromise(result)) return this.#parseAfter(endpoint, result);",
    to: "",
  },
  {
    ...LINES,
    promise: "the end waits for the producers",
    file: "chat/async_chat.ts",
    from:
      "if (this.#queue.length === 0) super.shutdownWrite();\n    else {\n      this.#endsWhenDone = true;",
    to: "{ this.#endsWhenDone = true; this.discardBuffers();",
  },
  {
    ...SMTP,
    promise: "a message is stored before it is acknowledged",
    from: "await file.save();",
    to: "file.save().catch(() => {});",
  },
  {
    ...SMTP,
    promise: "nothing is left of a message whose client has gone",
    from: "this.#message?.file.discard();",
    to: "",
  },
  {
    ...SMTP,
    promise: "a dot at the beginning of a line is undone",
    file: "examples/smtp.ts",
    from: "return isStuffed ? piece.subarray(1) : piece;",
    to: "return piece;",
  },
  {
    ...SMTP,
    promise: "only a line's first byte is a dot to undo, however it is split",
    file: "examples/smtp.ts",
    from: "this.#length === 0 && piece[0] === DOT",
    to: "piece[0] === DOT",
  },
  {
    ...SMTP,
    promise: "a lone dot ends a message, and no longer line does",
    file: "examples/smtp.ts",
    from: "this.#isStuffed && this.#length === 1",
    to: "this.#isStuffed",
  },
  {
    ...CHAT,
    promise: "whose connection breaks leaves the room",
    from: "override handleClose() {\n    this.#leave();",
    to: "override handleClose() {\n    this.close();",
  },
  {
    ...CHAT,
    promise: "nothing is said after /quit",
    from: 'if (command === "/quit") this.#leave();',
    to: 'if (command === "/quit") this.#room.dismiss(this, "has left");',
  },
  {
    ...CHAT,
    promise: "a slow reader misses nothing",
    from: "if (this.bufferedAmount < FURTHEST_BEHIND) this.push",
    to:
      "if (this.bufferedAmount > 0) return;\n    else if (this.bufferedAmount < FURTHEST_BEHIND) this.push",
  },
  {
    ...CHAT,
    promise: "the room does not wait for who does not read",
    from: "        if (guest !== speaker) guest.hear(line);",
    to:
      "        if (guest.bufferedAmount > 0) break;\n        if (guest !== speaker) guest.hear(line);",
  },
  {
    ...CHAT,
    promise: "everybody is let go at shutdown",
    from: '    this.hear("* The room is closing");\n    this.close();',
    to: '    this.hear("* The room is closing");',
  },
  {
    ...HTTP,
    promise: "a file is closed, also when its client is cut off",
    file: "chat/async_chat.ts",
    from: "      this.#cancelSources();\n    };",
    to: "    };",
  },
  {
    ...HTTP,
    promise: "an answer to HEAD has no body",
    from: 'if (request.method === "HEAD") yield head;',
    to: 'if (request.method === "head") yield head;',
  },
  {
    ...HTTP,
    promise: "a piece of a file that is short is not sent as a full one",
    from: "yield buffer.subarray(0, filled + length);",
    to: "yield buffer.slice(0, filled + room.length);",
  },
  {
    ...HTTP,
    promise: "a range ends where it was asked to",
    file: "examples/http_answer.ts",
    from: "Math.min(Number(last) + 1, size)",
    to: "Math.min(Number(last), size)",
  },
  {
    ...PROXY,
    promise: "the end of one direction is carried across",
    from: "override handleEnd() {\n    this.partner.shutdownWrite();",
    to: "override handleEnd() {",
  },
  {
    ...PROXY,
    promise: "who is not read does not fill the memory",
    from: "return this.partner.bufferedAmount < this.partner.highWaterMark;",
    to: "return true;",
  },
  {
    ...PROXY,
    promise: "both connections of a pair end together",
    from: "    this.partner.abort();\n    this.abort();",
    to: "    this.abort();",
  },
  {
    ...PROXY,
    promise: "one direction's end leaves the other",
    from: "super(conn, { allowHalfOpen: true });",
    to: "super(conn);",
  },
  {
    ...LIMITS,
    promise: "what is read counts against idleTimeout, on a bad network",
    file: "core/connection.ts",
    from:
      "    if (this.#deadlines !== null) this.#deadlines.touch();\n    if (this.#lastWords",
    to: "    if (this.#lastWords",
  },
  {
    ...LIMITS,
    promise: "a busy connection is silent for no longer than idleTimeout",
    file: "core/limits.ts",
    from: "        this.#waitIdle(rest);",
    to: "        this.#waitIdle(idleTimeout);",
  },
  {
    ...LIMITS,
    promise: "a lifetime ends, however busy the connection is",
    file: "core/limits.ts",
    from: 'events.startTimer(lifetime, () => events.expired("lifetime"));',
    to: "",
  },
  {
    ...LIMITS,
    promise: "a connect is given up in time",
    file: "core/connection.ts",
    from: "return this.#startTimer(connectTimeout, () => {",
    to: "return this.#startTimer(2 * connectTimeout, () => {",
  },
  {
    ...LIMITS,
    promise: "there are no more than maxConnections, on a bad network",
    file: "core/accepting.ts",
    from: "size >= this.#maxConnections",
    to: "size > this.#maxConnections",
  },
  {
    ...LIMITS,
    promise: "a connection that has ended makes room for the next",
    file: "core/accepting.ts",
    from: "        this.#open--;\n",
    to: "",
  },
  {
    ...LIMITS,
    promise: "shutdown() does not wait beyond its deadline, on a bad network",
    file: "core/shutdown.ts",
    from: "    this.#isLate = true;\n    this.#reactor.wake();",
    to: "    this.#reactor.wake();",
  },
  {
    ...LIMITS,
    promise: "shutdown() counts those that still send",
    file: "core/shutdown.ts",
    from: "    this.#connections = new Set(closingOf(reactor));",
    to: "    this.#connections = new Set();",
  },
];
