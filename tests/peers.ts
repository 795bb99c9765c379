/**
 * Peers of a program under test: child processes and plain connections. They
 * end with their test, and none of them waits for ever.
 */

import { assertEquals } from "@std/assert";
import { TextLineStream, toText } from "@std/streams";
import { withStd } from "../tools/with_std.ts";
import { bytes, PATIENCE, text } from "./support.ts";

const root = `${import.meta.dirname}/..`;

/** When one of the peers said or heard something last. */
let lastProgress = 0;

/** Note that the test goes on: it may take as long as it needs. */
function goesOn(): void {
  lastProgress = performance.now();
}

/** Ends a peer when none of them has gone on for {@linkcode PATIENCE}. */
class Deadline implements Disposable {
  #id: ReturnType<typeof setTimeout>;
  readonly #end: () => void;

  constructor(end: () => void) {
    this.#end = end;
    goesOn();
    this.#id = setTimeout(() => this.#look(), PATIENCE);
  }
  #look(): void {
    const left = lastProgress + PATIENCE - performance.now();
    if (left <= 0) this.#end();
    else this.#id = setTimeout(() => this.#look(), left);
  }
  [Symbol.dispose](): void {
    clearTimeout(this.#id);
  }
}

/** Waits until so many ms have passed. */
export function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The output of a child, and its exit code. */
export interface Result {
  code: number;
  out: string;
  err: string;
}

