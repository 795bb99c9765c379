/**
 * What reaches the log.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

export const LOG: Mutation[] = [
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
    from: "return escapeHarmful(cut(`${message}`, LONGEST_LINE));",
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
