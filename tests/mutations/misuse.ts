/**
 * Misuse that would go unnoticed.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const TEST = "tests/bad_input_test.ts";

export const MISUSE: Mutation[] = [
  {
    promise: "a map in the place of options is not taken for options",
    file: "loop.ts",
    from: "  if (options instanceof SocketMap) {",
    to: "  if (options === null) {",
    test: TEST,
    filter: "refuse the map in the place of their options",
  },
  {
    promise: "shutdown() refuses the map in the place of its options",
    file: "core/shutdown.ts",
    from: "  checkMapOptions(options);\n",
    to: "",
    test: TEST,
    filter: "refuse the map in the place of their options",
  },
  {
    promise: "an array is not taken for options",
    file: "core/arguments.ts",
    from: "if (isObject && !(Symbol.iterator in value)) return;",
    to: "if (isObject) return;",
    test: TEST,
    filter: "refuse an array, or what else",
  },
  {
    promise: "closeAll() refuses options in the place of ignoreAll",
    file: "loop.ts",
    from: '  checkBoolean("ignoreAll", ignoreAll);\n',
    to: "",
    test: TEST,
    filter: "closeAll() refuses options in the place of ignoreAll",
  },
];
