/**
 * Lines as fast as they are taken in.
 *
 * @module
 */

import { LINES } from "../competitors.ts";
import { type Client, type Load, openSession, type Server } from "../load.ts";

const LENGTH = 60;
/** How the load is called in the table. */
export const LINES_TITLE = `Lines of ${LENGTH} B over one connection`;
/** Enough to see how fast a server is. */
const FIRST = 100_000;

/** How many ms it takes until `count` lines are counted. */
async function send(
  client: Client,
  { port }: Server,
  count: number,
): Promise<number> {
  return Number(await client.ask(`${port} ${count} ${LENGTH}`));
}

/** One connection, lines of 60 bytes. */
export const LINES_LOAD: Load = {
  id: "lines",
  unit: "line",
  competitors: LINES,
  open: (competitor, bench) =>
    openSession(async (stack) => {
      const client = stack.use(bench.startClient("lines_client.ts"));
      const server = stack.use(await bench.serve(competitor));
      await send(client, server, FIRST); // Warms up.
      const speed = FIRST / await send(client, server, FIRST);
      const count = Math.ceil(speed * bench.seconds * 1_000);
      return async () => {
        const before = await server.mark();
        const ms = await send(client, server, count);
        const { cpu } = await server.mark();
        const sample = {
          cpu: (cpu - before.cpu) / count,
          rate: count / ms * 1_000,
        };
        return [{ title: LINES_TITLE, sample }];
      };
    }),
};
