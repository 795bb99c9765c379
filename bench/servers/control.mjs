/**
 * How a server of the benchmark is watched, in Deno and in Node: it prints its
 * port, and answers each line "mark" on standard input with the processor time
 * that it has used so far (µs, user and system) and its resident memory
 * (bytes). It ends with its standard input.
 *
 * @module
 */

import process from "node:process";

/** The same queue for all, so that no server refuses what another takes. */
export const BACKLOG = 4096;

/** @returns {number} What this process has used, in µs. */
export function processorTime() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * Answers each line of standard input by a line.
 *
 * @param {(line: string) => unknown} answer What to answer, as JSON.
 */
export function answerLines(answer) {
  let rest = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", async (/** @type {string} */ text) => {
    rest += text;
    for (let end; (end = rest.indexOf("\n")) >= 0;) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      console.log(JSON.stringify(await answer(line)));
    }
  });
  process.stdin.on("end", () => process.exit());
}

/**
 * Says where the server listens, and answers marks from now on.
 *
 * @param {number} port Where it listens.
 */
export function answerMarks(port) {
  console.log(port);
  answerLines(() => ({
    cpu: processorTime(),
    rss: process.memoryUsage().rss,
  }));
}
