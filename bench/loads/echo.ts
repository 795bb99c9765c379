/**
 * Messages to and fro over connections of which some or all are active.
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
  type Session,
} from "../load.ts";

/** A part of the connections that talk, in messages of `size` bytes. */
export interface Phase {
  active: number;
  size: number;
}

/** Below this, what a runtime takes for itself hides what connections take. */
const ENOUGH_FOR_MEMORY = 1_000;

/** With so many active connections, some wait longer than a turn lasts. */
const ENOUGH_FOR_WAITS = 1_000;
/** Such a turn lasts this many times as long. The value is a choice. */
const LONGER = 4;

/** How a phase is called in the table. */
export function titleOf(connections: number, { active, size }: Phase): string {
  const count = (n: number) => n.toLocaleString("en");
  const bytes = size < 1_024 ? `${size} B` : `${size / 1_024} KiB`;
  return `${count(active)} of ${count(connections)} active, ${bytes}`;
}

/** How a load of messages is to be. */
export interface EchoOptions {
  connections: number;
  phases: Phase[];
  /** The files of certificate and key, and the authority that signed them. */
  tls?: { files: string[]; ca: string };
}

/** Connects to a server; each measurement goes through the phases. */
export function openEcho(
  competitor: Competitor,
  bench: Bench,
  { connections, phases, tls }: EchoOptions,
): Promise<Session> {
  return openSession(async (stack) => {
    const client = stack.use(bench.startClient());
    const server = stack.use(await bench.serve(competitor, tls?.files));
    const place = { port: server.port, ca: tls?.ca };
    const { rss } = await server.mark();
    const count = connections;
    await client.order({ do: "connect", place, count, greetEvery: 1 });
    const ping = (phase: Phase, seconds: number) =>
      client.order({ do: "ping", ...phase, seconds });
    for (const phase of phases) {
      await bench.warmUp(server, (seconds) => ping(phase, seconds));
    }

    const measure = async (phase: Phase): Promise<Finding> => {
      const before = await server.mark();
      const times = phase.active >= ENOUGH_FOR_WAITS ? LONGER : 1;
      const traffic = await ping(phase, times * bench.seconds);
      const after = await server.mark();
      const sample = sampleOf(traffic, before, after);
      if (connections >= ENOUGH_FOR_MEMORY) {
        sample.memory = (after.rss - rss) / connections;
      }
      const prefix = tls ? "TLS, " : "";
      return { title: prefix + titleOf(connections, phase), sample };
    };
    return async () => {
      const findings: Finding[] = [];
      for (const phase of phases) findings.push(await measure(phase));
      return findings;
    };
  });
}

/** A load of one set of connections. */
export function echoLoad(
  id: string,
  options: EchoOptions,
  competitors = ECHO,
): Load {
  const { connections } = options;
  return {
    id,
    unit: "message",
    competitors,
    excludes: ({ most = Infinity }) =>
      connections <= most ? null : `it takes at most ${most} connections`,
    open: (competitor, bench) => openEcho(competitor, bench, options),
  };
}
