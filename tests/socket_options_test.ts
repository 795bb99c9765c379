/** Options of `createSocket()` that would have no effect, and addresses of vsock. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type Address,
  Dispatcher,
  SocketMap,
  type SocketOptions,
} from "../mod.ts";
import { parseAddress } from "../core/address.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { runCommand } from "./peers.ts";
import { setUp } from "./scenes.ts";

/** A dispatcher whose sockets nobody sees. */
function unused() {
  const { map } = setUp();
  return { map, dispatcher: new Dispatcher(null, { map }) };
}

for (const transport of ["unix", "vsock"] as const) {
  Deno.test(`createSocket() refuses the options of TCP listeners for transport "${transport}"`, () => {
    const { map, dispatcher } = unused();
    const ofTcp = [{ backlog: 3 }, { reusePort: true }, { ipv6Only: false }];
    for (const option of ofTcp) {
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

const ONE_SIDED: ["bind" | "connect", SocketOptions, string][] = [
  ["connect", { backlog: 3 }, "backlog is for listeners"],
  ["connect", { reusePort: true }, "reusePort is for listeners"],
  ["connect", { ipv6Only: false }, "ipv6Only is for listeners"],
  ["connect", { maxConnections: 3 }, "maxConnections is for listeners"],
  ["bind", { connectTimeout: 1_000 }, "connectTimeout is for clients"],
];

for (const [method, options, message] of ONE_SIDED) {
  Deno.test(`Dispatcher.${method}() refuses ${Deno.inspect(options)}`, () => {
    const { dispatcher } = unused();
    dispatcher.createSocket(options);
    assertThrows(
      () => dispatcher[method]({ port: 7 }),
      TypeError,
      `${message}, and this socket is to `,
    );
    dispatcher[method === "bind" ? "connect" : "bind"]({ port: 7 });
    dispatcher.abort();
  });
}

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

for (const transport of ["tcp", "tls"] as const) {
  Deno.test(`ipv6Only over Deno's network is an error that says what to do (${transport})`, () => {
    const map = new SocketMap({ network: denoNetwork });
    const server = new Dispatcher(null, { map });
    const options = { transport, tls: { cert: "spam", key: "eggs" } };
    server.createSocket({
      ...(transport === "tls" ? options : {}),
      ipv6Only: true,
    });
    assertThrows(
      () => server.bind({ hostname: "::", port: 0 }),
      Deno.errors.NotSupported,
      transport === "tls"
        ? "over TLS leave it out"
        : "give the map epollNetwork",
    );
    assertEquals(map.size, 0);
  });
}

Deno.test("createSocket() takes true or false for ipv6Only", () => {
  const { dispatcher } = unused();
  const options = { ipv6Only: 1 } as unknown as SocketOptions;
  assertThrows(
    () => dispatcher.createSocket(options),
    TypeError,
    "ipv6Only must be true or false, got 1",
  );
});

// Addresses of vsock

Deno.test("a vsock address is a context identifier and a port", () => {
  for (
    const [action, address] of [
      ["connect", { cid: 2, port: 7 }],
      ["bind", { cid: -1, port: 0xffffffff }],
    ] as const
  ) {
    const parsed = parseAddress(address, { action, transport: "vsock" });
    assertEquals(parsed, { ...address, transport: "vsock" });
  }
});

const BAD_VSOCK: [unknown, typeof TypeError | typeof RangeError, string][] = [
  [{ port: 7 }, TypeError, "the address of a vsock socket is { cid, port }"],
  [{ hostname: "a", port: 7 }, TypeError, "{ cid, port }"],
  [{ path: "/a" }, TypeError, "{ cid, port }"],
  [null, TypeError, "{ cid, port }"],
  [{ cid: "2", port: 7 }, TypeError, "cid"],
  [{ cid: 2 }, TypeError, "port"],
  [{ cid: 2.5, port: 7 }, RangeError, "cid"],
  [{ cid: -2, port: 7 }, RangeError, "cid"],
  [{ cid: 2 ** 32, port: 7 }, RangeError, "cid"],
  [{ cid: 2, port: -1 }, RangeError, "port"],
  [{ cid: 2, port: 2 ** 32 }, RangeError, "port"],
  [{ cid: 2, port: 7, flags: 1 }, TypeError, '"flags" is no part'],
];

for (const [address, type, message] of BAD_VSOCK) {
  Deno.test(`connect(${Deno.inspect(address)}) over vsock is refused`, () => {
    const { map, dispatcher } = unused();
    dispatcher.createSocket({ transport: "vsock" });
    const connect = () => dispatcher.connect(address as Address);
    assertThrows(connect, type, message);
    assertEquals(dispatcher.connecting, false);
    dispatcher.close();
    assertEquals(map.size, 0);
  });
}
