/**
 * The lines that the library logs by itself, in the name of a dispatcher. A peer
 * can make most of them happen again and again, so their number is limited.
 *
 * @module
 */

import { nameOf, textOf } from "./log.ts";
import type { Reactor } from "./reactor.ts";
import { IGNORES, MAP, REACTOR, WRITE_LINE } from "./symbols.ts";

/** A line that the library logs by itself. */
export interface OwnLine {
  type: "warning" | "error";
  /** Lines of one kind are counted together, for each class. */
  kind: string;
  /** Makes the text, with the text form of the dispatcher. */
  text(self: string): string;
  /** How many bytes were lost. */
  lost?: number;
  /** It is written whatever types the dispatcher ignores. */
  isLoud?: boolean;
}

/** What a warning is about. */
export interface About {
  /** Warnings of one kind are counted together. By default the message. */
  kind?: string;
  /** How many bytes were lost. */
  lost?: number;
  /** It is written whatever types the dispatcher ignores: the default. */
  isLoud?: boolean;
}

/** The part of a dispatcher that writes its lines. */
export interface LineWriter {
  readonly [MAP]: { readonly [REACTOR]: Reactor };
  [IGNORES](type: string): boolean;
  [WRITE_LINE](message: string, type: string, isLoud: boolean): unknown;
}

/**
 * Logs a line, or only counts it after many of its kind. An error of the log
 * goes to the map, and the dispatcher goes on as it was.
 */
export function logLimited(writer: LineWriter, line: OwnLine): void {
  const { type, kind, lost = 0, isLoud = false } = line;
  const reactor = writer[MAP][REACTOR];
  reactor.outside(() => {
    // A line that nobody sees must not use up the quota of its kind.
    if (!isLoud && writer[IGNORES](type)) return;
    reactor.logQuota.add(`${nameOf(writer)}: ${kind}`, {
      text: () => line.text(textOf(writer)),
      // An override of logInfo() may be async, though nothing waits for it.
      write: (message) =>
        reactor.follow(writer[WRITE_LINE](message, type, isLoud)),
      lost,
    });
  });
}

/** Warns an operator, by default whatever types the dispatcher ignores. */
export function warn(
  writer: LineWriter,
  message: string,
  { kind = message, lost = 0, isLoud = true }: About = {},
): void {
  const text = (self: string) => `${self} ${message}`;
  logLimited(writer, { type: "warning", kind, text, lost, isLoud });
}
