/**
 * Answers standard input in capitals on the second engine, and writes into a file
 * how that went: whose the streams were, the flags that other processes see at
 * them, and how they ended. With `idle`, it ends although nothing has come; with
 * `closed`, it closes its input before.
 *
 *     deno run -A tools/test_programs/upper_streams.ts REPORT [idle | closed]
 *
 * @module
 */

import { FileDispatcher, loop, SocketMap } from "../../mod.ts";
import { epollNetwork, fileno } from "../../epoll/mod.ts";

const [path, mode] = Deno.args;
const map = new SocketMap({ network: epollNetwork });

/** The flags of standard input and output, as each process sees them. */
function flags(): string[] {
  return [0, 1].map((fd) => {
    const info = Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`);
    return /^flags:\s*(\d+)$/m.exec(info)![1]!;
  });
}

function isOfEngine({ socket }: FileDispatcher): boolean {
  try {
    return fileno(socket) > 2;
  } catch {
    return false;
  }
}

const before = flags();
const report: Record<string, unknown> = {};
const output = new FileDispatcher(Deno.stdout, { map });
output.handleClose = () => {
  report.outputEnd = output.closeReason?.message ?? null;
  output.close();
  input.close();
};

class Input extends FileDispatcher {
  override handleRead(): void {
    const text = new TextDecoder().decode(this.recv());
    output.send(text.toUpperCase());
  }
  override handleClose(): void {
    report.end = this.closeReason?.message ?? null;
    this.close();
    output.close();
  }
  override handleError(error: unknown): void {
    report.error = String(error);
    this.close();
    output.close();
  }
}

if (mode === "closed") Deno.stdin.close();
const input = new Input(Deno.stdin, { map });
report.engine = [isOfEngine(input), isOfEngine(output)];
await loop(mode === "idle" ? { map, count: 3, timeout: 10 } : { map });
report.flagsKept = String(before) === String(flags());
await Deno.writeTextFile(path!, JSON.stringify(report));
