/**
 * A program of the benchmark: a process of its own that is asked by lines and
 * answers by lines.
 *
 * @module
 */

/** How a program is started. */
export interface Launch {
  command: string;
  args: string[];
  /** The processor that it may use; any when not given. */
  core?: number | undefined;
}

const encoder = new TextEncoder();

/** A running program. */
export class Program implements AsyncDisposable {
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor({ command, args, core }: Launch) {
    this.#name = [command, ...args].join(" ");
    const pinned = core === undefined
      ? { command, args }
      : { command: "taskset", args: ["-c", String(core), command, ...args] };
    this.#child = new Deno.Command(pinned.command, {
      args: pinned.args,
      cwd: import.meta.dirname!,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
  }

  /** The next line that it prints. */
  async answer(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { done, value } = await this.#output.read();
      if (done) throw new Error(`It ended early: ${this.#name}`);
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  async ask(line: string): Promise<string> {
    await this.#input.write(encoder.encode(`${line}\n`));
    return await this.answer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await this.#input.abort().catch(() => {});
    await this.#output.cancel().catch(() => {});
  }
}
