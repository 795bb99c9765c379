/**
 * Carries connections to another address: the bytes of a client go to the
 * target, and those of the target come back. Either side may be TLS.
 *
 *     deno run --allow-net --allow-read=FILES examples/tcp_proxy.ts 127.0.0.1:8080 example.org:80
 *     deno task example tcp_proxy 127.0.0.1:8080 tls://example.org:443
 *     deno task example tcp_proxy --cert=C.pem --key=K.pem tls://127.0.0.1:0 127.0.0.1:80
 *
 * A `tls://` listener needs `--cert` and `--key`; `--ca` names an authority
 * that a `tls://` target's certificate may be signed by. FILES are those three,
 * if any. At port 0 it listens on any free port. At Ctrl-C or SIGTERM it takes
 * no more clients and gives those that are there five seconds to finish; a
 * second one, half a second later or more, ends it at once.
 *
 * @module
 */

import {
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  type Logger,
  loop,
  type SocketOptions,
  type TlsOptions,
} from "@asyncore/asyncore";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { runCommand, UsageError } from "./command_line.ts";
import { addressText, createLogger, pathTrouble, reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";
import { shutdownAtSignal } from "./signals.ts";

const USAGE = `\
Usage: tcp_proxy.ts LISTEN TARGET [--cert FILE --key FILE] [--ca FILE] [--help]

Carries connections to LISTEN to the address TARGET, until Ctrl-C or SIGTERM.

  LISTEN, TARGET  HOST:PORT or, for TLS, tls://HOST:PORT; at port 0 it listens
                  on any free port
  --cert FILE     the certificate of a tls:// LISTEN, in PEM
  --key FILE      its key
  --ca FILE       an authority that may have signed the certificate of TARGET`;
/** The ms that a target may take to answer a connect. */
const CONNECT_TIMEOUT = 10_000;

/**
 * One buffer serves all, for `send()` copies. `recv()` makes one for each read,
 * and in a large transfer memory grows until they are collected.
 */
const buffer = new Uint8Array(128 * 1024);

/** Where to listen or connect, and how. */
interface Place {
  address: { hostname: string; port: number };
  options: SocketOptions;
}

/** One of two connections: its partner sends all that it reads. */
class Side extends DispatcherWithSend {
  override readonly logger: Logger;
  partner!: Side;
  readonly #name: string;

  constructor(name: string, logger: Logger, conn: Channel | null = null) {
    super(conn, { allowHalfOpen: true });
    this.logger = logger;
    this.#name = name;
  }

  /** While the partner has enough to send, what comes stays in the kernel. */
  override readable() {
    return this.partner.bufferedAmount < this.partner.highWaterMark;
  }

  override handleConnect() {}

  override handleRead() {
    const length = this.recvInto(buffer); // at the end, this calls handleEnd()
    if (length > 0) this.partner.send(buffer.subarray(0, length));
  }

  override handleEnd() {
    this.partner.shutdownWrite();
  }

  /** Both directions have ended, or the connection broke. */
  override handleClose() {
    if (this.closeReason) this.handleError(this.closeReason);
    else this.partner.shutdownWrite();
  }

  /**
   * Half of a pair is of no use. Deno cannot reset a connection, so over plain
   * TCP the partner's peer sees an end; over TLS it sees that the last word
   * (close_notify) is missing.
   */
  override handleError(error: unknown) {
    const reason = error instanceof Deno.errors.UnexpectedEof
      ? "ended without the last word of TLS"
      : reasonOf(error);
    this.logger.warn(`${this.#name}: ${reason}`);
    this.partner.abort();
    this.abort();
  }

  /** Goes on to its end, or to the deadline. */
  override handleShutdown() {}
}

/** Makes a pair of each client and a connection to the target. */
export class Proxy extends Dispatcher {
  override readonly logger: Logger;
  readonly #target: Place;

  constructor(
    listen: Place,
    target: Place,
    logger: Logger = createLogger("tcp_proxy"),
  ) {
    super();
    this.logger = logger;
    this.#target = target;
    this.createSocket(listen.options);
    this.bind(listen.address);
    this.listen();
  }

  override handleAccepted(conn: Channel, addr: Deno.Addr) {
    const { logger } = this;
    const client = new Side(`client ${addressText(addr)}`, logger, conn);
    const target = new Side(`target of ${addressText(addr)}`, logger);
    client.partner = target;
    target.partner = client;
    target.createSocket(this.#target.options);
    target.connect(this.#target.address);
  }

  /** A client that fails leaves the others alone. */
  override handleError(error: unknown) {
    this.logger.error(`cannot serve a client: ${reasonOf(error)}`);
  }
}

/** An address of the command line. */
function parsePlace(text: string): Place {
  const match = /^(tls:\/\/)?(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(text);
  const [, isTls, ipv6, name, port] = match ?? [];
  const hostname = ipv6 ?? name;
  if (!hostname || Number(port) > 65_535) {
    throw new UsageError(`Expected [tls://]HOST:PORT, got ${quote(text)}`);
  }
  const address = { hostname, port: Number(port) };
  return { address, options: isTls ? { transport: "tls" } : {} };
}

const FILE = { type: "string" } as const;
const FILES = { cert: FILE, key: FILE, ca: FILE };

/** The names of files, by option. */
type Files = { [Name in keyof typeof FILES]?: string };

/**
 * Reads a file that must have a certificate or a key.
 *
 * @throws {Error} If it has none: the message names the file.
 */
function readPem<T>(path: string, what: string, parse: (pem: string) => T) {
  let pem: string;
  try {
    pem = Deno.readTextFileSync(path);
  } catch (error) {
    throw new Error(`Cannot read ${pathTrouble(path, error)}`);
  }
  try {
    return { pem, parsed: parse(pem) };
  } catch {
    throw new Error(`There is no ${what} in PEM in ${quote(path, Infinity)}`);
  }
}

function readCertificate(path: string) {
  return readPem(path, "certificate", (pem) => new X509Certificate(pem));
}

/** The certificate that a TLS listener shows to its clients. */
function readIdentity(certPath: string, keyPath: string): TlsOptions {
  const cert = readCertificate(certPath);
  const key = readPem(keyPath, "private key", createPrivateKey);
  if (!cert.parsed.checkPrivateKey(key.parsed)) {
    const paths = [keyPath, certPath].map((path) => quote(path, Infinity));
    throw new Error(`The key in ${paths.join(" is not that of ")}`);
  }
  return { cert: cert.pem, key: key.pem };
}

/** Where to listen. */
function parseListen(listen: string, { cert, key }: Files): Place {
  const place = parsePlace(listen);
  if (!place.options.transport) {
    if (cert === undefined && key === undefined) return place;
    const name = cert === undefined ? "--key" : "--cert";
    throw new UsageError(`${name} needs a tls:// LISTEN, got ${quote(listen)}`);
  }
  if (cert === undefined || key === undefined) {
    const missing = key === undefined ? "--key" : "--cert";
    const both = cert === key ? "" : `, and ${missing} is missing`;
    throw new UsageError(`${quote(listen)} needs --cert and --key${both}`);
  }
  place.options.tls = readIdentity(cert, key);
  return place;
}

/** Where to connect. */
function parseTarget(target: string, { ca }: Files): Place {
  const place = parsePlace(target);
  if (place.address.port === 0) {
    throw new UsageError(`Nobody can be reached at port 0: ${quote(target)}`);
  }
  place.options.connectTimeout = CONNECT_TIMEOUT;
  if (ca === undefined) return place;
  if (!place.options.transport) {
    throw new UsageError(`--ca needs a tls:// TARGET, got ${quote(target)}`);
  }
  place.options.tls = { caCerts: [readCertificate(ca).pem] };
  return place;
}

/** Serves until a signal. */
async function serve(here: Place, there: Place): Promise<void> {
  const proxy = new Proxy(here, there);
  using _ = shutdownAtSignal(proxy.logger);
  const scheme = here.options.tls ? "tls://" : "";
  console.log(`listening on ${scheme}${addressText(proxy.addr)}`);
  await loop();
}

async function main(files: Files, listen: string, target: string) {
  try {
    await serve(parseListen(listen, files), parseTarget(target, files));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) throw error;
    console.error(reasonOf(error));
    return 1;
  }
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: FILES,
    operands: ["LISTEN", "TARGET"],
  }, (files, [listen, target]) => main(files, listen!, target!));
}
