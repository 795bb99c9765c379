/**
 * Runs `examples/stream_pipeline.ts` as a person would: alone, and against a
 * server that is no part of this project.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { Child, type Result } from "./peers.ts";

/** Runs the example with `input` on its standard input. */
async function run(args: string[], input = ""): Promise<Result> {
  const name = "stream_pipeline";
  await using child = await Child.start(["--allow-net"], name, ...args);
  if (input) await child.write(input);
  return await child.end();
}

Deno.test("stream_pipeline prints the lines of its own server", async () => {
  assertEquals(await run([]), {
    code: 0,
    out: [
      '1: "ONE CAFÉ, ONE CRÈME BRÛLÉE,"',
      '2: "TWO SPOONS, THREE WISHES:"',
      '3: "THAT A LINE MAY BE AS LONG AS IT LIKES,"',
      '4: "THAT ITS END MAY BE FOUND IN THE MIDDLE OF A PACKET,"',
      '5: "AND THAT A LETTER OF TWO BYTES MAY ARRIVE IN TWO HALVES."',
    ].join("\n"),
    err: "",
  });
});

Deno.test("stream_pipeline sends its input to a web server and prints the answer", async () => {
  let path = "";
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => {
      path = new URL(request.url).pathname;
      return new Response("spam\nand\x1b[2J eggs\n");
    },
  );
  const { hostname, port } = server.addr;
  const { code, out, err } = await run(
    [hostname, `${port}`],
    "GET /menu HTTP/1.1\r\nHost: spam\r\nConnection: close\r\n\r\n",
  );
  assertEquals({ code, err, path }, { code: 0, err: "", path: "/menu" });
  assertMatch(out, /^1: "HTTP\/1\.1 200 OK"\n/);
  assertMatch(out, /\d+: "spam"\n\d+: "and\\u001b\[2J eggs"$/);
});

Deno.test("stream_pipeline says that nobody listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const { code, out, err } = await run(["127.0.0.1", `${port}`]);
  assertEquals({ code, out }, { code: 1, out: "" });
  assertMatch(err, /^The conversation failed: .*refused.*\n$/);
});

Deno.test("stream_pipeline explains how it is used", async () => {
  const isBad = (port: string) => `PORT must be from 1 to 65535, got "${port}"`;
  const cases: [string[], string][] = [
    [["host"], "PORT is missing"],
    [["host", "1", "2"], 'Unexpected argument "2"'],
    [["host", "port"], isBad("port")],
    [["", "0"], isBad("0")],
    [["127.0.0.1", "99999"], isBad("99999")],
  ];
  for (const [args, complaint] of cases) {
    const err =
      `${complaint}. Usage: stream_pipeline.ts [HOST PORT] [--help]\n`;
    assertEquals(await run(args), { code: 2, out: "", err });
  }
});
