/**
 * A mail server that receives (RFC 5321): each message becomes an `.eml` file.
 *
 *     deno run --allow-net --allow-read --allow-write examples/smtp_server.ts [--port PORT] FOLDER
 *     deno task example smtp_server [--port PORT] FOLDER    (where JSR cannot be reached)
 *
 * Without a port it takes a free one and says which; Ctrl-C or SIGTERM ends
 * it. Send it something:
 *
 *     curl smtp://127.0.0.1:PORT --mail-from me@example.org --mail-rcpt you@example.org -T message.txt
 *
 * It takes mail for anybody, from this machine alone, and passes none on. "OK"
 * means that the message is on the disk. Only CR LF ends a line; a bare CR or
 * LF is refused in a command, and is a byte like any other in a message.
 *
 * @module
 */

import { type Channel, Dispatcher, loop } from "@asyncore/asyncore";
import { createLogger, quote, reasonOf } from "./logging.ts";
import { MailFolder } from "./mail_folder.ts";
import { shutdownAtSignal } from "./signals.ts";
import { type MailStore, SmtpSession } from "./smtp_session.ts";

const USAGE = "Usage: smtp_server.ts [--port PORT] FOLDER";

/** Takes clients. */
class SmtpServer extends Dispatcher {
  override readonly logger = createLogger("SmtpServer");
  readonly #store: MailStore;

  constructor(port: number, store: MailStore) {
    super();
    this.#store = store;
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port });
    this.listen();
  }

  override handleAccepted(conn: Channel, addr: Deno.Addr) {
    new SmtpSession(conn, (addr as Deno.NetAddr).hostname, this.#store);
  }
}

/** Serves until a signal; what is not acknowledged by then, the clients keep. */
async function serve(port: number, folder: string): Promise<number> {
  let server: SmtpServer;
  let task = `make the folder ${quote(folder, Infinity)}`;
  try {
    await Deno.mkdir(folder, { recursive: true });
    task = `listen on 127.0.0.1:${port}`;
    server = new SmtpServer(port, new MailFolder(folder));
  } catch (error) {
    console.error(`Cannot ${task}: ${reasonOf(error)}`);
    return 1;
  }
  using _ = shutdownAtSignal(server.logger);
  console.log(`listening on 127.0.0.1:${(server.addr as Deno.NetAddr).port}`);
  await loop();
  return 0;
}

async function main(args: string[]): Promise<number> {
  const hasPort = args[0] === "--port";
  const [port = "", folder = "", ...rest] = hasPort
    ? args.slice(1)
    : ["0", ...args];
  if (folder === "" || folder.startsWith("-") || rest.length > 0) {
    console.error(USAGE);
    return 2;
  }
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    console.error(`PORT must be from 0 to 65535, got ${quote(port)}`);
    return 2;
  }
  return await serve(Number(port), folder);
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
