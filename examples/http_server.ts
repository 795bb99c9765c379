/**
 * Serves the files of a directory over HTTP/1.1: a web server on `AsyncChat`.
 *
 *     deno run --allow-net --allow-read=ROOT examples/http_server.ts ROOT
 *     deno task example http_server ROOT    (where JSR cannot be reached)
 *
 * Options: `--port PORT` (without it, any free port), `--quiet` (do not log
 * each request). Ask it with `curl http://127.0.0.1:PORT/`. Ctrl-C and SIGTERM
 * let the clients have what they wait for, and end it.
 *
 * The work is divided: `http_request.ts` takes requests apart, `http_answer.ts`
 * decides about conditions and ranges, `static_files.ts` opens files and lets
 * nobody out of ROOT, and `http_connection.ts` is the conversation.
 *
 * @module
 */

import {
  type Channel,
  Dispatcher,
  type Logger,
  loop,
  type SocketMap,
  socketMap,
} from "@asyncore/asyncore";
import { parsePort, runCommand } from "./command_line.ts";
import { HttpConnection } from "./http_connection.ts";
import { createLogger, pathTrouble } from "./logging.ts";
import { quote } from "./quote.ts";
import { shutdownAtSignal } from "./signals.ts";
import { StaticFiles } from "./static_files.ts";

const USAGE = `\
Usage: http_server.ts ROOT [--port PORT] [--quiet] [--help]

Serves the files of the directory ROOT over HTTP/1.1, until Ctrl-C or SIGTERM.

  --port PORT  where to listen; by default on any free port
  --quiet      do not log each request`;

/** Options of an {@linkcode HttpServer}. */
export interface HttpServerOptions {
  /** The directory to serve. */
  root: string;
  /** Where to listen; by default on any free port. */
  port?: number;
  /** The map to join. */
  map?: SocketMap;
  /** Gets a line for each request. */
  logger?: Logger;
  /** The ms that a client may be silent, or take for a request; 10,000 by default. */
  patience?: number;
}

/** Makes an {@linkcode HttpConnection} of each client. */
export class HttpServer extends Dispatcher {
  override readonly logger: Logger;
  readonly #files: StaticFiles;
  readonly #patience: number;

  /**
   * Starts to listen.
   *
   * @throws {Deno.errors.NotFound | Deno.errors.NotADirectory} If the root is
   * no directory.
   * @throws {Deno.errors.AddrInUse} If the port is taken.
   */
  constructor(options: HttpServerOptions) {
    const { root, port = 0, map = socketMap, patience = 10_000 } = options;
    super(null, { map });
    this.logger = options.logger ?? createLogger("http_server");
    this.#files = new StaticFiles(root);
    this.#patience = patience;
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port });
    this.listen();
  }

  /** Where the root is. */
  get url(): string {
    const { hostname, port } = this.addr!;
    return `http://${hostname}:${port}/`;
  }

  override handleAccepted(conn: Channel) {
    new HttpConnection(conn, {
      map: this.map,
      files: this.#files,
      logger: this.logger,
      patience: this.#patience,
    });
  }
}

/** Serves until a signal. */
async function serve(options: HttpServerOptions): Promise<number> {
  let server: HttpServer;
  try {
    server = new HttpServer(options);
  } catch (error) {
    console.error(`Cannot serve ${pathTrouble(options.root, error)}`);
    return 1;
  }
  using _ = shutdownAtSignal(server.logger);
  console.log(`serving ${quote(options.root, Infinity)} at ${server.url}`);
  await loop();
  return 0;
}

if (import.meta.main) {
  await runCommand({
    help: USAGE,
    options: { port: { type: "string" }, quiet: { type: "boolean" } },
    operands: ["ROOT"],
  }, ({ port, quiet }, [root]) =>
    serve({
      root: root!,
      port: parsePort(port),
      logger: createLogger("http_server", quiet ? "INFO" : "DEBUG"),
    }));
}
