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
  {
    promise: "a bind() that fails in a constructor keeps no loop going",
    file: "endpoint.ts",
    from:
      'if (this.phase === "created" || this.phase === "bound") this.#unbind();',
    to: "",
    test: "tests/failed_sockets_test.ts",
    filter: "keeps no loop going",
  },
  {
    promise: "a bind() that succeeds at last is back in the map",
    file: "endpoint.ts",
    from: "if (this.#hasFailed) this.join(this.reactor);",
    to: "",
    test: "tests/failed_sockets_test.ts",
    filter: "is back in the map",
  },
  {
    promise: "a constructor checks before anything joins the map",
    file: "dispatcher.ts",
    from:
      "const highWaterMark = markOf(options);\n    super(channel, options);\n    this.#highWaterMark = highWaterMark;",
    to: "super(channel, options);\n    this.#highWaterMark = markOf(options);",
    test: "tests/failed_sockets_test.ts",
    filter: "new DispatcherWithSend()",
  },
  {
    promise: "what a network connects is checked",
    file: "endpoint.ts",
    from: "received(asChannel, name, channel);",
    to: "channel;",
    test: "tests/misbehaving_network_test.ts",
    filter: "connect() fails where",
  },
  {
    promise: "what a listener accepts is checked",
    file: "accepting.ts",
    from: 'received(asChannel, "The connection", value)',
    to: "value as Channel",
    test: "tests/misbehaving_network_test.ts",
    filter: "ends its listener",
  },
  {
    promise: "what a network refuses is closed",
    file: "channel.ts",
    from: "    closeQuietly(value as T);\n",
    to: "",
    test: "tests/misbehaving_network_test.ts",
    filter: "fails where the network gives",
  },
  {
    promise: "a close() that fails late ends nothing",
    file: "channel.ts",
    from: "Promise.resolve(closed).catch(() => {});",
    to: "void closed;",
    test: "tests/misbehaving_network_test.ts",
    filter: "may fail: it rejects",
  },
  {
    promise: "a connection that ended through its stream is not counted",
    file: "watch_close.ts",
    from: "        closeQuietly(channel);\n        controller.close();",
    to: "        controller.close();",
    test: "tests/max_connections_test.ts",
    filter: "read to its end (IPv4)",
  },
  {
    promise: "maxConnections sees the streams of its connections",
    file: "watch_close.ts",
    from: "if (name in channel) {",
    to: 'if (name === "close") {',
    test: "tests/max_connections_test.ts",
    filter: "pipeTo() from one stream to the other (IPv4)",
  },
  {
    promise: "a connection that turned into a TLS one still counts",
    file: "endpoint.ts",
    from: "    inheritClose(this.channel!, channel);\n",
    to: "",
    test: "tests/max_connections_test.ts",
    filter: "until the end of its TLS, which stands",
  },
  {
    promise: "a Unix listener leaves its successor's path alone",
    file: "unix_listener.ts",
    from: "    this.spare();\n    leaving.add(this);",
    to: "    leaving.add(this);",
    test: "tests/unix_paths_test.ts",
    filter: "successor that has taken it",
  },
  {
    promise: "a successor may take a Unix path right behind close()",
    file: "unix_listener.ts",
    from: "for (const former of leaving) former.spare();",
    to: "",
    test: "tests/unix_paths_test.ts",
    filter: "takes it behind close()",
  },
  {
    promise: "no path comes back that a successor has left",
    file: "unix_listener.ts",
    from: "if (isSame(former.#successor, this.#own)) former.#forget();",
    to: "",
    test: "tests/unix_paths_test.ts",
    filter: "brings no path back",
  },
];
