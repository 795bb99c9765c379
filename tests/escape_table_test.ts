/** The table of escapes in `docs/testing.md` claims nothing that is not so. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { findEscapes } from "../testing/escapes.ts";
import { SimNetwork, SimulationError } from "../testing/mod.ts";
import { type Row, TABLE, tableText } from "./escape_table.ts";
import { read } from "./modules.ts";

const CHILD = `${import.meta.dirname}/../tools/test_programs/escapes_child.ts`;

/** Tries each call of the table in a process of its own. */
async function tryAll(
  flags: string[],
  options: Deno.CommandOptions = {},
): Promise<Record<string, string>> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    ...options,
    args: ["run", "--no-check", "--no-prompt", ...flags, CHILD],
    stdin: "null",
    env: { NO_COLOR: "1", ...options.env },
  }).output();
  const [out, err] = [stdout, stderr].map((s) => new TextDecoder().decode(s));
  assert(out!.startsWith("{"), err);
  return JSON.parse(out!);
}

/** Keeps a processor busy until it is disposed of. */
function busyNeighbour(): AsyncDisposable {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", "for (;;);"],
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
    },
  };
}

/** The flags with which a process could collect what nobody refers to. */
const COLLECTS = "--v8-flags=--expose-gc";
const ELSEWHERE = {
  TZ: "Asia/Kolkata",
  LANG: "tr_TR.UTF-8",
  LC_ALL: "tr_TR.UTF-8",
  HOME: "/nowhere",
};

function checkRow(
  { verdict, calls, isSame, needsSys }: Row,
  processes: Record<string, string>[],
): void {
  for (const name of Object.keys(calls)) {
    const [first, other, restricted] = processes.map((all) => all[name]!);
    if (verdict === "refused") {
      assertMatch(first!, /^host used .*so the same seed/, name);
      assertMatch(other!, /^host used .*so the same seed/, name);
      const isRefused = restricted!.startsWith("host used ");
      assert(isRefused || needsSys, name);
    } else if (verdict === "simulated" || isSame) {
      assertMatch(first!, /^value [^]* at 3$/, name);
      assertEquals([other, restricted], [first, first], name);
    } else {
      assert(!first!.startsWith("host used "), `${name}: ${first}`);
    }
  }
}

Deno.test("Each call of the table of escapes comes to what the table says, in every process", async () => {
  const first = await tryAll(["-A", COLLECTS]);
  await using _busy = busyNeighbour();
  const other = await tryAll(
    ["-A", "--seed=5", `${COLLECTS},--no-opt,--stack-trace-limit=3`],
    { env: ELSEWHERE, cwd: `${import.meta.dirname}` },
  );
  const restricted = await tryAll([COLLECTS]);
  for (const row of TABLE) checkRow(row, [first, other, restricted]);
});

Deno.test("Each function that the list of escapes names is refused on a host", () => {
  const places = findEscapes().filter(({ owner, name }) => name in owner);
  assert(places.length > 400);
  const host = new SimNetwork().host("a");
  for (const { owner, name, call, instead, isValue } of places) {
    const use = () => {
      const value = Reflect.get(owner, name);
      if (isValue) return;
      if (/^new /.test(call)) Reflect.construct(value, []);
      else Reflect.apply(value, owner, []);
    };
    const { message } = assertThrows(
      () => host.run(use),
      SimulationError,
      call,
    );
    assertStringIncludes(message, `a used ${call}, so`);
    assertStringIncludes(message, instead);
  }
});

Deno.test("docs/testing.md shows the table of escapes as it is", () => {
  assertStringIncludes(read("docs/testing.md"), tableText());
});
