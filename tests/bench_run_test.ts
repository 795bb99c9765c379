import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import type { Report } from "../bench/report.ts";
import { showReport } from "../bench/table.ts";
import { Child } from "./peers.ts";
import { PATIENCE, text } from "./support.ts";

/** In ms; it starts some fifteen processes. */
const LIMIT = 8 * PATIENCE;

async function runBenchmark(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "bench/run.ts", ...args],
    cwd: `${import.meta.dirname}/..`,
    signal: AbortSignal.timeout(LIMIT),
  }).output();
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("Benchmark prints all that it measured as JSON", async () => {
  const args = ["--json", "--rounds=1", "--seconds", "0.02", "echo-1"];
  const { code, out, err } = await runBenchmark(...args);
  assertEquals(code, 0, err + out);
  const report = JSON.parse(out) as Report;
  assertEquals(report.rounds, 1);
  assertEquals(report.failed, []);
  assertEquals(report.machine.runtimes.deno?.version, Deno.version.deno);
  const [{ title, rows }] = report.cases as [Report["cases"][0]];
  assertEquals(title, "1 of 1 active, 64 B");
  const servers = rows.map(({ server }) => server);
  assertEquals(servers.slice(0, 4), [
    "conn.read/write loop",
    "asyncore, buffered",
    "asyncore, recvInto",
    "asyncore, classic",
  ]);
  assertEquals(rows[0]!.metrics.cpu!.ratio, 1);
  for (const { server, metrics } of rows) {
    for (const name of ["cpu", "rate", "p50", "p99", "p999"]) {
      assertGreater(metrics[name]!.median, 0, `${name} of ${server}`);
      assertEquals(metrics[name]!.values.length, 1);
    }
  }
  // The report names servers that are not here.
  for (const server of ["node:net, Node", "asyncore, CPython"]) {
    const isNamed = report.skipped.some((text) => text.startsWith(server));
    assert(servers.includes(server) !== isNamed, server);
  }
  assertMatch(showReport(report, false), /^ {2}asyncore, buffered +\d/m);
});

Deno.test("Benchmark shows a run that was saved, without measuring", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [from, plot] = [`${folder}/run.json`, `${folder}/plot.svg`];
    const cpu = { median: 8, ratio: 1, difference: 0, values: [8] };
    const rows = [{ server: "conn.read/write loop", metrics: { cpu } }];
    const echo = { load: "echo-1", title: "1 of 1 active, 64 B" };
    await Deno.writeTextFile(
      from,
      JSON.stringify({
        ...{ rounds: 1, seconds: 1, skipped: [], failed: [] },
        machine: { runtimes: {}, cpu: "Some CPU", cores: 2, system: "linux" },
        cases: [{ ...echo, unit: "message", rows }],
      }),
    );
    const { code, out, err } = await runBenchmark(
      "--from",
      from,
      "--plot",
      plot,
    );
    assertEquals([code, err], [0, ""]);
    assertMatch(out, /^ {2}conn\.read\/write loop +8\.00 +×1\.00$/m);
    assertMatch(await Deno.readTextFile(plot), />8\.0 µs</);

    await Deno.writeTextFile(from, "{}");
    const wrong = await runBenchmark("--from", from);
    assertEquals([wrong.code, wrong.out], [2, ""]);
    assertMatch(wrong.err, /^--from: .+run\.json is not what --json prints/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("Benchmark says at once that its plot cannot be written", async () => {
  const plot = `${import.meta.dirname}/nowhere/plot.svg`;
  const { code, out, err } = await runBenchmark("--plot", plot, "echo-1");
  assertEquals([code, out], [2, ""]);
  assertMatch(err, /^--plot cannot be written: .+nowhere\/plot\.svg/);
});

Deno.test("Benchmark says at once that a page has no place for its tables", async () => {
  const page = `${import.meta.dirname}/../README.md`;
  const { code, out, err } = await runBenchmark("--page", page, "echo-1");
  assertEquals([code, out], [2, ""]);
  assertMatch(
    err,
    /^--page cannot be renewed: The page has no <!-- summary -->/,
  );
});

/** Has the benchmark's client talk to a server that does `change` to each echo. */
async function pingThrough(
  change: (data: Uint8Array) => void,
  size: number,
): Promise<Record<string, unknown>> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const serving = (async () => {
    using conn = await listener.accept();
    const buffer = new Uint8Array(1_024);
    for (let length; (length = await conn.read(buffer)) !== null;) {
      const data = buffer.subarray(0, length);
      if (length > 1) change(data); // One byte is the greeting.
      for (let at = 0; at < length;) at += await conn.write(data.subarray(at));
    }
  })().catch(() => {}); // The client may leave in the midst of it.
  const args = ["run", "-A", "--no-check", "bench/client/main.ts"];
  await using client = new Child(Deno.execPath(), args);
  const order = async (order: unknown) => {
    await client.write(`${JSON.stringify(order)}\n`);
    return JSON.parse(await client.until("{"));
  };
  await order({ do: "connect", place: { port }, count: 1, greetEvery: 1 });
  const answer = await order({ do: "ping", active: 1, size, seconds: 0.02 });
  client.kill("SIGKILL");
  await serving;
  return answer;
}

Deno.test("Benchmark's client counts the messages that come back", async () => {
  for (const size of [64, 100_000]) {
    const { messages, seconds } = await pingThrough(() => {}, size);
    assertGreater(messages as number, 0);
    assertGreater(seconds as number, 0.01);
  }
});

Deno.test("Benchmark's client notices an echo that is not right", async () => {
  const wrong = { error: "What comes back is not what was sent" };
  const flip = (data: Uint8Array) => void (data[data.length - 2]! ^= 1);
  for (const size of [64, 100_000]) {
    assertEquals(await pingThrough(flip, size), wrong);
  }
  // Also the echo of an earlier message.
  let first: Uint8Array | null = null;
  const repeat = (data: Uint8Array) => data.set(first ??= data.slice());
  assertEquals(await pingThrough(repeat, 64), wrong);
});
