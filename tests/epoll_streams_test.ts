/** The standard streams on the second engine, whatever they are. */

import { assertEquals } from "@std/assert";
import { HAS_EPOLL } from "./epoll_faults.ts";
import { Scratch } from "./files.ts";
import { runCommand } from "./peers.ts";
import { canRun } from "./support.ts";

const ROOT = `${import.meta.dirname}/..`;
const PROGRAM = `${ROOT}/tools/test_programs/upper_streams.ts`;

/** How a run of the program went. */
interface Run {
  code: number;
  out: string;
  /** What it wrote down. */
  report: Record<string, unknown>;
}

/**
 * Runs the program by a script of a command, which gets it as its argument, in a
 * folder of its own.
 *
 * @param args What the program gets, besides the file for its report.
 */
async function runBy(
  [command, ...options]: string[],
  script: string,
  ...args: string[]
): Promise<Run> {
  using scratch = new Scratch();
  const report = scratch.file("{}");
  const deno = [Deno.execPath(), "run", "-A", "--quiet", "--no-check"];
  const program = [...deno, PROGRAM, report, ...args];
  const inFolder = ["-c", 'cd "$0"; exec "$@"', scratch.path];
  const all = [...inFolder, command!, ...options, script, ...program];
  const { code, out, err } = await runCommand("sh", all);
  assertEquals(err, "");
  return { code, out, report: JSON.parse(Deno.readTextFileSync(report)) };
}

/** A script of the shell, in which `"$0" "$@"` is the program. */
function inShell(script: string, ...args: string[]): Promise<Run> {
  return runBy(["sh", "-c"], script, ...args);
}

/** A script of Python, in which `program` is the command that starts it. */
function inPython(script: string): Promise<Run> {
  return runBy(["python3", "-c"], PYTHON + script);
}

const PYTHON = `
import fcntl, os, pty, socket, subprocess, sys
program = sys.argv[1:]
`;

function testStreams(
  name: string,
  fn: () => Promise<void>,
  needs?: string,
): void {
  const isThere = needs === undefined || canRun(needs, "--version");
  const suffix = isThere ? "" : ` (skipped: no ${needs})`;
  Deno.test({ name: name + suffix, ignore: !HAS_EPOLL || !isThere, fn });
}

testStreams(
  "FileDispatcher takes pipes to the engine, and leaves their flags as they are",
  async () => {
    const { code, out, report } = await inShell(
      'echo "a pipe" | "$0" "$@" | cat',
    );
    assertEquals({ code, out }, { code: 0, out: "A PIPE\n" });
    assertEquals(report, { engine: [true, true], end: null, flagsKept: true });
  },
);

testStreams(
  "FileDispatcher leaves regular files and /dev/null to Deno",
  async () => {
    const file = await inShell(
      'echo "a file" > in; "$0" "$@" < in > out; cat out',
    );
    assertEquals([file.code, file.out], [0, "A FILE\n"]);
    assertEquals(file.report.engine, [false, false]);
    const nothing = await inShell('"$0" "$@" < /dev/null | cat');
    assertEquals([nothing.code, nothing.out], [0, ""]);
    assertEquals(nothing.report.engine, [false, true]);
  },
);

testStreams("FileDispatcher of a closed stdin is at its end", async () => {
  const { code, report } = await inShell('"$0" "$@" <&- | cat');
  assertEquals([code, report.end, report.error], [0, null, undefined]);
});

testStreams(
  "FileDispatcher of a FIFO whose writers have left is at its end",
  async () => {
    const { code, out, report } = await inShell(
      'mkfifo in; exec 4<> in 5< in 4>&-; "$0" "$@" <&5 | cat',
    );
    assertEquals([code, out], [0, ""]);
    assertEquals(report, { engine: [true, true], end: null, flagsKept: true });
  },
);

testStreams(
  "FileDispatcher of a stdin that the program has closed is at its end",
  async () => {
    const script = 'echo spam | "$0" "$@" | cat';
    const { code, out, report } = await inShell(script, "closed");
    assertEquals([code, out], [0, ""]);
    assertEquals([report.end, report.error], ["Bad resource ID", undefined]);
    assertEquals(report.engine, [false, true]);
  },
);

testStreams(
  "FileDispatcher of a silent FIFO lets the program end with its loop, and keeps its flags meanwhile",
  async () => {
    // The shell holds the other end of each.
    const script = 'mkfifo in out; exec 4<> in 5<> out; "$0" "$@" < in > out';
    const { code, report } = await inShell(script, "idle");
    assertEquals(code, 0);
    assertEquals(report, { engine: [true, true], flagsKept: true });
  },
);

testStreams(
  "FileDispatcher whose output lost its reader gets handleClose(), and no SIGPIPE",
  async () => {
    const { out, report } = await inShell(
      'mkfifo in; exec 4<> in; { "$0" "$@" < in; echo $? > code; } | ' +
        "{ exec < /dev/null; echo spam >&4; }; cat code",
    );
    assertEquals([out, report.outputEnd], ["0\n", "Broken pipe (os error 32)"]);
    assertEquals(report.engine, [true, true]);
  },
);

testStreams(
  "FileDispatcher of an output that never had a reader stays with Deno, and gets handleClose()",
  async () => {
    const { code, report } = await inShell(
      "mkfifo in out; exec 4<> in 3<> out; exec 5> out 3>&-; " +
        'echo spam >&4; "$0" "$@" < in >&5',
    );
    assertEquals([code, report.outputEnd], [0, "Broken pipe (os error 32)"]);
    assertEquals(report.engine, [true, false]);
  },
);

testStreams(
  "FileDispatcher takes a terminal to the engine, which is over when it hangs up",
  async () => {
    const { code, report } = await inPython(`
master, slave = pty.openpty()
child = subprocess.Popen(program, stdin=slave, stdout=slave)
os.close(slave)
os.write(master, b"spam\\n")
said = b""
while b"SPAM" not in said: said += os.read(master, 100)
os.close(master)
sys.exit(child.wait())
`);
    assertEquals(code, 0);
    assertEquals(report, { engine: [true, true], end: null, flagsKept: true });
  },
  "python3",
);

testStreams(
  "FileDispatcher takes a socket to the engine, and no process sees it non-blocking",
  async () => {
    const { code, out, report } = await inPython(`
ours, theirs = socket.socketpair()
child = subprocess.Popen(program, stdin=theirs, stdout=theirs)
ours.send(b"spam")
print(ours.recv(100), fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK)
ours.shutdown(socket.SHUT_WR)
sys.exit(child.wait())
`);
    assertEquals({ code, out }, { code: 0, out: "b'SPAM' 0\n" });
    assertEquals(report, { engine: [true, true], end: null, flagsKept: true });
  },
  "python3",
);
