/**
 * The log of the examples: `name: message`, with the name in a colour of its own
 * where colours are welcome.
 *
 * @module
 */

import { ConsoleHandler, Logger } from "@std/log";
import { escape, quote } from "./quote.ts";

const colors = [36, 33, 35, 32, 34, 31]; // cyan, yellow, magenta, green, …
const colorful = Deno.stdout.isTerminal() && !Deno.noColor;
let loggers = 0;

/** Makes a logger; at `"INFO"` it leaves out the lines of the examples. */
export function createLogger(
  name: string,
  level: "DEBUG" | "INFO" = "DEBUG",
): Logger {
  const color = colors[loggers++ % colors.length];
  const title = colorful ? `\x1b[${color}m${name}\x1b[39m` : name;
  const handler = new ConsoleHandler("DEBUG", {
    useColors: colorful,
    formatter: ({ msg }) => `${title}: ${msg}`,
  });
  return new Logger(name, level, { handlers: [handler] });
}

/** Shows pieces of a text: a letter may begin in one and end in the next. */
export class Quoter {
  readonly #decoder = new TextDecoder();

  quote(data: Uint8Array): string {
    const text = this.#decoder.decode(data, { stream: true });
    return `${data.length} bytes ${quote(text)}`;
  }
}

/** An address as people write it. */
export function addressText(addr: Deno.Addr | null): string {
  const { hostname, port } = addr as Deno.NetAddr;
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** A path and its error, without the path that Deno puts at the end. */
export function pathTrouble(path: string, error: unknown): string {
  const reason = reasonOf(error).replace(/(?<=\(os error \d+\)): .*$/, "");
  return `${quote(path, Infinity)}: ${reason}`;
}

/** An error in a few words, on one line. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return escape(String(error));
  return escape(error.message || error.name);
}
