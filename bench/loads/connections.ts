/**
 * Loads of connections themselves: many short ones, and many idle ones.
 *
 * @module
 */

import { type Competitor, ECHO } from "../competitors.ts";
import {
  type Bench,
  type Finding,
  type Load,
  openSession,
  sampleOf,
} from "../load.ts";

const SLOTS = 64;
/** How the load of short connections is called in the table. */
export const CHURN_TITLE =
  `Connect, one message of 64 B, close; ${SLOTS} at a time`;
const IDLE = 10_000;
/** Less than any queue of connections that wait to be accepted. */
const GREET_EVERY = 1_000;
/** How long a server may tidy up before its memory is measured, in ms. */
const REST = 500;

/** Connect, one message, close: 64 at a time. */
export const CHURN_LOAD: Load = {
  id: "churn",
  unit: "connection",
  competitors: ECHO,
  open: (competitor, bench) =>
    openSession(async (stack) => {
      const client = stack.use(bench.startClient());
      const server = stack.use(await bench.serve(competitor));
      const place = { port: server.port };
      const churn = (seconds: number) =>
        client.order({ do: "churn", place, slots: SLOTS, size: 64, seconds });
      await bench.warmUp(server, churn);
      return async () => {
        const before = await server.mark();
        const traffic = await churn(bench.seconds);
        const sample = sampleOf(traffic, before, await server.mark());
        return [{ title: CHURN_TITLE, sample }];
      };
    }),
};

/** Fills a new server with connections. */
async function measureIdle(
  competitor: Competitor,
  bench: Bench,
): Promise<Finding> {
  await using client = bench.startClient();
  await using server = await bench.serve(competitor);
  const place = { port: server.port };
  const before = await server.mark();
  const traffic = await client.order({
    do: "connect",
    place,
    count: IDLE,
    greetEvery: GREET_EVERY,
  });
  const { cpu, rate, busy } = sampleOf(traffic, before, await server.mark());
  await new Promise((resolve) => setTimeout(resolve, REST));
  const { rss } = await server.mark();
  return {
    title: `Accepting ${IDLE.toLocaleString("en")} idle connections`,
    sample: {
      ...{ cpu: cpu!, rate: rate!, busy: busy! },
      memory: (rss - before.rss) / IDLE,
    },
  };
}

/** 10,000 connections that come and then say nothing. */
export const IDLE_LOAD: Load = {
  id: "idle",
  unit: "connection",
  competitors: ECHO,
  mostRounds: 5,
  excludes: ({ most = Infinity }) =>
    IDLE <= most ? null : `it takes at most ${most} connections`,
  open: (competitor, bench) =>
    openSession(() =>
      Promise.resolve(async () => [await measureIdle(competitor, bench)])
    ),
};
