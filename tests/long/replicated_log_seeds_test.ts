/** The replicated log, over thousands of seeds in a simulated network. */

import { assertEquals } from "@std/assert";
import type { SimulateResult } from "../../testing/mod.ts";

const SEEDS = 10_000;

/** Runs some seeds in a worker. */
async function runInWorker(seeds: number[]): Promise<SimulateResult> {
  const url = new URL("./replicated_log_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) =>
        typeof data === "string" ? reject(new Error(data)) : resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage(seeds);
    });
  } finally {
    worker.terminate();
  }
}

Deno.test(`replicated_log loses nothing that it acknowledged, with ${SEEDS} seeds`, async () => {
  const workers = Math.min(navigator.hardwareConcurrency, 4);
  const shares = Array.from({ length: workers }, (): number[] => []);
  for (let i = 0; i < SEEDS; i++) shares[i % workers]!.push(i + 1);
  const results = await Promise.all(shares.map(runInWorker));
  const seeds = results.reduce((sum, { seeds }) => sum + seeds, 0);
  assertEquals(seeds, SEEDS);
});
