/**
 * How the examples log: `name: message`, with the name in a colour of its own
 * where colours are welcome.
 *
 * @module
 */

import { ConsoleHandler, Logger } from "@std/log";

const colors = [36, 33, 35, 32, 34, 31]; // cyan, yellow, magenta, green, …
const colorful = Deno.stdout.isTerminal() && !Deno.noColor;
let loggers = 0;

/** Makes a logger; at `"INFO"` it leaves out what the examples log. */
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

/** Text from elsewhere, fit for a log: quoted, escaped, cut. */
export function quote(text: string, longest = 40): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return escape(JSON.stringify(cut));
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

/** An error in a few words, on one line. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return escape(String(error));
  return escape(error.message || error.name);
}

/** Control and formatting characters would let text draw on the terminal. */
function escape(text: string): string {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}
