/**
 * A worker that ends the process when a property is stuck: code that loops for
 * ever in one call stops all else in its own thread, so that only another one
 * can tell what it was busy with.
 *
 * @module
 */

/** After so many ms with one input, it hangs. */
const PATIENCE = 60_000;
const INTERVAL = 1_000;

/** What the worker is told when a property begins, and when it ends. */
export interface Watch {
  /**
   * How many inputs were begun, 0 while there is nothing to watch; and which of
   * them failed first, 0 if none did. Those that follow are smaller ones.
   */
  counts: Int32Array;
  name: string;
  /** The command that tries the input of that number again. */
  command: string;
}

let watch: Watch | null = null;
let last = 0;
let since = performance.now();

addEventListener("message", (event) => {
  watch = (event as MessageEvent<Watch>).data;
});

setInterval(() => {
  const begun = watch ? Atomics.load(watch.counts, 0) : 0;
  const now = performance.now();
  if (begun !== last || begun === 0) since = now;
  last = begun;
  if (now - since < PATIENCE) return;
  const { name, command, counts } = watch!;
  const failed = Atomics.load(counts, 1);
  const what = failed > 0
    ? `fails for input ${failed}, and hangs for a smaller one`
    : `hangs, for ${PATIENCE} ms, for input ${begun}`;
  console.error(
    `${name}: ${what}\nTry it again, and see the input:\n` +
      `  ${command} --path ${(failed || begun) - 1}`,
  );
  Deno.kill(Deno.pid, "SIGKILL");
}, INTERVAL);
