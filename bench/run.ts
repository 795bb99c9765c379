/**
 * The benchmark: each server in a process of its own, all under the same loads
 * from one client, by turns.
 *
 *     deno task bench [OPTION...] [WORD...]
 *
 * @module
 */

import { runCommand, UsageError } from "../examples/command_line.ts";
import { Bench } from "./load.ts";
import { pickLoads } from "./loads.ts";
import { findMachine } from "./machine.ts";
import { COMMAND, type Options, readOptions } from "./options.ts";
import { checkPage, renewPage } from "./page.ts";
import { drawPlot } from "./plot.ts";
import { measureAll, type Progress, type Report } from "./report.ts";
import { showReport } from "./table.ts";

/** Tells on standard error: on one line of a terminal, else on a line for each load. */
function startProgress(): Progress {
  const isTerminal = Deno.stderr.isTerminal();
  let shown = "";
  return (text) => {
    if (isTerminal) {
      Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
      return;
    }
    // A log wants to know the load and not each server.
    const [load = ""] = text.split(":");
    if (load !== shown && text !== "") console.error(load);
    shown = load;
  };
}

async function measure(options: Options): Promise<Report> {
  const loads = pickLoads(options.words);
  const bench = new Bench(await findMachine(options.pin), options.seconds);
  const progress = startProgress();
  const report = await measureAll(loads, bench, options, progress);
  progress("");
  return report;
}

/** Reads the report of an earlier run. */
async function readReport(path: string): Promise<Report> {
  try {
    const report = JSON.parse(await Deno.readTextFile(path));
    if (Array.isArray(report?.cases)) return report;
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError(`--from cannot be read: ${message}`);
  }
  throw new UsageError(`--from: ${path} is not what --json prints`);
}

/** Before minutes are spent on what the file is to show. */
async function checkPlot(path: string): Promise<void> {
  try {
    await Deno.writeTextFile(path, "", { append: true });
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError(`--plot cannot be written: ${message}`);
  }
}

/** Reads the page before minutes are spent on what it is to show. */
async function readPage(path: string): Promise<string> {
  try {
    const page = await Deno.readTextFile(path);
    checkPage(page);
    return page;
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError(`--page cannot be renewed: ${message}`);
  }
}

async function main(options: Options): Promise<number> {
  const { from, plot, page } = options;
  if (plot !== null) await checkPlot(plot);
  const text = page === null ? "" : await readPage(page);
  const report = await (from === null ? measure(options) : readReport(from));
  const colour = Deno.stdout.isTerminal() && !Deno.noColor;
  console.log(
    options.json ? JSON.stringify(report, null, 2) : showReport(report, colour),
  );
  if (plot !== null) await Deno.writeTextFile(plot, drawPlot(report));
  if (page !== null) await Deno.writeTextFile(page, renewPage(text, report));
  return report.failed.length > 0 ? 1 : 0;
}

await runCommand(
  COMMAND,
  (values, words) => main(readOptions(values, words)),
);
