/**
 * A picture of operations in text: {@linkcode drawHistory}.
 *
 * @module
 */

import { labelOf, type Operation } from "./history.ts";

/** More of them are no picture any more, but a list. */
const MOST_DRAWN = 12;

/**
 * Draws a line for each client, and each of its operations from its call to its
 * return. Time goes to the right, as far as the texts need it.
 */
export function drawHistory(operations: readonly Operation[]): string {
  const sorted = operations.toSorted((a, b) => a.called - b.called);
  if (sorted.length > MOST_DRAWN) {
    return sorted.map((operation) => `  ${timesOf(operation)} ${operation}\n`)
      .join("");
  }
  const columns = place(sorted);
  const clients = [...new Set(sorted.map(({ client }) => client))];
  const longest = Math.max(...clients.map((client) => client.length));
  return clients.map((client) => {
    const own = sorted.filter((operation) => operation.client === client);
    let line = `  ${client.padEnd(longest)} `;
    const start = line.length;
    for (const operation of own) {
      const column = start + columns.get(operation.called)!;
      const end = columns.get(operation.returned);
      const width = end === undefined ? 0 : start + end - column;
      line = line.padEnd(column) + barOf(operation, width);
    }
    return `${line.trimEnd()}\n`;
  }).join("");
}

function timesOf({ times: [call, end] }: Operation): string {
  const until = end === Infinity ? "" : end.toFixed(3);
  return `${call.toFixed(3).padStart(10)} – ${until.padStart(10)}`;
}

function textOf(operation: Operation): string {
  return ` ${labelOf(operation)} `;
}

/** `├─ write(1) ──┤`, so many letters wide; open to the right without a return. */
function barOf(operation: Operation, width: number): string {
  const text = textOf(operation);
  const isOpen = operation.returned === Infinity;
  return `├─${text}`.padEnd(width, "─") + (isOpen ? "┄" : "┤");
}

/** The columns of calls and returns, in their order. */
function place(
  sorted: readonly Operation[],
): Map<number, number> {
  const events = sorted.flatMap((operation) => [
    { place: operation.called, operation, isCall: true },
    { place: operation.returned, operation, isCall: false },
  ]).filter(({ place }) => place < Infinity).sort((a, b) => a.place - b.place);
  const columns = new Map<number, number>();
  let column = 0;
  for (const { place, operation, isCall } of events) {
    if (isCall) {
      columns.set(place, column);
      // Without a return, the next call of this client comes behind the text.
      const isOpen = operation.returned === Infinity;
      column += isOpen ? textOf(operation).length + 4 : 2;
      continue;
    }
    const start = columns.get(operation.called)!;
    column = Math.max(column, start + 3 + textOf(operation).length);
    columns.set(place, column);
    column += 2;
  }
  return columns;
}
