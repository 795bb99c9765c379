import { assert, assertEquals, assertMatch } from "@std/assert";
import { SimNetwork } from "../testing/mod.ts";
import {
  Client,
  clientOn,
  EchoHandler,
  echoNetwork,
  EchoServer,
  Server,
} from "./sim_programs.ts";
import { bytes } from "./support.ts";

/** A simulation looks at no certificate. */
const SERVER_TLS = {
  transport: "tls",
  tls: { cert: "any", key: "any" },
} as const;
const TLS = { transport: "tls", handshakeTimeout: 3_000 } as const;

Deno.test("A simulated TLS connection stands after a handshake, which takes time", async () => {
  const times: number[] = [];
  for (const isTls of [false, true]) {
    const sim = new SimNetwork({ latency: [10, 10] });
    sim.host("server", () => new EchoServer({}, isTls ? SERVER_TLS : {}));
    const client = clientOn(sim.host("client"), {}, isTls ? TLS : {});
    await sim.run({ until: () => client.events.length > 0 });
    times.push(sim.now);
    client.send(bytes("spam"));
    await sim.run({ until: () => client.answer === "spam" });
  }
  assertEquals(times, [20, 40]);
});

Deno.test("A simulated TLS client fails against a server that speaks plainly", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => {
    new Server((conn) => void new EchoHandler(conn).send(bytes("220 hello")));
  });
  const client = clientOn(sim.host("client"), {}, TLS);
  await sim.run();
  assertEquals(client.events, ["error InvalidData", "close InvalidData"]);
});

Deno.test("A simulated TLS client gives up on a server that says nothing", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new Server(() => {}));
  const client = clientOn(sim.host("client"), {}, TLS);
  await sim.run({ until: () => client.events.length > 0 });
  assertEquals(client.events[0], "error TimedOut");
  assert(sim.now > 3_000 && sim.now < 3_050, `${sim.now} ms`);
});

Deno.test("A simulated TLS server has nothing to do with plain clients", async () => {
  const sim = new SimNetwork();
  sim.host("server", () => new EchoServer({}, SERVER_TLS));
  const client = clientOn(sim.host("client"));
  client.send(bytes("spam"));
  await sim.run();
  assertEquals(client.answer.includes("spam"), false);
  assertEquals(client.events[0], "connect");
  assertEquals(sim.host("server").map.size, 1);
});

Deno.test("A simulation says that it cannot start TLS later", async () => {
  const sim = echoNetwork();
  let message = "";
  class Upgrading extends Client {
    override async handleConnect(): Promise<void> {
      await this.startTls().catch((error) => message = error.message);
    }
  }
  sim.host("client").run(() => new Upgrading());
  await sim.run();
  assertMatch(message, /^Cannot start TLS: a simulation has only connections/);
});
