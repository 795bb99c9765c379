import { assertEquals, assertExists } from "@std/assert";

const root = new URL("..", import.meta.url);

/** The first program of the README, on a free port that it tells. */
async function firstProgram(): Promise<string> {
  const readme = await Deno.readTextFile(new URL("README.md", root));
  const program = /```ts ignore\n(.*?)```/s.exec(readme)?.[1];
  assertExists(program);
  return program.replace("port: 8007", "port: 0")
    .replace("server.listen();", "$&\nconsole.log(server.addr.port);");
}

Deno.test("the first program of the README echoes to two clients at once", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-net", "--ext=ts", "-"],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  try {
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(await firstProgram()));
    await input.close();
    const output = child.stdout.getReader();
    const { value } = await output.read();
    const port = Number(new TextDecoder().decode(value));
    await output.cancel();

    const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
    using first = await connect();
    using second = await connect();
    const buffer = new Uint8Array(16);
    for (const conn of [first, second, first]) {
      await conn.write(new TextEncoder().encode("spam"));
      assertEquals(await conn.read(buffer), 4);
    }
  } finally {
    child.kill();
    await child.status;
  }
});
