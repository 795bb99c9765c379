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
  {
    promise: "a connection is closed whose TLS cannot start",
    file: "network.ts",
    from: "    closeQuietly(conn);\n    throw error;",
    to: "    throw error;",
    test: "tests/tls_names_test.ts",
    filter: "leaves no connection open",
  },
  {
    promise: "an empty name does not pass for localhost",
    file: "dispatcher.ts",
    from: 'if (!endpoint.closed && hostname === "") {',
    to: 'if (hostname === ".") {',
    test: "tests/tls_names_test.ts",
    filter: 'with the name "" ends',
  },
];
