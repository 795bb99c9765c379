import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { SimNetwork, simulate, SimulationError } from "../testing/mod.ts";
import { runCommand, testWith } from "./peers.ts";
import { connectEnds } from "./sim_programs.ts";
import { bytes } from "./support.ts";

/** A run with each thing that a diagram shows. */
async function eventfulRun(): Promise<SimNetwork> {
  const sim = new SimNetwork({
    latency: [10, 10],
    decode: (data) => `<${new TextDecoder().decode(data)}>`,
  });
  const { client, server } = await connectEnds(sim);
  await client.write(bytes("spam & eggs"));
  await sim.run();
  sim.partition(["client"], ["server"]);
  await client.write(bytes("delayed"));
  await sim.run({ limit: 300 });
  sim.note("the scenario heals it");
  sim.heal();
  await sim.run();
  sim.crash("server");
  await client.write(bytes("never"));
  await sim.run({ limit: 1_000 });
  sim.restart("server");
  await sim.run();
  client.close();
  server.close();
  return sim;
}

/** How often each class of arrows and bands is drawn. */
function shapesOf(page: string): Record<string, number> {
  const shapes: Record<string, number> = {};
  for (
    const [, kind] of page.matchAll(
      /<(?:g class="arrow|rect class=")(?= ?(\w+) )/g,
    )
  ) {
    shapes[kind!] = (shapes[kind!] ?? 0) + 1;
  }
  return shapes;
}

Deno.test("SimNetwork.diagram() draws messages by what became of them, crashes and partitions", async () => {
  const sim = await eventfulRun();
  const page = sim.diagram();
  const { data, late, lost, reset, down, cut, open } = shapesOf(page);
  assertEquals({ data, late, reset, down, cut, open }, {
    data: 1, // the first message
    late: 2, // after the partition, and after the restart
    reset: 1, // the server has forgotten the connection
    down: 1,
    cut: 2, // a band for each host
    open: 1, // the connection
  });
  assertGreater(lost!, 2);
  assertStringIncludes(page, "&lt;spam &amp; eggs>");
  assertStringIncludes(page, "the scenario heals it");
  sim.end();
});

Deno.test("SimNetwork.diagram() loads nothing from elsewhere", async () => {
  const sim = await eventfulRun();
  const page = sim.diagram().replace("http://www.w3.org/2000/svg", "");
  assertEquals(page.match(/https?:|\bsrc=|\bhref=|@import|url\((?!#)/g), null);
  sim.end();
});

Deno.test("SimNetwork.diagram() leaves out what is not asked for", async () => {
  const sim = await eventfulRun();
  assertEquals(shapesOf(sim.diagram({ packets: false })).data, undefined);
  const page = sim.diagram({ hosts: ["client"] });
  assert(!page.includes('data-lane="1"'), "two lanes");
  assertEquals(shapesOf(sim.diagram({ from: sim.now })).down, undefined);
  sim.end();
});

Deno.test("simulate() writes the diagram of a failure into the folder of its option", async () => {
  const folder = `${Deno.makeTempDirSync()}/new`;
  try {
    const error = await assertRejects(
      () =>
        simulate({ seeds: [5], report: folder }, async (sim) => {
          const { client, server } = await connectEnds(sim);
          await client.write(bytes("spam"));
          await sim.run();
          client.close();
          server.close();
          throw new Error("eggs");
        }),
      SimulationError,
      `${folder}/seed-5.html`,
    );
    assert(error.message.startsWith("Seed 5: Error: eggs"));
    const page = Deno.readTextFileSync(`${folder}/seed-5.html`);
    // Without a decoder, packets are shown as text.
    assertStringIncludes(page, ">spam</text>");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

/** Does in a browser what a reader does, and says what is to be seen. */
const READER = `<script>
const visible = (selector) => [...document.querySelectorAll(selector)]
  .filter((item) => getComputedStyle(item).display !== "none").length;
const told = [visible(".arrow.data")];
document.querySelector("#packets").click();
told.push(visible(".arrow.data"));
document.querySelector("#packets").click();
document.querySelector(".name[data-lane='0']").onclick();
told.push(visible(".arrow.data"));
document.querySelector(".name[data-lane='0']").onclick();
const find = document.querySelector("#find");
find.value = "EGGS";
find.oninput({ target: find });
told.push(document.querySelectorAll(".hit").length);
const before = document.querySelector("svg").getBoundingClientRect().width;
const zoom = document.querySelector("#zoom");
zoom.value = 50;
zoom.oninput({ target: zoom });
told.push(document.querySelector("svg").getBoundingClientRect().width / before);
document.title = "told " + told.join();
</script>`;

testWith(
  "chromium",
  "SimNetwork.diagram() filters, finds and zooms in Chromium",
  async () => {
    const sim = await eventfulRun();
    const folder = Deno.makeTempDirSync();
    try {
      const page = sim.diagram().replace("</body>", `${READER}</body>`);
      Deno.writeTextFileSync(`${folder}/diagram.html`, page);
      const { code, out } = await runCommand("chromium", [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"],
        ...["--no-first-run", "--disable-background-networking"],
        ...["--disable-component-update", "--disable-sync"],
        ...[`--user-data-dir=${folder}/profile`, "--dump-dom"],
        `file://${folder}/diagram.html`,
      ]);
      assertEquals(code, 0);
      assertStringIncludes(out, "<title>told 1,0,0,1,0.5</title>");
    } finally {
      Deno.removeSync(folder, { recursive: true });
      sim.end();
    }
  },
);
