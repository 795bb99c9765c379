/** Options of `createSocket()` that would have no effect are refused. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Dispatcher, type SocketOptions } from "../mod.ts";
import { FakeNetwork, quietMap } from "./fakes.ts";
import { runCommand } from "./peers.ts";

for (const transport of ["unix", "vsock"] as const) {
  Deno.test(`createSocket() refuses backlog and reusePort for transport "${transport}"`, () => {
    const map = quietMap({ network: new FakeNetwork() });
    const dispatcher = new Dispatcher(null, { map });
    for (const option of [{ backlog: 3 }, { reusePort: true }]) {
      const [name] = Object.keys(option);
      assertThrows(
        () => dispatcher.createSocket({ transport, ...option }),
        TypeError,
        `${name} has no effect on transport "${transport}": leave it out`,
      );
      assertEquals(map.size, 0);
    }
    dispatcher.createSocket({ transport, reusePort: false });
    assertEquals(map.size, 1);
  });
}

const LISTENERS_ONLY: SocketOptions[] = [
  { backlog: 3 },
  { reusePort: true },
  { maxConnections: 3 },
];

for (const options of LISTENERS_ONLY) {
  const [name] = Object.keys(options);
  Deno.test(`Dispatcher.connect() refuses the option ${name}`, () => {
    const map = quietMap({ network: new FakeNetwork() });
    const client = new Dispatcher(null, { map });
    client.createSocket(options);
    assertThrows(
      () => client.connect({ port: 7 }),
      TypeError,
      `${name} is for listeners, and this socket is to connect`,
    );
    client.bind({ port: 7 });
    client.abort();
  });
}

Deno.test("Dispatcher.bind() refuses the option connectTimeout", () => {
  const map = quietMap({ network: new FakeNetwork() });
  const server = new Dispatcher(null, { map });
  server.createSocket({ connectTimeout: 1_000 });
  assertThrows(
    () => server.bind({ port: 7 }),
    TypeError,
    "connectTimeout is for clients, and this socket is to listen",
  );
  server.connect({ port: 7 });
  server.abort();
});

/** Runs `shared_port.ts`, and gives its lines. */
async function sharedPort(...flags: string[]): Promise<string[]> {
  const program =
    `${import.meta.dirname}/../tools/test_programs/shared_port.ts`;
  const args = ["run", "-A", "--quiet", "--no-check", ...flags, program];
  const { code, out, err } = await runCommand(Deno.execPath(), args);
  assertEquals({ code, err }, { code: 0, err: "" });
  return out.trim().split("\n");
}

Deno.test("reusePort without --unstable-net is an error that names the flag", async () => {
  const [error, ...rest] = await sharedPort();
  assert(error!.startsWith("NotSupported: "), error);
  assert(error!.includes("reusePort needs --unstable-net"), error);
  assertEquals(rest, ["goes on"]);
});

Deno.test({
  name: "reusePort with --unstable-net lets two listeners share a port",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    assertEquals(await sharedPort("--unstable-net"), ["shared", "goes on"]);
  },
});
