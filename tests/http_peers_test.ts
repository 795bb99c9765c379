/**
 * The HTTP server as a person would run it, with the clients of this world:
 * curl, Chromium and wrk, each left out by name where it is missing.
 */

import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { ECHO } from "../examples/signals.ts";
import { Caller, Child, hasCommand, pass, runCommand } from "./peers.ts";

const isLinux = Deno.build.os === "linux";
/** How many ms the server gives its clients after the first signal. */
const GRACE = 5_000;
const MEGABYTE = 1024 * 1024;

/** A folder for one test, and the server's process that serves it. */
class Served implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  child!: Child;
  url = "";

  static async start(files: Record<string, string | Uint8Array> = {}) {
    const served = new Served();
    for (const [name, content] of Object.entries(files)) {
      served.write(name, content);
    }
    // No more than what the comment of the example says.
    const permissions = ["--allow-net", `--allow-read=${served.folder}`];
    const args = [served.folder, "--port", "0", "--quiet"];
    served.child = await Child.start(permissions, "http_server", ...args);
    const line = await served.child.until("serving");
    served.url = /http:\S+$/.exec(line)![0];
    return served;
  }

  write(name: string, content: string | Uint8Array): string {
    const path = `${this.folder}/${name}`;
    if (typeof content === "string") Deno.writeTextFileSync(path, content);
    else Deno.writeFileSync(path, content);
    return path;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** The bytes of memory that the server takes. */
  get memory(): number {
    const status = Deno.readTextFileSync(`/proc/${this.child.pid}/status`);
    return Number(/VmRSS:\s*(\d+) kB/.exec(status)![1]) * 1024;
  }

  /** What curl prints for paths below the root. */
  async curl(args: string[], ...paths: string[]): Promise<string> {
    const urls = paths.map((path) => this.url + path);
    const { code, out, err } = await runCommand("curl", [
      "-s",
      ...args,
      ...urls,
    ]);
    assertEquals({ code, err }, { code: 0, err: "" });
    return out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** A test that needs a program of this machine. */
function testWith(peer: string, name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: `http_server ${name} (skipped where there is no ${peer})`,
    ignore: !hasCommand(peer, "--version"),
    fn,
  });
}

/** Bytes that are worth comparing. */
function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  return bytes;
}

testWith(
  "curl",
  "sends curl a large file unharmed, whole and in parts",
  async () => {
    const content = noise(10 * MEGABYTE);
    await using served = await Served.start({ "a.bin": content });
    const to = `${served.folder}/copy`;
    await served.curl(["-o", to], "a.bin");
    assertEquals(Deno.readFileSync(to), content);
    // Half of it is here; curl asks for the rest.
    Deno.truncateSync(to, 5 * MEGABYTE);
    await served.curl(["-C", "-", "-o", to], "a.bin");
    assertEquals(Deno.readFileSync(to), content);
    await served.curl(["-r", "1000-1999", "-o", to], "a.bin");
    assertEquals(Deno.readFileSync(to), content.slice(1_000, 2_000));
    await served.curl(["-r", "-1", "-o", to], "a.bin");
    assertEquals(Deno.readFileSync(to), content.slice(-1));
  },
);

testWith(
  "curl",
  "tells curl about files that it knows and does not know",
  async () => {
    await using served = await Served.start({ "a.txt": "spam" });
    const head = await served.curl(["-I"], "a.txt");
    assertStringIncludes(head, "HTTP/1.1 200 OK\r\n");
    assertStringIncludes(head, "Content-Length: 4\r\n");
    const code = ["-o", "/dev/null", "-w", "%{http_code} "];
    const tags = ["--etag-save", `${served.folder}/tag`];
    assertEquals(await served.curl([...code, ...tags], "a.txt"), "200 ");
    const known = ["--etag-compare", `${served.folder}/tag`];
    assertEquals(await served.curl([...code, ...known], "a.txt"), "304 ");
    const newer = ["-z", `${served.folder}/a.txt`];
    assertEquals(await served.curl([...code, ...newer], "a.txt"), "304 ");
    assertEquals(await served.curl([...code, "-d", "x"], "a.txt"), "405 ");
    assertEquals(await served.curl([...code, "-0"], "a.txt"), "200 ");
  },
);

