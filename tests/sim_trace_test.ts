import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { SimNetwork, type TraceOptions } from "../testing/mod.ts";
import { Trace } from "../testing/trace.ts";
import { bytes } from "./support.ts";
import { clientOn, connectEnds, echoNetwork } from "./sim_programs.ts";

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

/** Two pairs of hosts, and a partition of the whole network. */
async function talkOfTwoPairs(): Promise<SimNetwork> {
  const sim = new SimNetwork({ latency: [10, 10], faults: { acceptDelay: 1 } });
  const { client, server } = await connectEnds(sim);
  await client.write(bytes("spam"));
  await sim.run();
  sim.host("eve").map.logger!.info("the client is busy");
  sim.partition(["client"], ["server"]);
  sim.note("what the scenario says");
  client.close();
  server.close();
  return sim;
}

const CHOICES: [options: TraceOptions, lines: string[]][] = [
  [{ hosts: ["eve"] }, [
    "eve: the client is busy",
    "what the scenario says",
  ]],
  [{ hosts: ["server"], packets: false }, [
    "server listens on server:7",
    "fault acceptDelay #1",
    "server #1 may be accepted",
    "partition client | server",
    "what the scenario says",
  ]],
  [{ from: 20, to: 20 }, ["client #1 is connected", "fault acceptDelay #1"]],
  [{ hosts: ["server", "client"], from: 21, to: 59_999 }, [
    "server #1 may be accepted",
    "#1 client>server 4 bytes",
  ]],
  [{ hosts: [], from: 21 }, ["what the scenario says"]],
];

for (const [options, lines] of CHOICES) {
  Deno.test(`SimNetwork.trace() leaves out what is not asked for: ${JSON.stringify(options)}`, async () => {
    const sim = await talkOfTwoPairs();
    const found = sim.trace(options).split("\n").slice(0, -1);
    assertEquals(found.map((line) => line.slice(11)), lines);
  });
}

Deno.test("SimNetwork.trace() refuses hosts that are not there, and unknown options", () => {
  const sim = new SimNetwork();
  sim.host("a");
  assertThrows(() => sim.trace({ hosts: ["b"] }), TypeError, "no host");
  const wrong = { host: "a" } as TraceOptions;
  assertThrows(() => sim.trace(wrong), TypeError, 'did you mean "hosts"?');
});

Deno.test("SimNetwork.trace() tells of each loss of a packet", async () => {
  const sim = new SimNetwork({ latency: [10, 10] });
  const { client, server } = await connectEnds(sim);
  const start = sim.now;
  sim.partition(["client"], ["server"]);
  await client.write(bytes("spam"));
  await sim.run({ limit: 300 });
  sim.heal();
  await sim.run();
  const lines = sim.trace({ from: start + 1 }).split("\n").slice(0, -1);
  assertEquals(lines.map((line) => line.slice(11)), [
    "#1 client>server 4 bytes lost",
    "#1 client>server 4 bytes lost",
    "heal",
    "#1 client>server 4 bytes",
  ]);
  client.close();
  server.close();
});

Deno.test("SimNetwork.trace() has what packets mean, by a decoder", async () => {
  const seen: unknown[] = [];
  const sim = new SimNetwork({
    decode: (data, route) => {
      seen.push(route);
      if (data[0] === 0) throw new Error("no text");
      return `says\n"${new TextDecoder().decode(data)}"`;
    },
  });
  const { client, server } = await connectEnds(sim);
  for (const message of ["spam", "\0", "x".repeat(1_000)]) {
    await client.write(bytes(message));
    await sim.run();
  }
  const lines = sim.trace(3).split("\n").map((line) => line.slice(11));
  assertEquals(lines.slice(0, 2), [
    '#1 client>server 4 bytes: says "spam"',
    "#1 client>server 1 bytes: decode() failed: Error: no text",
  ]);
  assert(lines[2]!.endsWith("xxx…") && lines[2]!.length < 300);
  assertEquals(seen[0], { connection: 1, from: "client", to: "server" });
  client.close();
  server.close();
});

Deno.test("SimNetwork.trace() keeps the last events of very many", async () => {
  const sim = new SimNetwork({ traceLimit: 100 });
  for (let i = 1; i <= 1_000; i++) sim.note(`event ${i}`);
  await sim.run();
  const lines = sim.trace().split("\n").slice(0, -1);
  assertEquals(sim.eventCount, 1_000);
  assertEquals(lines[0], `         … ${1_000 - (lines.length - 1)} events`);
  assert(lines.length > 100 && lines.length <= 201, `${lines.length} lines`);
  assertEquals(lines[1]!.slice(11), `event ${1_000 - lines.length + 2}`);
  assertEquals(lines.at(-1)!.slice(11), "event 1000");
  assertEquals(sim.trace(2).split("\n").length, 3);
});

Deno.test("A long story of a failure has its beginning and its end", () => {
  const trace = new Trace(1_000);
  for (let i = 0; i < 100; i++) trace.add(i, `event ${i}`);
  const lines = trace.story(10).split("\n").slice(0, -1);
  assertEquals(lines.length, 61);
  assertEquals(lines[0], "    10.000 event 10");
  assertEquals(lines.slice(19, 22), [
    "    29.000 event 29",
    "         … 30 events",
    "    60.000 event 60",
  ]);
  assertEquals(trace.story(40).split("\n").length, 61);
});

Deno.test("SimNetwork.trace() has hooks, timers and clocks, if details are asked for", async () => {
  const run = async (details: boolean) => {
    const faults = { skew: 1_000, drift: 0.01 };
    const sim = echoNetwork({ seed: 3, details, faults });
    const client = clientOn(sim.host("client"));
    client.send("spam");
    client.callLater(500, function hangUp() {
      client.close();
    });
    await sim.run();
    assertEquals(client.answer, "spam");
    return sim.trace();
  };
  const [detailed, plain] = [await run(true), await run(false)];
  const lines = detailed.split("\n");
  const more = lines.filter((line) => !plain.split("\n").includes(line));
  assertEquals(lines.filter((line) => !more.includes(line)).join("\n"), plain);
  const told = more.map((line) => line.slice(11)).join("\n");
  assertMatch(told, /^server clock is \d+\.\d+ ms ahead, .* ms a second too/m);
  assertMatch(told, /^server EchoServer handleAccepted\(/m);
  assertMatch(told, /^server EchoHandler handleRead\(\)$/m);
  assertMatch(told, /^client Client handleConnect\(\)$/m);
  assertMatch(told, /^client timer hangUp$/m);
  // It has run, but it is the library's own.
  assert(!told.includes("EchoHandler handleClose"), told);
});
