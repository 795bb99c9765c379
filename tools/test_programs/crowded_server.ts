/**
 * An echo server that a test runs with few descriptors, and asks how it goes:
 * it uses them up when a client says `fill`, gives them back at `free`, throws
 * at `throw`, and ends at `quit`.
 */

import { isExhaustion } from "../../core/errors.ts";
import {
  type Channel,
  closeAll,
  Dispatcher,
  loop,
  SocketMap,
} from "../../mod.ts";
import type { Network } from "../../core/network.ts";
import { denoNetwork } from "../../net/deno_network.ts";
import { bytes, text } from "../../tests/support.ts";

// Deno takes two descriptors for signals half a second after its start, and
// panics when there are none: it may have them now.
const ignore = () => {};
Deno.addSignalListener("SIGUSR1", ignore);
Deno.removeSignalListener("SIGUSR1", ignore);

/** When accepting was tried while descriptors were out, in ms. */
const tries: number[] = [];

/** That of this machine; it takes notes. */
const network: Network = {
  ...denoNetwork,
  listen(address, options) {
    const acceptor = denoNetwork.listen(address, options);
    const accept = async () => {
      const now = performance.now();
      try {
        return await acceptor.accept();
      } catch (error) {
        if (isExhaustion(error)) tries.push(now);
        throw error;
      }
    };
    return { addr: acceptor.addr, accept, close: () => acceptor.close() };
  },
};

const map = new SocketMap({ network });
const files: Deno.FsFile[] = [];

/** Opens files until that fails, and says how it went. */
function fill(): string {
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch {
    return "filled";
  }
}

function free(): string {
  for (const file of files.splice(0)) file.close();
  return "freed";
}

/** The most tries within any one second. */
function mostInOneSecond(): number {
  const within = (from: number) =>
    tries.filter((time) => time >= from && time < from + 1_000).length;
  return Math.max(0, ...tries.map(within));
}

/** How many it holds; those of the runtime's own files come and go. */
function countDescriptors(): number {
  const folder = "/proc/self/fd";
  return [...Deno.readDirSync(folder)].filter(({ name }) => {
    try {
      return /^socket:|null$/.test(Deno.readLinkSync(`${folder}/${name}`));
    } catch {
      return false; // That of the folder.
    }
  }).length;
}

const answers: Record<string, () => string> = {
  fill,
  free,
  descriptors: () => `${countDescriptors()}`,
  tries: () => `${tries.length}`,
  "tries a second": () => `${mostInOneSecond()}`,
  throw() {
    throw new Error("told to");
  },
  quit() {
    closeAll(map);
    return "";
  },
};

class Handler extends Dispatcher {
  override handleRead(): void {
    const question = text(this.recv());
    const answer = answers[question];
    this.send(bytes(answer ? answer() : question));
  }
  override handleClose(): void {
    this.close();
  }
}

class Server extends Dispatcher {
  override handleAccepted(conn: Channel): void {
    new Handler(conn, { map });
  }
}

const server = new Server(null, { map });
server.createSocket();
server.bind({ hostname: "127.0.0.1", port: 0 });
server.listen();
console.log(`port ${(server.addr as Deno.NetAddr).port}`);
await loop({ map });