/** A child process that never outlives its test. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #err: Promise<string>;
  readonly #deadline: Deadline;
  readonly #seen: string[] = [];
  /** Where a server listens; see {@linkcode Child.serve}. */
  port = 0;

  constructor(command: string, args: string[]) {
    this.#process = new Deno.Command(command, {
      args,
      cwd: root,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#lines = this.#process.stdout
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())
      .getReader();
    this.#err = toText(this.#process.stderr);
    this.#deadline = new Deadline(() => this.kill("SIGKILL"));
  }

  /** Starts an example with these permissions. */
  static async start(
    permissions: string[],
    name: string,
    ...args: string[]
  ): Promise<Child> {
    const file = `examples/${name}.ts`;
    const command = ["run", "--quiet", ...permissions, file, ...args];
    return new Child(Deno.execPath(), await withStd(command));
  }

  /** Starts an example that serves, and waits until it says on which port. */
  static async serve(
    permissions: string[],
    name: string,
    ...args: string[]
  ): Promise<Child> {
    const child = await Child.start(permissions, name, ...args);
    const line = await child.until("127.0.0.1:");
    child.port = Number(/127\.0\.0\.1:(\d+)/.exec(line)![1]);
    return child;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The bytes of memory that the child takes; Linux alone tells. */
  get memory(): number {
    const status = Deno.readTextFileSync(`/proc/${this.pid}/status`);
    return Number(/VmRSS:\s*(\d+) kB/.exec(status)![1]) * 1024;
  }

  async write(input: string): Promise<void> {
    await this.#stdin.write(bytes(input));
  }

  /** The next line that contains `part`. */
  async until(part: string): Promise<string> {
    for (;;) {
      const { value } = await this.#lines.read();
      if (value === undefined) {
        throw new Error(`No ${part}: ${this.#seen.join("\n")}`);
      }
      goesOn();
      this.#seen.push(value);
      if (value.includes(part)) return value;
    }
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#process.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Ends the input and waits for the child. */
  async end(): Promise<Result> {
    await this.#stdin.close().catch(() => {});
    for (;;) {
      const { value } = await this.#lines.read();
      if (value === undefined) break;
      this.#seen.push(value);
    }
    const { code } = await this.#process.status;
    return { code, out: this.#seen.join("\n"), err: await this.#err };
  }

  /** Waits until the child has ended without a complaint, for what it said. */
  async endWell(): Promise<string> {
    const { code, out, err } = await this.end();
    assertEquals({ code, err }, { code: 0, err: "" });
    return out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.end();
    this.#deadline[Symbol.dispose]();
  }
}

/** A plain connection that says what it is told to, and looks for answers. */
export class Caller implements Disposable {
  readonly #conn: Deno.TcpConn;
  readonly #deadline: Deadline;
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #decoder = new TextDecoder();
  #unread = "";

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
    conn.setNoDelay();
    this.#deadline = new Deadline(() => this.#close());
  }

  static async connect(port: number): Promise<Caller> {
    return new Caller(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async say(input: string | Uint8Array): Promise<void> {
    let data = typeof input === "string" ? bytes(input) : input;
    while (data.length > 0) {
      data = data.subarray(await this.#conn.write(data));
      goesOn();
    }
  }

  /** The text that has come up to `part`, with `part`. */
  async until(part: string): Promise<string> {
    for (let from = 0;;) {
      const at = this.#unread.indexOf(part, from);
      if (at >= 0) {
        const end = at + part.length;
        const found = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end);
        return found;
      }
      from = Math.max(0, this.#unread.length - part.length + 1);
      const more = await this.#read();
      if (more === null) {
        throw new Error(`No ${part}: …${this.#unread.slice(-1_000)}`);
      }
      this.#unread += more;
    }
  }

  /** All that comes until the end. */
  async rest(): Promise<string> {
    let rest = this.#unread;
    this.#unread = "";
    for (let more; (more = await this.#read()) !== null;) rest += more;
    return rest;
  }

  /** Reads and forgets, until the end. */
  async ignore(): Promise<void> {
    this.#unread = "";
    while (await this.#read() !== null);
  }

  async closeWrite(): Promise<void> {
    await this.#conn.closeWrite();
  }

  async #read(): Promise<string | null> {
    const length = await this.#conn.read(this.#buffer).catch(() => null);
    goesOn();
    if (length === null) {
      // A server waits for the client's end, too.
      await this.#conn.closeWrite().catch(() => {});
      return null;
    }
    const data = this.#buffer.subarray(0, length);
    return this.#decoder.decode(data, { stream: true });
  }

  #close(): void {
    try {
      this.#conn.close();
    } catch {
      // It is closed.
    }
  }

  [Symbol.dispose](): void {
    this.#deadline[Symbol.dispose]();
    this.#close();
  }
}

/** A folder that goes with its test. */
export class Folder implements Disposable {
  readonly path: string = Deno.makeTempDirSync();

  /** Permissions for this folder and the network. */
  readonly permissions: string[] = [
    "--allow-net",
    `--allow-read=${this.path}`,
    `--allow-write=${this.path}`,
  ];

  get names(): string[] {
    return Array.from(Deno.readDirSync(this.path), ({ name }) => name).sort();
  }

  /** Writes a file, and returns its path. */
  write(name: string, content: string | Uint8Array = ""): string {
    const path = `${this.path}/${name}`;
    const data = typeof content === "string" ? bytes(content) : content;
    Deno.writeFileSync(path, data);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A test of what Windows lacks: signals, links, pipes with a name. */
export function testUnix(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os === "windows", fn });
}

/** A test of what Linux alone tells: memory, open files. */
export function testLinux(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.build.os !== "linux", fn });
}

/** A test that needs a program of this machine. */
export function testWith(
  peer: string,
  name: string,
  fn: () => Promise<void>,
): void {
  Deno.test({
    name: `${name} (skipped where there is no ${peer})`,
    ignore: !hasCommand(peer, "--version"),
    fn,
  });
}

/** Whether a command is to be found on this machine. */
export function hasCommand(command: string, ...args: string[]): boolean {
  try {
    const { stderr, stdout } = new Deno.Command(command, { args }).outputSync();
    return stderr.length + stdout.length > 0;
  } catch {
    return false;
  }
}

/** Runs a command to its end. */
export async function runCommand(
  command: string,
  args: string[],
): Promise<Result> {
  const output = await new Deno.Command(command, {
    args,
    signal: AbortSignal.timeout(2 * PATIENCE),
  }).output();
  const { code, stdout, stderr } = output;
  return { code, out: text(stdout), err: text(stderr) };
}

/** The first Python that runs a program well, and what that prints. */
export async function findPython(
  program: string,
): Promise<{ name: string; out: string } | null> {
  for (const name of ["python3.11", "python3", "/usr/bin/python3", "python"]) {
    const args = ["-W", "ignore", "-c", program];
    const result = await runCommand(name, args).catch(() => null);
    if (result?.code === 0) return { name, out: result.out };
  }
  return null;
}

/** Starts a Python program with the files of these PEMs, which says its port. */
export async function startPython(
  program: string,
  pems: string[],
  python = "python3",
): Promise<{ child: Child; port: number }> {
  const folder = await Deno.makeTempDir();
  const files = pems.map((_, i) => `${folder}/${i}`);
  for (const [i, pem] of pems.entries()) {
    await Deno.writeTextFile(files[i]!, pem);
  }
  const child = new Child(python, ["-c", program, ...files]);
  const port = Number(await child.until(""));
  await Deno.remove(folder, { recursive: true }); // All is loaded.
  return { child, port };
}
