/**
 * The HTTP server as a person would run it, with the clients of this world:
 * curl, Chromium and wrk, each left out by name where it is missing.
 */

import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { ECHO } from "../examples/signals.ts";
import { pattern } from "./fakes.ts";
import {
  Caller,
  Child,
  Folder,
  pass,
  runCommand,
  testLinux,
  testUnix,
  testWith,
} from "./peers.ts";

const isLinux = Deno.build.os === "linux";
/** The ms that the server gives its clients after the first signal. */
const GRACE = 5_000;
const MEGABYTE = 1024 * 1024;

/** A folder for one test, and the server's process that serves it. */
class Served extends Folder implements AsyncDisposable {
  child!: Child;

  static async start(files: Record<string, string | Uint8Array> = {}) {
    const served = new Served();
    for (const [name, content] of Object.entries(files)) {
      served.write(name, content);
    }
    // No more than what the comment of the example says.
    const permissions = ["--allow-net", `--allow-read=${served.path}`];
    const args = [served.path, "--port", "0", "--quiet"];
    served.child = await Child.serve(permissions, "http_server", ...args);
    return served;
  }

  get url(): string {
    return `http://127.0.0.1:${this.child.port}/`;
  }

  /** Writes a file of zeros. */
  writeZeros(name: string, megabytes: number): void {
    Deno.truncateSync(this.write(name), megabytes * MEGABYTE);
  }

  connect(): Promise<Caller> {
    return Caller.connect(this.child.port);
  }

  /** The output of curl for paths below the root. */
  async curl(args: string[], ...paths: string[]): Promise<string> {
    const urls = paths.map((path) => this.url + path);
    const result = await runCommand("curl", ["-s", ...args, ...urls]);
    assertEquals({ ...result, out: "" }, { code: 0, out: "", err: "" });
    return result.out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    this[Symbol.dispose]();
  }
}

testWith("curl", "http_server sends curl all and parts of a file", async () => {
  const content = pattern(10 * MEGABYTE);
  await using served = await Served.start({ "a.bin": content });
  const to = `${served.path}/copy`;
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
});

testWith("curl", "http_server tells curl whether a file is new", async () => {
  await using served = await Served.start({ "a.txt": "spam" });
  const head = await served.curl(["-I"], "a.txt");
  assertStringIncludes(head, "HTTP/1.1 200 OK\r\n");
  assertStringIncludes(head, "Content-Length: 4\r\n");
  const code = ["-o", "/dev/null", "-w", "%{http_code} "];
  const tags = ["--etag-save", `${served.path}/tag`];
  assertEquals(await served.curl([...code, ...tags], "a.txt"), "200 ");
  const known = ["--etag-compare", `${served.path}/tag`];
  assertEquals(await served.curl([...code, ...known], "a.txt"), "304 ");
  const newer = ["-z", `${served.path}/a.txt`];
  assertEquals(await served.curl([...code, ...newer], "a.txt"), "304 ");
  assertEquals(await served.curl([...code, "-d", "x"], "a.txt"), "405 ");
  assertEquals(await served.curl([...code, "-0"], "a.txt"), "200 ");
});

testWith("curl", "http_server keeps its connection with curl", async () => {
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
});

testWith("curl", "http_server refuses curl too large requests", async () => {
  await using served = await Served.start();
  const large = served.write("large", pattern(20 * MEGABYTE));
  const format = ["-o", "/dev/null", "-w", "%{http_code}"];
  assertEquals(await served.curl([...format, "-T", large], "a"), "405");
  const unasked = ["-H", "Expect:", "-T", large];
  const hasty = await runCommand("curl", [
    "-s",
    ...format,
    ...unasked,
    served.url,
  ]);
  assertEquals(hasty.out, "413");
  const header = ["-H", `X: ${"y".repeat(50_000)}`];
  assertEquals(await served.curl([...format, ...header], ""), "431");
  assertEquals(await served.curl(format, "x".repeat(9_000)), "414");
});

const REQUEST = "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";

testLinux("http_server keeps little for clients that wait", async () => {
  await using served = await Served.start();
  served.writeZeros("large", 256);
  using clients = new DisposableStack();
  const first = clients.use(await served.connect());
  await first.say(REQUEST.replace("GET", "HEAD"));
  await first.until("\r\n\r\n");
  const before = served.child.memory;
  for (let count = 0; count < 20; count++) {
    const lazy = clients.use(await served.connect());
    await lazy.say(REQUEST.repeat(2));
    await lazy.until("\r\n\r\n");
  }
  await first.say(REQUEST.replace("Host", "Connection: close\r\nHost"));
  await first.ignore();
  assertLess(served.child.memory - before, 64 * MEGABYTE);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testUnix(`http_server finishes downloads after ${signal}`, async () => {
    await using served = await Served.start();
    served.writeZeros("large", 24); // more than the kernel takes
    using idle = await served.connect();
    using busy = await served.connect();
    await busy.say(REQUEST);
    await busy.until("\r\n\r\n");
    served.child.kill(signal);
    assertEquals(await idle.rest(), "");
    assertEquals((await busy.rest()).length, 24 * MEGABYTE);
    const out = await served.child.endWell();
    assertMatch(out, /^serving ".*" at http:.*\n.*: closing$/);
    assertStringIncludes(out, signal);
  });

  testUnix(`http_server ends at a second signal, ${signal}`, async () => {
    await using served = await Served.start();
    served.writeZeros("large", 64);
    using busy = await served.connect();
    await busy.say(REQUEST);
    await busy.until("\r\n\r\n");
    const start = performance.now();
    served.child.kill("SIGTERM");
    await served.child.until("SIGTERM: closing");
    await pass(ECHO + 50); // else it would be the same one
    served.child.kill(signal);
    assertMatch(await served.child.endWell(), /1 connection was cut$/);
    assertLess(performance.now() - start, GRACE);
    assertLess((await busy.rest()).length, 64 * MEGABYTE);
  });
}

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

testWith("chromium", "http_server shows Chromium a whole page", async () => {
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
});

testWith("wrk", "http_server answers wrk without an error", async () => {
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
    const { code, out } = await runCommand("wrk", ["-c32", "-d1", ...args]);
    assertEquals(code, 0, out);
    assertMatch(out, /[1-9]\d* requests in/);
    assertEquals(out.match(/^ *(?:Socket errors|Non-2xx).*$/gm), null);
  }
  assert(!isLinux || served.child.memory < 512 * MEGABYTE);
});
