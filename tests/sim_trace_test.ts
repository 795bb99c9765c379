import { assertEquals } from "@std/assert";
import { SimNetwork } from "../testing/mod.ts";
import { connectEnds } from "./sim_programs.ts";

Deno.test("SimNetwork.trace() tells of connections, packets, faults and ends, with times", async () => {
  const sim = new SimNetwork({ latency: [10, 10], faults: { split: 1 } });
  const { client, server } = await connectEnds(sim);
  sim.note("the scenario writes");
  await client.write(new Uint8Array(2));
  client.close();
  await sim.run();
  server.close();
  sim.crash("client");
  assertEquals(
    sim.trace(),
    `\
     0.000 server listens on server:7
     0.000 client #1 connects to server:7
    20.000 client #1 is connected
    30.000 server #1 may be accepted
    30.000 the scenario writes
    30.000 fault split #1 client>server 1
    40.000 #1 client>server 1 bytes
    40.000 #1 client>server 1 bytes
    40.000 #1 client>server end
 60030.000 client crashes
`,
  );
  assertEquals(sim.trace(1), " 60030.000 client crashes\n");
  assertEquals(sim.eventCount, 10);
});

const LINES: [line: string, traced: string][] = [
  [
    "(Error: a|b [/home/me/x y.ts|<anonymous>|4] [C:\\b.ts|A.[foo]|5])",
    "(Error: a|b [b.ts|A.[foo]|5])",
  ],
  ["(Error: 1 [ext:core/mod.js|f|9])", "(Error: 1 [mod.js|f|9])"],
  ["nothing [special]", "nothing [special]"],
];

for (const [line, traced] of LINES) {
  Deno.test(`SimNetwork.trace() does not tell where files lie: ${traced}`, () => {
    const sim = new SimNetwork();
    sim.host("a").map.logger!.error(line);
    assertEquals(sim.trace(), `     0.000 a: ${traced}\n`);
  });
}
