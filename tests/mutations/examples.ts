/**
 * How the example programs are called, how they end, and what they refuse.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const HTTP = { test: "tests/http_request_test.ts" };

export const EXAMPLES: Mutation[] = [
  {
    ...HTTP,
    promise: "chunked is the last coding, and there once",
    file: "examples/http_request.ts",
    from: 'if (codings.indexOf("chunked") !== codings.length - 1) {',
    to: 'if (codings.at(-1) !== "chunked") {',
    filter: "codings",
  },
  {
    ...HTTP,
    promise: "a chunk's extension has a name",
    file: "examples/http_request.ts",
    from: "[ \\\\t]*;[ \\\\t]*${NAME}(?:",
    to: "[ \\\\t]*;[ \\\\t]*(?:${NAME})?(?:",
    filter: "extensions",
  },
  {
    ...HTTP,
    promise: "no answer is older than the file that it has",
    file: "examples/http_answer.ts",
    from: "new Date(Math.min(changed, now))",
    to: "new Date(changed)",
    filter: "later than its own",
  },
  {
    ...HTTP,
    promise: "a year of two digits is at most fifty years from now",
    file: "examples/http_date.ts",
    from: "Date.parse(date) > limit.getTime()",
    to: "false",
    filter: "three forms",
  },
];
