/** What is to happen on a connection. */

export type SideName = "server" | "client";
export type Transport = "tcp" | "unix" | "tls";
export const TRANSPORTS: readonly Transport[] = ["tcp", "unix", "tls"];

/** How a side is made: by which class of the library, or without it. */
export type Kind =
  | "predicates"
  | "buffered"
  | "chat"
  | "producers"
  | "streams"
  | "raw";

/** What goes wrong. */
export type FaultKind = typeof FAULT_KINDS[number];
export const FAULT_KINDS = [
  /** A client closes with bytes unread: the kernel sends a reset. */
  "reset",
  /** A side calls `abort()`. */
  "abort",
  /** A client falls silent, for longer than `idleTimeout`. */
  "idle",
  /** A client drips, for longer than `lifetime`. */
  "lifetime",
  /** A side calls `close()` with bytes pending. */
  "closePending",
  /** The server's map is emptied by `closeAll()`, or by `shutdown()`. */
  "closeAll",
  "shutdown",
  /** A hook, a predicate, a producer or a timer throws. */
  "hookError",
  /** Nobody listens. */
  "refused",
  /** The listener's `handleAccepted()` throws. */
  "turnedAway",
  /** What is said to a TLS server is no handshake. */
  "badHandshake",
] as const;

/** Where an error of our own comes from. */
export type ErrorPlace =
  | "handleConnect"
  | "handleRead"
  | "handleWrite"
  | "handleDrain"
  | "handleEnd"
  | "handleClose"
  | "collectIncomingData"
  | "foundTerminator"
  | "readable"
  | "writable"
  | "producer"
  | "timer";

/** Something that goes wrong, who does it and when. */
export interface Fault {
  kind: FaultKind;
  by: SideName;
  /** When so many bytes have been sent and received by that side. */
  at: number;
  /** Only when all that is to come has been received. */
  hearsAll: boolean;
  /** Outside of a hook. */
  outside: boolean;
  /** How long, in ms: what that is depends on the kind. */
  ms: number;
  /** After falling silent: reads what is left, rather than just leaves. */
  resumes: boolean;
  /** Where an error comes from, and at which call. */
  place: ErrorPlace;
  call: number;
  how: "throws" | "rejects";
  /** What follows an error: what `handleError()` does, or ExitNow. */
  then: "closes" | "survives" | "fails" | "exits";
}

/** What one side does. */
export interface SidePlan {
  kind: Kind;
  /** How many bytes it sends … */
  size: number;
  /** … in pieces of at most so many … */
  piece: number;
  /** … with a pause, in ms, after each so many of them. */
  pause: number;
  pauseEvery: number;
  /** Goes on pausing as long as it sends. */
  drips: boolean;
  /** The most bytes it takes at a time. */
  readSize: number;
  /** It is not readable() for a while, now and then. */
  rests: boolean;
  /** Waits so many ms before a read, a few times. For a raw one. */
  readPause: number;
  /** Reads when all is sent. For a raw one. */
  readsLast: boolean;
  /** Each so many calls of a hook, one is async. 0: none is. */
  asyncEvery: number;
  /** Begins to send when the peer has ended. For a server. */
  startsLast: boolean;
  /** Ends its writing; closes when all is sent and received; or neither. */
  ending: "halves" | "closes" | "waits";
  /** Changes what it has sent or received, as it may. */
  scribbles: boolean;
  /** Its channel takes and gives at most so many bytes. 0: as they come. */
  splits: number;
  /** Moves to another map when so many bytes have gone. -1: never. */
  movesAt: number;
  allowHalfOpen: boolean;
  idleTimeout: number;
  lifetime: number;
  highWaterMark: number;
  maxLength: number;
  /** Of the choices that are made on the way. */
  seed: number;
}

/** What is to happen on a connection. */
export interface Plan {
  number: number;
  transport: Transport;
  server: SidePlan;
  client: SidePlan;
  fault: Fault | null;
}

/** A plan in one line. */
export function describePlan({ fault, ...plan }: Plan): string {
  const options = { breakLength: Infinity, compact: true, depth: 3 };
  const rest = fault ? ` fault: ${Deno.inspect(fault, options)}` : "";
  return `${Deno.inspect(plan, options)}${rest}`;
}
