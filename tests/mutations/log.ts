/**
 * What reaches the log.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

export const LOG: Mutation[] = [
  {
    promise: "bidirectional controls of a peer never reach the log raw",
    file: "core/log.ts",
    from: "\\p{Zp}\\p{Bidi_Control}]",
    to: "\\p{Zp}]",
    test: "tests/log_injection_test.ts",
  },
  {
    promise: "control characters of a peer never reach the log raw",
    file: "core/log.ts",
    from: "/[\\p{Cc}\\p{Zl}",
    to: "/[\\p{Zl}",
    test: "tests/log_injection_test.ts",
  },
  {
    promise: "what a program logs of a peer is one harmless line",
    file: "core/log.ts",
    from: "return escapeHarmful(cut(`${message}`, LONGEST_LINE));",
    to: "return `${message}`;",
    test: "tests/log_injection_test.ts",
    filter: "log() and logInfo()",
  },
  {
    promise: "what a peer says does not fill the log",
    file: "core/log.ts",
    from: "text.length > limit ?",
    to: "text.length > limit && limit < 0 ?",
    test: "tests/log_injection_test.ts",
    filter: "cut what is too long",
  },
  {
    promise: "what a peer repeats costs a bounded number of lines",
    file: "core/log_quota.ts",
    from: "if (window.written < MOST_LINES) {",
    to: "if (window.written < Infinity) {",
    test: "tests/log_quota_test.ts",
  },
  {
    promise: "how many lines were left out is told when their time is over",
    file: "core/log_quota.ts",
    from: "    window.timer.startAt(window.end);\n",
    to: "",
    test: "tests/log_quota_test.ts",
    filter: "20 times in 10 s",
  },
  {
    promise: "how many lines were left out is told when the loop ends",
    file: "core/reactor.ts",
    from: "    if (this.idle) this.logQuota.flush();\n",
    to: "",
    test: "tests/log_quota_test.ts",
    filter: "when it ends",
  },
  {
    promise: "a loop that is called again and again tells it once in that time",
    file: "core/log_quota.ts",
    from: "if (window.isFlushed || window.leftOut === 0) continue;",
    to: "if (window.leftOut === 0) continue;",
    test: "tests/log_quota_test.ts",
    filter: "when it ends",
  },
  {
    promise: "where no loop runs, the next line tells how many were left out",
    file: "core/log_quota.ts",
    from: "if (before && this.#timers.now() >= before.end) this.#end",
    to: "if (before && this.#timers.now() < 0) this.#end",
    test: "tests/log_quota_test.ts",
    filter: "when it ends",
  },
  {
    promise: "the bytes lost with lines that were left out are counted",
    file: "core/log_quota.ts",
    from: "window.lost += line.lost ?? 0;",
    to: "",
    test: "tests/log_quota_test.ts",
    filter: "how many bytes were lost",
  },
  {
    promise: "lines that are ignored take no place from others",
    file: "dispatcher.ts",
    from: "    if (isIgnored(dispatcher, line)) return;\n",
    to: "",
    test: "tests/log_quota_test.ts",
    filter: "takes no line from the others",
  },
  {
    promise: "a logger that throws leaves its dispatcher as it is",
    file: "dispatcher.ts",
    from: "  reactor.outside(() => {\n    if (isIgnored",
    to: "  [0].forEach(() => {\n    if (isIgnored",
    test: "tests/bad_loggers_test.ts",
    filter: "logger throws at",
  },
  {
    promise: "a logInfo() that rejects does not end the process",
    file: "dispatcher.ts",
    from: "reactor.follow(write(dispatcher, line, message))",
    to: "void write(dispatcher, line, message)",
    test: "tests/bad_loggers_test.ts",
    filter: "logInfo() rejects",
  },
  {
    promise: "a thenable of a logger that throws is a rejection",
    file: "core/reactor.ts",
    from: "toPromise(result).then(undefined, (error) =>",
    to: "result.then(undefined, (error) =>",
    test: "tests/bad_loggers_test.ts",
    filter: "log() and logInfo() throw",
  },
  {
    promise: "a console that throws does not take the loop with it",
    file: "loop.ts",
    from: "        } catch {\n          // There is none.\n        }",
    to: "        } finally {\n          // There is none.\n        }",
    test: "tests/bad_loggers_test.ts",
    filter: "where the console throws",
  },
];