testWith(
  "curl",
  "answers all that curl asks on one connection",
  async () => {
    await using served = await Served.start({ "a": "spam", "b": "eggs" });
    const format = ["-w", " %{http_code} %{num_connects}\n"];
    const refused = ["-X", "POST", "-d", "0=1"];
    assertEquals(
      await served.curl(format, "a", "b", "none", "a"),
      "spam 200 1\neggs 200 0\n404 Not Found\n 404 0\nspam 200 0\n",
    );
    assertEquals(
      await served.curl([...format, ...refused], "a", "b"),
      "405 Method Not Allowed\n 405 1\n405 Method Not Allowed\n 405 0\n",
    );
  },
);

testWith(
  "curl",
  "lets curl have nothing that is out of the root",
  async () => {
    await using served = await Served.start({ "a": "spam" });
    const outside = Deno.makeTempFileSync();
    try {
      const name = outside.split("/").at(-1)!;
      Deno.symlinkSync(outside, `${served.folder}/link`);
      const paths = [
        ...["link", `../${name}`, `%2e%2e/${name}`, `..%2f${name}`],
        ...[`..%5c${name}`, `a/../../${name}`, `./../${name}`, `/${outside}`],
        ...[`.%2e/${name}`, `%2e%2e%2f${name}`, `${outside}%00`, "a%00"],
      ];
      const answers = await served.curl(["--path-as-is"], ...paths);
      assertEquals(answers, "404 Not Found\n".repeat(paths.length));
    } finally {
      Deno.removeSync(outside);
    }
  },
);

testWith("curl", "refuses what curl sends too much of", async () => {
  await using served = await Served.start();
  const large = served.write("large", noise(20 * MEGABYTE));
  const format = ["-o", "/dev/null", "-w", "%{http_code}"];
  assertEquals(await served.curl([...format, "-T", large], "a"), "405");
  const unasked = ["-H", "Expect:", "-T", large];
  const { out } = await runCommand("curl", [
    "-s",
    ...format,
    ...unasked,
    served.url,
  ]);
  assertEquals(out, "413");
  const header = ["-H", `X: ${"y".repeat(50_000)}`];
  assertEquals(await served.curl([...format, ...header], ""), "431");
  assertEquals(await served.curl(format, "x".repeat(9_000)), "414");
});

