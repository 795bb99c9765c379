/** Every channel that the library brings does what `checkChannel()` asks for. */

import { assertEquals, assertGreater } from "@std/assert";
import {
  type Channel,
  channelFrom,
  Dispatcher,
  FileWrapper,
} from "../../mod.ts";
import {
  checkChannel,
  type CheckChannelOptions,
  type MakeChannels,
  memoryPair,
  SimNetwork,
} from "../../testing/mod.ts";
import { certificates, testTls } from "../certificates.ts";
import { families, isMissing, rawConnect, turn } from "../support.ts";

/** Checks channels; how many checks were made. */
async function conforms(
  make: MakeChannels,
  options: CheckChannelOptions = {},
): Promise<void> {
  const names = await checkChannel(make, options);
  const { kind = "connection" } = options;
  assertGreater(names.length, { file: 15, pipe: 20, connection: 45 }[kind]);
  assertEquals(new Set(names).size, names.length);
}

async function connect(listener: Deno.Listener): Promise<[Channel, Channel]> {
  return await Promise.all([rawConnect(listener.addr), listener.accept()]);
}

for (const family of families) {
  Deno.test({
    name: `channels of TCP and Unix conform (${family.name})`,
    ignore: isMissing(family),
    fn: async () => {
      const address = family.address();
      using listener = "path" in address
        ? Deno.listen({ transport: "unix", ...address })
        : Deno.listen(address as { hostname: string; port: number });
      await conforms(() => connect(listener as Deno.Listener));
    },
  });
}

testTls("channels of TLS conform", async () => {
  const { ca, good } = certificates();
  const address = { hostname: "127.0.0.1", port: 0 };
  using listener = Deno.listenTls({ ...address, ...good });
  const { port } = listener.addr;
  await conforms(() =>
    Promise.all([
      Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [ca] }),
      listener.accept(),
    ])
  );
});

Deno.test("channels in memory conform", async () => {
  await conforms(() => memoryPair());
});

Deno.test("channels in memory conform with little room", async () => {
  await conforms(() => memoryPair({ capacity: 1_000 }));
});

Deno.test("channels of a simulated network conform", async () => {
  const sim = new SimNetwork({ seed: 7 });
  const address = { hostname: "server", port: 7 };
  const accepted: Channel[] = [];
  class Server extends Dispatcher {
    override handleAccepted(conn: Channel): void {
      accepted.push(conn);
    }
  }
  const server = sim.host("server").run(() => new Server());
  server.createSocket();
  server.bind(address);
  server.listen();
  const { network } = sim.host("client").map;
  const { signal } = new AbortController();
  const make = async (): Promise<[Channel, Channel]> => {
    const ours = await network.connect({ transport: "tcp", ...address }, {
      signal,
    });
    while (accepted.length === 0) await turn();
    return [ours, accepted.pop()!];
  };
  let isDone = false;
  const checking = conforms(make).finally(() => isDone = true);
  while (!isDone) {
    await sim.run();
    await turn();
  }
  await checking;
  sim.end();
});

for (const highWaterMark of [0, 4]) {
  Deno.test(`channels of Web streams conform (highWaterMark ${highWaterMark})`, async () => {
    const stream = () =>
      new TransformStream<Uint8Array, Uint8Array>(
        {},
        { highWaterMark },
        { highWaterMark },
      );
    await conforms(() => {
      const [there, back] = [stream(), stream()];
      return [
        channelFrom({ readable: back.readable, writable: there.writable }),
        channelFrom({ readable: there.readable, writable: back.writable }),
      ];
    });
  });
}

/** A folder that is gone after the test. */
async function withFolder(
  test: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("channels of a file conform", () =>
  withFolder(async (folder) => {
    const path = `${folder}/file`;
    await conforms(async () => {
      const written = await Deno.create(path);
      return [new FileWrapper(written), new FileWrapper(await Deno.open(path))];
    }, { kind: "file" });
  }));

Deno.test({
  name: "channels of a FIFO conform",
  ignore: Deno.build.os === "windows",
  fn: () =>
    withFolder(async (folder) => {
      const path = `${folder}/fifo`;
      await new Deno.Command("mkfifo", { args: [path] }).output();
      await conforms(async () => {
        const [read, written] = await Promise.all([
          Deno.open(path),
          Deno.open(path, { write: true }),
        ]);
        return [new FileWrapper(written), new FileWrapper(read)];
      }, { kind: "pipe" });
    }),
});
