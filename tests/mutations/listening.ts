/**
 * Listening, connecting, and what is left when that fails.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

export const LISTENING: Mutation[] = [
  {
    promise: "a reusePort that Deno refuses does not end the process",
    file: "network.ts",
    from: "if (reusePort) checkReusePort();",
    to: "",
    test: "tests/socket_options_test.ts",
    filter: "without --unstable-net",
  },
  {
    promise: "an option that has no effect is refused",
    file: "dispatcher.ts",
    from: "options[name] !== undefined && options[name] !== false;",
    to: "options[name] === name;",
    test: "tests/socket_options_test.ts",
    filter: "createSocket() refuses",
  },
];
