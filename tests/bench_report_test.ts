import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Histogram } from "../bench/histogram.ts";
import { pickLoads } from "../bench/loads.ts";
import { readOptions } from "../bench/options.ts";
import { drawPlot } from "../bench/plot.ts";
import type { Report } from "../bench/report.ts";
import { median, type Sample, summarize } from "../bench/stats.ts";
import { showReport } from "../bench/table.ts";
import { judge } from "../bench/targets.ts";
import { UsageError } from "../examples/command_line.ts";

Deno.test("median() takes the middle of the sorted values", () => {
  assertEquals(median([10, 9, 100]), 10);
  assertEquals(median([4, 1, 3, 2]), 2.5);
  assertEquals(median([]), NaN);
});

Deno.test("summarize() compares round by round", () => {
  const ours: Sample[] = [{ cpu: 2 }, { cpu: 30 }, { cpu: 8 }];
  const raw: Sample[] = [{ cpu: 1 }, { cpu: 10 }, { cpu: 2 }];
  assertEquals(summarize(ours, raw), {
    cpu: { median: 8, ratio: 3, difference: 6, values: [2, 30, 8] },
  });
});

Deno.test("Histogram tells quantiles to within a percent", () => {
  const histogram = new Histogram();
  assertEquals(histogram.quantile(0.5), NaN);
  for (let time = 1; time <= 1_000; time++) histogram.add(time);
  for (const share of [0.001, 0.5, 0.99, 0.999, 1]) {
    const time = share * 1_000;
    const error = Math.abs(histogram.quantile(share) / time - 1);
    assert(error < 0.011, `${share}: ${histogram.quantile(share)}`);
  }
  histogram.add(1e12); // Longer than anything it has a class for.
  assert(histogram.quantile(1) > 1e7);
});

Deno.test("readOptions() completes the options, and names a wrong one", () => {
  assertEquals(readOptions({ rounds: "7", plot: "a.svg" }, ["echo"]), {
    words: ["echo"],
    json: false,
    rounds: 7,
    seconds: 0.25,
    plot: "a.svg",
    pin: true,
  });
  for (
    const [values, message] of [
      [{ seconds: "0" }, '--seconds must be a number above 0, got "0"'],
      [{ rounds: "" }, '--rounds must be a number above 0, got ""'],
      [{ plot: "" }, "--plot needs the name of a file"],
    ] as const
  ) assertThrows(() => readOptions(values, []), UsageError, message);
});

Deno.test("pickLoads() takes a word for all loads that begin with it", () => {
  const idsOf = (words: string[], plot = false) =>
    pickLoads(words, plot).map(({ id }) => id);
  assertEquals(idsOf(["echo-64", "tls"]), ["echo-64", "tls"]);
  assert(idsOf(["echo"]).includes("echo-256k"));
  assert(!idsOf([]).includes("echo-8"));
  assert(idsOf([], true).includes("echo-8"));
  assertThrows(() => idsOf(["ech"]), UsageError, 'No load is called "ech"');
});

const RAW = "conn.read/write loop";
const OURS = "asyncore, buffered";

/** A report of one case, in which the servers cost what is said. */
function reportOf(title: string, costs: Record<string, number[]>): Report {
  const samples = (server: string) => costs[server]!.map((cpu) => ({ cpu }));
  return {
    ...{ rounds: 3, seconds: 1, skipped: ["spam: it is not here"], failed: [] },
    machine: {
      runtimes: { deno: { command: "deno", version: "2.9.6" } },
      ...{ cpu: "Some CPU", cores: 2, system: "linux", pins: null },
    },
    cases: [{
      ...{ load: "echo-64", title, unit: "message" },
      rows: Object.keys(costs).map((server) => ({
        server,
        metrics: summarize(samples(server), samples(RAW)),
      })),
    }],
  };
}

Deno.test("judge() compares to the better one in each round", () => {
  const costs = { "node:net, Deno": [4, 12, 9], "node:net, Node": [9, 5, 8] };
  const verdicts = (ours: number[]) =>
    judge(reportOf("64 of 64 active, 64 B", {
      [RAW]: [8, 8, 8],
      [OURS]: ours,
      ...costs,
    })).map(({ met }) => met);
  assertEquals(verdicts([3.5, 4.4, 7]), [true, true]);
  assertEquals(verdicts([4, 5, 7]), [true, false]);
  assertEquals(verdicts([9, 9, 9]), [false, false]);
  assertEquals(judge(reportOf("something else", { [RAW]: [1] })), []);
});

Deno.test("showReport() shows medians, ratios, verdicts and skipped servers", () => {
  const report = reportOf("64 of 64 active, 64 B", {
    [RAW]: [10, 10, 10],
    [OURS]: [12, 12.5, 13],
  });
  const text = showReport(report, false);
  assertMatch(text, /^ {2}asyncore, buffered +12\.5 +×1\.25$/m);
  assertMatch(text, /^ {2}MISSED .*cpu 1\.25 × conn\.read\/write loop/m);
  assertMatch(text, /^Skipped: spam: it is not here$/m);
  assert(!text.includes("\x1b"));
  assert(showReport(report, true).includes("\x1b[1m"));
});

Deno.test("drawPlot() draws a point for each cost, and closes each tag", () => {
  const report = reportOf("64 of 64 active, 64 B", { [RAW]: [9], [OURS]: [8] });
  report.cases.push(
    ...reportOf("1 of 5,000 active, 64 B", { [RAW]: [9] }).cases,
  );
  const svg = drawPlot(report);
  assertEquals(svg.match(/<circle /g)?.length, 3);
  assertEquals(svg.match(/<polyline /g)?.length, 3);
  const open: string[] = [];
  for (
    const [tag, end, name, single] of svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)
  ) {
    if (end) assertEquals(open.pop(), name, tag);
    else if (!single) open.push(name!);
  }
  assertEquals(open, []);
  assert(!/NaN|Infinity|undefined/.test(svg), svg);
});
