/**
 * A mail server that receives (RFC 5321): each message becomes an `.eml` file.
 *
 *     deno run --allow-net --allow-read=FOLDER --allow-write=FOLDER examples/smtp_server.ts FOLDER
 *     deno task example smtp_server FOLDER    (where JSR cannot be reached)
 *
 * Without `--port PORT` it takes a free port and says which; Ctrl-C or SIGTERM
 * ends it. Send it something:
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
import { parsePort, runCommand } from "./command_line.ts";
import { addressText, createLogger, pathTrouble, reasonOf } from "./logging.ts";
import { MailFolder } from "./mail_folder.ts";
import { shutdownAtSignal } from "./signals.ts";
import { type MailStore, SmtpSession } from "./smtp_session.ts";

const USAGE = `\
Usage: smtp_server.ts FOLDER [--port PORT] [--help]

Receives mail for anybody, and writes each message to a file in FOLDER, which it
makes if need be, until Ctrl-C or SIGTERM. Send it something with
  curl smtp://127.0.0.1:PORT --mail-from me@example.org \\
    --mail-rcpt you@example.org -T message.txt

  --port PORT  where to listen; by default on any free port`;

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
  const store = new MailFolder(folder);
  let server: SmtpServer;
  let problem = (error: unknown) =>
    `Cannot keep mail in ${pathTrouble(folder, error)}`;
  try {
    await store.open();
    problem = reasonOf; // an error of the next names the address itself
    server = new SmtpServer(port, store);
  } catch (error) {
    console.error(problem(error));
    return 1;
  }
  using _ = shutdownAtSignal(server.logger);
  console.log(`listening on ${addressText(server.addr)}`);
  await loop();
  await store.close();
  return 0;
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: { port: { type: "string" } },
    operands: ["FOLDER"],
  }, ({ port }, [folder]) => serve(parsePort(port), folder!));
}
