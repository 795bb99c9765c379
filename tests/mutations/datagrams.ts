/**
 * Datagrams, and sockets for them that misbehave.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const TROUBLE = "tests/datagram_trouble_test.ts";

export const DATAGRAMS: Mutation[] = [
  {
    promise: "what was received from a Node Buffer is the caller's own",
    file: "net/datagram_channel.ts",
    from: "data: new Uint8Array(data),",
    to: "data: data.slice(),",
    test: TROUBLE,
    filter: "Node Buffer",
  },
  {
    promise: "a socket that receives what is no datagram is closed",
    file: "net/datagram_channel.ts",
    from: '  checkBytes("The data of receive()", data);\n',
    to: "",
    test: TROUBLE,
    filter: "receive() resolves with text",
  },
  {
    promise: "a socket that refuses for ever does not take all time",
    file: "net/datagram_channel.ts",
    from: "if (refusals < MOST_REFUSALS) clock",
    to: "if (refusals < Infinity) clock",
    test: TROUBLE,
    filter: "refuses for ever",
  },
  {
    promise: "the pause after refusals ends with close()",
    file: "net/datagram_channel.ts",
    from: "    this.#endPause();\n",
    to: "",
    test: TROUBLE,
    filter: "ends the pause",
  },
  {
    promise: "a socket that cannot receive is not deaf without a word",
    file: "net/datagram_channel.ts",
    from: "cause instanceof Error && !isUnsupported(cause);",
    to: "cause instanceof Error;",
    test: TROUBLE,
    filter: "no such direction elsewhere",
  },
  {
    promise: "an async close() of a socket that rejects ends no process",
    file: "net/datagram_channel.ts",
    from: "    return this.#socket.close(); // It",
    to: "    this.#socket.close(); // It",
    test: TROUBLE,
    filter: "close() rejects",
  },
  {
    promise: "a loss that handleError() had no turn for is logged",
    file: "net/datagram_dispatcher.ts",
    from: "endpoint.onEnd = () => this.#logLosses();",
    to: "",
    test: TROUBLE,
    filter: "had no turn for",
  },
  {
    promise: "datagrams without bytes are not queued without end",
    file: "net/datagram_dispatcher.ts",
    from: "if (endpoint.outbound.pending >= ROOM &&",
    to: "if (length > 0 && endpoint.outbound.pending >= ROOM &&",
    test: TROUBLE,
    filter: "without bytes without end",
  },
  {
    promise: "a queued datagram costs the same however many wait",
    file: "core/queue.ts",
    from: "    this.#items[this.#start++] = undefined;",
    to: "    this.#items.splice(this.#start, 1);",
    test: TROUBLE,
    filter: "as fast as",
  },
  {
    promise: "streams of datagrams are refused",
    file: "net/to_streams.ts",
    from: '  if (endpoint.phase === "connected" && !dispatcher.connected) {',
    to: '  if (endpoint.phase === "connected" && dispatcher.connecting) {',
    test: TROUBLE,
    filter: "toStreams() refuses",
  },
];
