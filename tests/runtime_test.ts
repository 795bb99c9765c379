/** The library's message where it cannot run, each time in a process of its own. */

import { assertEquals } from "@std/assert";
import { stripTypeScriptTypes } from "node:module";
import { dirname } from "node:path";
import { ENTRIES, modulesFrom, read, ROOT } from "./modules.ts";
import { hasCommand, runCommand } from "./peers.ts";

/** A program that tells what comes of importing a module. */
function importing(specifier: string): string {
  return `await import("${specifier}").then(() => console.log("loaded"),
    (error) => console.log(String(error)))`;
}

/** What comes of importing an entry of the library after `before` has run. */
async function load(entry: string, before: string): Promise<string> {
  const program = `${before}; ${importing(new URL(entry, ROOT).href)}`;
  const args = ["eval", "--quiet", program];
  const { out, err } = await runCommand(Deno.execPath(), args);
  return `${out}${err}`.trim();
}

/** Has Deno pass for another version of itself. */
function passFor(deno: string): string {
  const version = JSON.stringify({ deno });
  return `Object.defineProperty(Deno, "version", { value: ${version} })`;
}

const noDeno = "delete globalThis.Deno; delete globalThis.process";

for (
  const [runtime, before] of [
    ["Deno 2.6.10", passFor("2.6.10")],
    ["Deno 1.46.3", passFor("1.46.3")],
    [
      "Node 20.1.0",
      `${noDeno}; globalThis.process = { versions: { node: "20.1.0" } }`,
    ],
    ["Bun 1.4.5", `${noDeno}; globalThis.Bun = { version: "1.4.5" }`],
    ["another runtime", noDeno],
  ] as const
) {
  Deno.test(`Library says in ${runtime} which Deno it needs`, async () => {
    const said = await Promise.all(
      ENTRIES.map((entry) => load(entry, before)),
    );
    const wanted =
      `Error: @asyncore/asyncore needs Deno 2.7 or later, and this is ${runtime}`;
    assertEquals(said, ENTRIES.map(() => wanted));
  });
}

Deno.test("Library loads in Deno 2.7 and in any later one", async () => {
  const said = await Promise.all(
    ["2.7.0", "2.10.0-rc.1", "3.0.0"].map((deno) =>
      load("mod.ts", passFor(deno))
    ),
  );
  assertEquals(said, ["loaded", "loaded", "loaded"]);
});

/** Writes the library to a folder as JavaScript, as JSR does for Node. */
async function transpile(folder: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/package.json`, '{ "type": "module" }');
  for (const path of modulesFrom(...ENTRIES)) {
    const file = `${folder}/${path.replace(/ts$/, "js")}`;
    const code = stripTypeScriptTypes(read(path));
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(file, code.replace(/\.ts";$/gm, '.js";'));
  }
}

Deno.test({
  name:
    "Library says in a real Node which Deno it needs (skipped without Node)",
  ignore: !hasCommand("node", "--version"),
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      await transpile(folder);
      const version = (await runCommand("node", ["--version"])).out.slice(1);
      for (const entry of ENTRIES) {
        const program = importing(`./${entry.replace(/ts$/, "js")}`);
        await Deno.writeTextFile(`${folder}/load.js`, program);
        const { out } = await runCommand("node", [`${folder}/load.js`]);
        const wanted = "needs Deno 2.7 or later, and this is Node";
        assertEquals(out, `Error: @asyncore/asyncore ${wanted} ${version}`);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("SimNetwork needs no Temporal", async () => {
  const { out, err } = await runCommand(Deno.execPath(), [
    "eval",
    `delete globalThis.Temporal;
    const { SimNetwork } = await import("${new URL("testing/mod.ts", ROOT)}");
    const sim = new SimNetwork();
    const { map } = sim.host("a");
    let date;
    map.callLater(5_000, () => date = new Date().toISOString());
    await sim.run({ until: () => date !== undefined });
    console.log(date);`,
  ]);
  assertEquals([out, err], ["2030-01-01T00:00:05.000Z\n", ""]);
});
