/**
 * What the client is asked to do, and what it answers.
 *
 * @module
 */

import process from "node:process";
import type { Histogram } from "../histogram.ts";

/** Where a server listens, and the authority of its certificate, in PEM, for TLS. */
export interface Place {
  port: number;
  ca?: string | undefined;
}

/** What the client is asked to do. */
export type Order =
  /** Connects; each `greetEvery`th connection waits for an echo of one byte. */
  | { do: "connect"; place: Place; count: number; greetEvery: number }
  /** Sends messages to and fro over `active` of the connections, evenly spread. */
  | { do: "ping"; active: number; size: number; seconds: number }
  /** Connects, sends one message, gets it back, closes: over and over. */
  | { do: "churn"; place: Place; slots: number; size: number; seconds: number };

/** What came of it. */
export interface Traffic {
  /** Messages (or connections) from start to end. */
  messages: number;
  seconds: number;
  /** Latencies in µs. */
  p50: number;
  p99: number;
  p999: number;
  /** The share of the time in which the client's processor was busy. */
  busy: number;
}

/** A client: the one on system calls, and the one on Deno's connections. */
export interface Client {
  connect(place: Place, count: number, greetEvery: number): Promise<Traffic>;
  ping(active: number, size: number, seconds: number): Promise<Traffic>;
  churn(
    place: Place,
    slots: number,
    size: number,
    seconds: number,
  ): Promise<Traffic>;
}

/** How long a server may be silent, in ms. */
export const PATIENCE = 20_000;

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Starts to measure: the result takes the number of messages and their latencies. */
export function startTraffic(): (
  messages: number,
  latencies: Histogram,
) => Traffic {
  const cpu = processorTime();
  const start = performance.now();
  return (messages, latencies) => {
    const ms = performance.now() - start;
    return {
      messages,
      seconds: ms / 1_000,
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      p999: latencies.quantile(0.999),
      busy: (processorTime() - cpu) / 1_000 / ms,
    };
  };
}

/** A message that looks like no other. */
export function newMessage(size: number): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) {
    crypto.getRandomValues(message.subarray(at, at + 65_536));
  }
  return message;
}

/** Changes a message at both ends, so that the echo of another one is noticed. */
export function stamp(message: Uint8Array, number: number): void {
  const last = message.length - 1;
  message[0] = number;
  message[last] = number >> 8;
}