Deno.test({
  name:
    "http_server needs little memory for large files and clients that do not read",
  ignore: !isLinux,
  async fn() {
    await using served = await Served.start({ "large": "" });
    Deno.truncateSync(`${served.folder}/large`, 256 * MEGABYTE);
    const request = "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
    using first = await Caller.connect(served.port);
    await first.say(request.replace("GET", "HEAD"));
    await first.until("\r\n\r\n");
    const before = served.memory;
    const lazy: Caller[] = [];
    try {
      for (let count = 0; count < 20; count++) {
        const client = await Caller.connect(served.port);
        lazy.push(client);
        await client.say(request.repeat(2));
        await client.until("\r\n\r\n");
      }
      await first.say(request.replace("Host", "Connection: close\r\nHost"));
      await first.ignore();
      assertLess(served.memory - before, 64 * MEGABYTE);
    } finally {
      for (const client of lazy) client[Symbol.dispose]();
    }
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test({
    name: `http_server finishes downloads after ${signal}`,
    ignore: Deno.build.os === "windows",
    async fn() {
      await using served = await Served.start({ "large": "" });
      const size = 24 * MEGABYTE; // more than the kernel takes
      Deno.truncateSync(`${served.folder}/large`, size);
      using idle = await Caller.connect(served.port);
      using busy = await Caller.connect(served.port);
      await busy.say("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
      await busy.until("\r\n\r\n");
      served.child.kill(signal);
      assertEquals(await idle.rest(), "");
      assertEquals((await busy.rest()).length, size);
      busy[Symbol.dispose]();
      const { code, out, err } = await served.child.end();
      assertEquals({ code, err }, { code: 0, err: "" });
      assertMatch(out, /^serving ".*" at http:.*\n.*: closing$/);
      assertStringIncludes(out, signal);
    },
  });

  Deno.test({
    name: `http_server waits for nobody after a second signal, a ${signal}`,
    ignore: Deno.build.os === "windows",
    async fn() {
      await using served = await Served.start({ "large": "" });
      const size = 64 * MEGABYTE;
      Deno.truncateSync(`${served.folder}/large`, size);
      using busy = await Caller.connect(served.port);
      await busy.say("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
      await busy.until("\r\n\r\n");
      const start = performance.now();
      served.child.kill("SIGTERM");
      await served.child.until("SIGTERM: closing");
      await pass(ECHO + 50); // else it would be the same one
      served.child.kill(signal);
      const { code, out } = await served.child.end();
      assertEquals(code, 0);
      assertLess(performance.now() - start, GRACE);
      assertMatch(out, /1 connection was cut$/);
      assertLess((await busy.rest()).length, size);
    },
  });
}

Deno.test("http_server says what is wrong with its arguments", async () => {
  const file = import.meta.filename!;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const usage =
    ". Usage: http_server.ts ROOT [--port PORT] [--quiet] [--help]\n";
  const cases: [string[], number, RegExp | string][] = [
    [[], 2, `ROOT is missing${usage}`],
    [["--quiet", "--port", "0"], 2, `ROOT is missing${usage}`],
    [[".", "."], 2, `Unexpected argument "."${usage}`],
    [["--spam", "."], 2, `Unknown option "--spam"${usage}`],
    [
      [".", "--port", "0", "--port=0"],
      2,
      `--port is given twice${usage}`,
    ],
    [["--quiet", ".", "--quiet"], 2, `--quiet is given twice${usage}`],
    [[".", "--port"], 2, `--port needs a value${usage}`],
    [
      ["--port=65536", ".", "--quiet"],
      2,
      `PORT must be from 0 to 65535, got "65536"${usage}`,
    ],
    [
      ["no/such/folder"],
      1,
      /^Cannot serve "no\/such\/folder": .+\n$/,
    ],
    [
      [file],
      1,
      `Cannot serve ${JSON.stringify(file)}: It is not a directory\n`,
    ],
    [
      [".", "--port", `${listener.addr.port}`],
      1,
      /^Cannot serve ".": .+\n$/,
    ],
  ];
  await Promise.all(cases.map(async ([args, code, complaint]) => {
    const permissions = ["--allow-net", "--allow-read"];
    await using child = await Child.start(permissions, "http_server", ...args);
    const result = await child.end();
    assertEquals([result.code, result.out], [code, ""]);
    if (typeof complaint === "string") assertEquals(result.err, complaint);
    else assertMatch(result.err, complaint);
  }));
});

const PAGE = `<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Spam</title>
<link rel="stylesheet" href="style.css"><script src="script.js"></script>
</head><body><img id="image" src="image.png"></body></html>`;
const SCRIPT = `addEventListener("load", () => {
  const { color } = getComputedStyle(document.body);
  const { naturalWidth } = document.getElementById("image");
  document.body.append(\`color \${color}, width \${naturalWidth}, café\`);
});`;
const IMAGE = Uint8Array.from(
  atob(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  ),
  (char) => char.charCodeAt(0),
);

testWith(
  "chromium",
  "lets Chromium show a page with its style, script and image",
  async () => {
    await using served = await Served.start({
      "index.html": PAGE,
      "style.css": "body { color: rgb(1, 2, 3) }",
      "script.js": SCRIPT,
      "image.png": IMAGE,
    });
    const profile = Deno.makeTempDirSync();
    try {
      const { code, out } = await runCommand("chromium", [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"],
        ...["--no-first-run", "--disable-background-networking"],
        ...["--disable-component-update", "--disable-sync"],
        ...[`--user-data-dir=${profile}`, "--dump-dom", served.url],
      ]);
      assertEquals(code, 0);
      assertStringIncludes(out, "color rgb(1, 2, 3), width 1, café</body>");
    } finally {
      Deno.removeSync(profile, { recursive: true });
    }
  },
);

/** What wrk reports: how many answers, and which errors. */
async function wrk(...args: string[]) {
  const { code, out } = await runCommand("wrk", [
    "-t2",
    "-c32",
    "-d1",
    ...args,
  ]);
  assertEquals(code, 0, out);
  const errors = out.match(/^ *(?:Socket errors|Non-2xx).*$/gm) ?? [];
  const answers = Number(/(\d+) requests in/.exec(out)?.[1]);
  return { answers, errors };
}

testWith("wrk", "answers wrk without an error, pipelined or not", async () => {
  await using served = await Served.start({
    "a": "spam",
    "b": "x".repeat(100_000),
  });
  const script = `
    init = function()
      local requests = {}
      for i = 1, 16 do requests[i] = wrk.format("GET", i % 2 == 0 and "/a" or "/b") end
      batch = table.concat(requests)
    end
    request = function() return batch end`;
  const lua = served.write("pipeline.lua", script);
  for (const args of [[`${served.url}a`], ["-s", lua, served.url]]) {
    const { answers, errors } = await wrk(...args);
    assertGreater(answers, 0);
    assertEquals(errors, []);
  }
  assert(!isLinux || served.memory < 512 * MEGABYTE);
});
