/**
 * A server that sends back all it gets, and a client that checks it, in one
 * loop: three dispatchers whose logs read as a story.
 *
 *     deno run --allow-net examples/echo_server.ts [--serve [PORT]]
 *     deno task example echo_server    (where JSR cannot be reached)
 *
 * With `--serve` the server goes on for clients of your own, such as
 * `nc 127.0.0.1 PORT`, until Ctrl-C or SIGTERM. Without a port it takes a free
 * one and says which.
 *
 * @module
 */

import { type Channel, Dispatcher, loop, type Timer } from "@asyncore/asyncore";
import { parsePort, runCommand, UsageError } from "./command_line.ts";
import { addressText, createLogger, Quoter, reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";
import { shutdownAtSignal } from "./signals.ts";

const USAGE = `\
Usage: echo_server.ts [--serve [PORT]] [--help]

A server that sends back whatever it gets, and a client that checks it.

  --serve  go on for other clients, such as "nc 127.0.0.1 PORT", until Ctrl-C
           or SIGTERM
  PORT     where to listen then; by default on any free port`;
const MESSAGE = `\
An echo server is the parrot of the network: it listens, it says what it has
heard, and it has no opinion of its own. Whatever arrives in the morning leaves
again before noon, in the same order, with not a byte more and not a byte less.
Nobody waits for it, for it does not wait itself: when one client is slow it
looks after another, and when a pipe is full it stops reading until there is
room. Ask it a question, and you will get a question. Send it a letter, and you
will get your own letter back, from the far end of the wire. That is not much
of a conversation, but it is an honest one, and the first that anyone writes
who wishes to learn how two machines talk. If this text comes back unharmed, so
will all of yours. Now, listen.`;

/** When the server stops, a client that is quiet for so many ms has had its echo. */
const QUIET = 100;

/** Accepts one client and closes itself, unless it shall go on. */
class EchoServer extends Dispatcher {
  override readonly logger = createLogger("EchoServer");
  readonly #goesOn: boolean;

  constructor(port: number, goesOn: boolean) {
    super();
    this.#goesOn = goesOn;
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port });
    this.listen();
    this.logger.debug(`listening on ${addressText(this.addr)}`);
  }

  override handleAccepted(conn: Channel, addr: Deno.Addr) {
    const client = addressText(addr);
    this.logger.debug(`handleAccepted() -> ${client}`);
    new EchoHandler(conn, this.#goesOn ? `EchoHandler ${client}` : undefined);
    if (!this.#goesOn) this.handleClose();
  }

  override handleClose() {
    this.logger.debug("handleClose()");
    this.close();
  }
}

/** Sends back what one client says, a chunk at a time. */
class EchoHandler extends Dispatcher {
  override readonly logger;
  readonly #chunk = 256;
  readonly #heard = new Quoter();
  readonly #said = new Quoter();
  #data: Uint8Array = new Uint8Array(0);
  #quiet: Timer | null = null;

  constructor(conn: Channel, name = "EchoHandler") {
    super(conn);
    this.logger = createLogger(name);
  }

  /** Takes nothing new while there is something to send: no queue can grow. */
  override readable() {
    return this.#data.length === 0;
  }

  override writable() {
    const isWritable = this.#data.length > 0;
    this.logger.debug(`writable() -> ${isWritable}`);
    return isWritable;
  }

  override handleRead() {
    this.#data = this.recv(this.#chunk); // at the end, this calls handleClose()
    this.logger.debug(`handleRead() -> ${this.#heard.quote(this.#data)}`);
    this.#quiet?.reset();
  }

  override handleWrite() {
    const sent = this.send(this.#data);
    const said = this.#said.quote(this.#data.subarray(0, sent));
    this.logger.debug(`handleWrite() -> ${said}`);
    this.#data = this.#data.subarray(sent);
  }

  override handleClose() {
    this.logger.debug("handleClose()");
    this.close(); // the echo still goes out
  }

  /** Closes when the client has had its echo. */
  override handleShutdown() {
    this.#quiet ??= this.callLater(QUIET, () => this.handleClose());
  }
}

/** Sends the message in chunks, and is done when as much has come back. */
class EchoClient extends Dispatcher {
  override readonly logger = createLogger("EchoClient");
  readonly #chunk = 512;
  readonly #decoder = new TextDecoder();
  readonly #heard = new Quoter();
  readonly #said = new Quoter();
  #unsent: Uint8Array = new TextEncoder().encode(MESSAGE);
  #missing = this.#unsent.length;
  received = "";

  constructor(server: EchoServer) {
    super();
    this.logger.debug(`connecting to ${addressText(server.addr)}`);
    this.createSocket();
    this.connect(server.addr!);
  }

  override writable() {
    const isWritable = this.#unsent.length > 0;
    this.logger.debug(`writable() -> ${isWritable}`);
    return isWritable;
  }

  override handleConnect() {
    this.logger.debug("handleConnect()");
  }

  override handleWrite() {
    const sent = this.send(this.#unsent.subarray(0, this.#chunk));
    const said = this.#said.quote(this.#unsent.subarray(0, sent));
    this.logger.debug(`handleWrite() -> ${said}`);
    this.#unsent = this.#unsent.subarray(sent);
  }

  override handleRead() {
    const data = this.recv(this.#chunk);
    this.logger.debug(`handleRead() -> ${this.#heard.quote(data)}`);
    this.received += this.#decoder.decode(data, { stream: true });
    this.#missing -= data.length;
    if (this.#missing === 0) this.handleClose();
  }

  override handleClose() {
    this.logger.debug("handleClose()");
    this.close();
  }
}

/** One server, one client, one message. */
async function demonstrate(): Promise<number> {
  const client = new EchoClient(new EchoServer(0, false));
  await loop();
  const isCopy = client.received === MESSAGE;
  client.logger.debug(
    isCopy ? "RECEIVED COPY OF MESSAGE" : "ERROR IN TRANSMISSION",
  );
  return isCopy ? 0 : 1;
}

/** Serves until a signal; then every client gets the rest of its echo. */
async function serve(port: number): Promise<number> {
  using _ = shutdownAtSignal(createLogger("main"));
  try {
    new EchoServer(port, true);
  } catch (error) {
    console.error(reasonOf(error)); // it names the address
    return 1;
  }
  await loop();
  return 0;
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: { serve: { type: "boolean" } },
    operands: ["PORT"],
    isOptional: true,
  }, ({ serve: isServer }, [port]) => {
    if (isServer) return serve(parsePort(port));
    if (port === undefined) return demonstrate();
    throw new UsageError(`PORT needs --serve, got ${quote(port)} alone`);
  });
}
