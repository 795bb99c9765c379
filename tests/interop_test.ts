/**
 * Talks to Python's own asyncore, in both directions. Where no Python has it
 * (it was removed in 3.12) the tests are ignored.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { TextLineStream } from "@std/streams";
import {
  type Address,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import { loopToEnd, pattern, watch } from "./fakes.ts";
import {
  bytes,
  families,
  type Family,
  isMissing,
  loopUntil,
  PATIENCE,
  rawConnect,
  ScopedMap,
  type TestMap,
  TestServer,
} from "./support.ts";

/** The first Python that can import asyncore. */
async function findPython(): Promise<string | null> {
  for (const name of ["python3.11", "python3", "/usr/bin/python3", "python"]) {
    const command = new Deno.Command(name, {
      args: ["-W", "ignore", "-c", "import asyncore"],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    });
    try {
      if ((await command.output()).success) return name;
    } catch {
      // There is no program of this name.
    }
  }
  return null;
}

const python = await findPython();
if (python === null) {
  console.log(
    "No Python with asyncore is here: ignoring tests/interop_test.ts",
  );
}

/** A Python program of the tests, killed when it goes out of scope. */
class PythonProgram implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #deadline: ReturnType<typeof setTimeout>;

  constructor(name: string, ...args: string[]) {
    const program = `${import.meta.dirname}/python/${name}.py`;
    this.#child = new Deno.Command(python!, {
      args: ["-W", "ignore", program, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
    this.#deadline = setTimeout(() => this.#kill(), 2 * PATIENCE);
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const { value } = await this.#lines.read();
    if (value === undefined) throw new Error("The program has no more to say");
    return value;
  }

  #kill(): void {
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#deadline);
    this.#kill();
    await this.#child.status;
    await this.#lines.cancel();
  }
}

/** Runs a test for each family of sockets, where Python is. */
function testWithPython(
  name: string,
  test: (family: Family) => Promise<void>,
): void {
  for (const family of families) {
    Deno.test({
      name: `${name} (${family.name})`,
      ignore: python === null || isMissing(family),
      fn: () => test(family),
    });
  }
}

/** An address as arguments of the Python programs, without the port. */
function placeOf(address: Address): string[] {
  return "path" in address
    ? ["unix", address.path]
    : ["tcp", (address as { hostname: string }).hostname];
}

/** Sends data, and gathers the answer until it has the same length. */
class EchoClient extends DispatcherWithSend {
  readonly #data: Uint8Array;
  readonly answer: Uint8Array;
  length = 0;

  constructor(
    map: TestMap,
    family: Family,
    address: Address,
    data: Uint8Array,
  ) {
    super(null, { map });
    this.#data = data;
    this.answer = new Uint8Array(data.length);
    this.createSocket(family.options);
    this.connect(address);
  }
  override handleConnect(): void {
    this.send(this.#data);
  }
  override handleRead(): void {
    this.length += this.recvInto(this.answer.subarray(this.length));
    if (this.length === this.#data.length) this.close();
  }
  override handleClose(): void {
    throw new Error("The server has left");
  }
  override handleError(error: unknown): void {
    throw error;
  }
}

testWithPython(
  "Dispatcher is a client to an echo server of Python's asyncore",
  async (family) => {
    await using map = new ScopedMap();
    const place = family.address();
    await using server = new PythonProgram("echo_server", ...placeOf(place));
    const listening = await server.line();
    const address = "path" in place
      ? { path: listening }
      : { ...place, port: Number(listening) };

    const data = pattern(300_000);
    const clients = [data, bytes("spam"), pattern(70_000)].map((data) => ({
      data,
      client: new EchoClient(map, family, address, data),
    }));
    await loopToEnd(map, 30_000);
    for (const { data, client } of clients) {
      assertEquals(client.length, data.length);
      assert(data.every((byte, i) => byte === client.answer[i]));
    }
    const ends = [
      await server.line(),
      await server.line(),
      await server.line(),
    ];
    assertEquals(ends.toSorted(), [
      "closed after 300000",
      "closed after 4",
      "closed after 70000",
    ]);
  },
);

testWithPython(
  "Dispatcher is an echo server to a client of Python's asyncore",
  async (family) => {
    await using map = new ScopedMap();
    let closes = 0;
    class Handler extends DispatcherWithSend {
      override handleRead() {
        this.send(this.recv());
      }
      override handleClose() {
        closes++;
      }
      override handleError(error: unknown) {
        throw error;
      }
    }
    const server = new TestServer(
      map,
      (conn: Channel) => new Handler(conn, { map }),
      family,
    );
    const place = placeOf(server.addr as Address);
    if ("port" in server.addr!) place.push(String(server.addr.port));
    await using client = new PythonProgram("echo_client", "300000", ...place);
    const lines = Promise.all([client.line(), client.line()]);
    const reading = watch(lines);
    await loopUntil(map, () => reading.settled && closes > 0);
    assertEquals(await lines, ["connected", "the same"]);
    assertEquals(closes, 1);
    assertEquals([...map], [server]);
  },
);

testWithPython(
  "Dispatcher tells a client of Python's asyncore that it has closed",
  async (family) => {
    await using map = new ScopedMap();
    class Handler extends Dispatcher {
      override handleRead() {
        this.send(this.recv(100));
        this.close();
      }
    }
    const server = new TestServer(
      map,
      (conn) => new Handler(conn, { map }),
      family,
    );
    const place = placeOf(server.addr as Address);
    if ("port" in server.addr!) place.push(String(server.addr.port));
    await using client = new PythonProgram("echo_client", "1000", ...place);
    const lines = Promise.all([client.line(), client.line()]);
    const reading = watch(lines);
    await loopUntil(map, () => reading.settled);
    assertEquals(await lines, ["connected", "lost after 100"]);
  },
);

for (const family of families.filter(({ name }) => name !== "Unix")) {
  Deno.test({
    name:
      `Dispatcher goes on serving after clients that reset before they are accepted (${family.name})`,
    ignore: python === null || isMissing(family),
    async fn() {
      await using map = new ScopedMap();
      class Handler extends Dispatcher {
        override handleRead() {
          this.send(this.recv());
        }
        override handleError(error: unknown) {
          throw error;
        }
      }
      const server = new TestServer(
        map,
        (conn) => new Handler(conn, { map }),
        family,
      );
      const { hostname, port } = server.addr as Deno.NetAddr;
      // No pass is made meanwhile, so all but one wait in the backlog.
      await using clients = new PythonProgram(
        "resetting_clients",
        ...["50", hostname, String(port)],
      );
      assertMatch(await clients.line(), /^done$/);

      using conn = await rawConnect(server.addr);
      await conn.write(bytes("spam"));
      const answer = watch(conn.read(new Uint8Array(16)));
      await loopUntil(map, () => answer.settled, 30_000);
      assertEquals(answer.error, undefined);
      assert(server.accepting);
    },
  });
}
