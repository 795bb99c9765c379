/**
 * Node's `process`, by which the modules of Node are found.
 *
 * @module
 */

/** The real one: on a simulated host, the global variable is another. */
export const process: typeof globalThis.process = globalThis.process;
