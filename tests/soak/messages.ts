/** What the thread that runs the soak tells the one that watches it. */

/** What the soak is to do. */
export interface Order {
  seed: number;
  minutes: number;
  /** The one connection to make again and again, or `null` for all. */
  only: number | null;
  /** Where the Unix sockets are. */
  directory: string;
  /** The connection whose hook ran last: an Int32Array, shared. */
  running: SharedArrayBuffer;
}

/** Something that is promised, and what is wrong with it, if anything is. */
export interface Verdict {
  promise: string;
  wrong: string | null;
}

/** News of the soak. */
export type Message =
  /** Its thread can take an order: what comes before may be lost. */
  | { type: "ready" }
  /** Where it stands, and what it waits for. */
  | { type: "progress"; line: string; waitsFor: string }
  /** Something is wrong: the end. */
  | { type: "violation"; text: string; plan: number | null }
  /** The end has come, and all was counted. */
  | { type: "done"; table: string; verdicts: Verdict[] };

/** Tells the thread that watches. */
export function tell(message: Message): void {
  (self as unknown as { postMessage(data: Message): void })
    .postMessage(message);
}

let isSilent = false;

/** Tells what is wrong, where, and by which plan if it is by one; once. */
export function complain(
  text: string,
  where: string,
  plan: number | null = null,
): void {
  if (isSilent) return;
  isSilent = true;
  tell({ type: "violation", text: `${text}\n${where}`, plan });
}
