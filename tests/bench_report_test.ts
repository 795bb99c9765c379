import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertThrows,
} from "@std/assert";
import { Histogram } from "../bench/histogram.ts";
import { pickLoads } from "../bench/loads.ts";
import { readOptions } from "../bench/options.ts";
import { renewPage } from "../bench/page.ts";
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
    ...{ from: null, plot: "a.svg", page: null },
    pin: true,
  });
  for (
    const [values, message] of [
      [{ seconds: "0" }, '--seconds must be a number above 0, got "0"'],
      [{ rounds: "" }, '--rounds must be a number above 0, got ""'],
      [{ plot: "" }, "--plot needs the name of a file"],
      [{ from: "" }, "--from needs the name of a file"],
    ] as const
  ) assertThrows(() => readOptions(values, []), UsageError, message);
  assertThrows(
    () => readOptions({ from: "a.json" }, ["echo"]),
    UsageError,
    '--from shows a whole run: take away "echo"',
  );
});

Deno.test("pickLoads() takes a word for all loads that begin with it", () => {
  const idsOf = (words: string[]) => pickLoads(words).map(({ id }) => id);
  assertEquals(idsOf(["echo-64", "tls"]), ["echo-64", "tls"]);
  assert(idsOf(["echo"]).includes("echo-256k"));
  assert(idsOf([]).includes("timers"));
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

const SOME = "64 of 64 active, 64 B";
const ON_EPOLL = "asyncore on epoll, buffered";

Deno.test("judge() compares to each peer, and tells of the hardest", () => {
  const costs = { "node:net, Deno": [4, 12, 9], "node:net, Node": [9, 5, 8] };
  const verdictOf = (ours: number[]) => {
    const report = reportOf(SOME, {
      [RAW]: [8, 8, 8],
      [ON_EPOLL]: ours,
      ...costs,
    });
    return judge(report).find(({ what }) => what === "CPU to each peer");
  };
  const { met, to, value, limit } = verdictOf([7, 6, 7])!;
  // The medians of 7/4, 6/12, 7/9 and of 7/9, 6/5, 7/8.
  assertEquals([met, to, value], [true, " × node:net, Node", "0.88"]);
  assertEquals(limit, "< 1.00");
  assertEquals(verdictOf([9, 5, 8])?.met, false); // As much is not below.
  assertEquals(judge(reportOf("something else", { [RAW]: [1] })), []);
});

Deno.test("judge() has a target of the same kind for both engines", () => {
  const costs = { [RAW]: [10], [OURS]: [11], [ON_EPOLL]: [9] };
  const told = judge(reportOf(SOME, costs))
    .map(({ server, met, value, limit }) => ({ server, met, value, limit }));
  assertEquals(told, [
    { server: ON_EPOLL, met: false, value: "0.90", limit: "≤ 0.85" },
    { server: OURS, met: true, value: "1.10", limit: "≤ 1.10" },
  ]);
});

Deno.test("showReport() shows medians, ratios, verdicts and skipped servers", () => {
  const report = reportOf(SOME, {
    [RAW]: [10, 10, 10],
    [OURS]: [12, 12.5, 13],
  });
  const text = showReport(report, false);
  assertMatch(text, /^ {2}asyncore, buffered +12\.5 +×1\.25$/m);
  assertMatch(
    text,
    /^ {2}MISSED .*CPU 1\.25 × conn\.read\/write loop \(≤ 1\.10\)/m,
  );
  assertMatch(text, /^Skipped: spam: it is not here$/m);
  assert(!text.includes("\x1b"));
  assert(showReport(report, true).includes("\x1b[1m"));
});

/** A run of three loads; with large messages, the library has two ways. */
function smallRun(): Report {
  const report = reportOf(SOME, {
    [RAW]: [9],
    [OURS]: [12],
    [ON_EPOLL]: [4.5],
    "node:net, Node": [45],
  });
  report.cases.push(
    ...reportOf("64 of 64 active, 16 KiB", {
      [RAW]: [10],
      [OURS]: [18],
      "asyncore, recvInto": [11],
    }).cases,
    ...reportOf("1 of 5,000 active, 64 B", { [RAW]: [30] }).cases,
  );
  return report;
}

/** The texts of a picture, without the spaces between them. */
function textsOf(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>\s*([^<]*?)\s*<\/text/g)]
    .map(([, text]) => text!.replace(/\s+/g, " "));
}

Deno.test("drawPlot() draws a panel for each load, and a value at each point", () => {
  const texts = textsOf(drawPlot(smallRun()));
  for (const text of ["64 of 64", "64 of 64, 16 KiB", "1 of 5,000", "9.0 µs"]) {
    assert(texts.includes(text), text);
  }
  const values = texts.filter((text) => /^\d\.\d\d$/.test(text));
  assertEquals(values, ["0.50", "1.33", "5.00", "1.80", "1.10"]);
});

Deno.test("drawPlot() draws an arrow for a point beyond the scale", () => {
  const svg = drawPlot(smallRun());
  assertEquals(svg.match(/<polygon /g)?.length, 1); // It costs five times as much.
  assertEquals(svg.match(/<circle /g)?.length, 4);
});

Deno.test("drawPlot() closes each tag", () => {
  const svg = drawPlot(smallRun());
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

const EMPTY_PAGE = ["summary", "targets", "figures"].map((name) =>
  `# About the ${name}\n\n<!-- ${name} -->\n<!-- /${name} -->\n`
).join("\n");

Deno.test("renewPage() puts tables between marks, in place of earlier ones", () => {
  const page = renewPage(EMPTY_PAGE, smallRun());
  assertMatch(
    page,
    /^\| 64 of 64 +\| 9\.0 µs +\| 0\.50 +\| 1\.33 +\| 5\.00, node:net, Node \|/m,
  );
  assertMatch(page, /\| 1\.80 \(`recvInto\(\)` 1\.10\) \|/);
  assertMatch(
    page,
    /^\| 64 of 64 active, 64 B: CPU +\| 0\.50 \(≤ 0\.85\) +\| \*\*1\.33\*\* \(≤ 1\.10\), missed +\|$/m,
  );
  assertMatch(page, /^Skipped: spam: it is not here$/m);
  for (const name of ["summary", "targets", "figures"]) {
    assert(page.includes(`# About the ${name}\n`));
  }
  assertEquals(renewPage(page, smallRun()), page);
  assertThrows(
    () => renewPage(EMPTY_PAGE.replace("<!-- /targets -->", ""), smallRun()),
    Error,
    "The page has no <!-- targets --> … <!-- /targets -->",
  );
});

Deno.test("docs/performance.md and its picture come from one run", async () => {
  const docs = new URL("../docs/", import.meta.url);
  const texts = textsOf(
    await Deno.readTextFile(new URL("performance.svg", docs)),
  );
  const page = await Deno.readTextFile(new URL("performance.md", docs));
  const [, summary = ""] = page.split(/<!-- \/?summary -->/);
  const cells = summary.split(/[|,]/).map((cell) => cell.trim());
  for (const text of texts) {
    if (text.endsWith(" µs")) assert(cells.includes(text), text);
    if (text.endsWith(" KB")) {
      assert(page.includes(` ${text.slice(0, -2)}×`), text);
    }
  }
  const ratios = new Set(page.match(/(?<=×)\d+\.\d\d/g));
  const values = texts.filter((text) => /^\d+\.\d\d$/.test(text));
  assertGreater(values.length, 0);
  for (const value of values) assert(ratios.has(value), value);
});
