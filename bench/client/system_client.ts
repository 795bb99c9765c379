/**
 * A client on system calls, which looks at each byte that comes back.
 *
 * @module
 */

import { Histogram } from "../histogram.ts";
import {
  areSame,
  close,
  connectTo,
  Poller,
  receive,
  receiveNow,
  sendNow,
} from "./libc.ts";
import {
  type Client,
  newMessage,
  PATIENCE,
  type Place,
  stamp,
  startTraffic,
  type Traffic,
} from "./traffic.ts";

const BYTE = Uint8Array.of(120);
const inbox = new Uint8Array(256 * 1024);

/** One message on its way to the server and back. */
class Exchange {
  readonly message: Uint8Array<ArrayBuffer>;
  fd = -1;
  #number = 0;
  #sent = 0;
  #received = 0;
  #started = 0;

  constructor(size: number) {
    this.message = newMessage(size);
  }

  /** Sends the next message, or as much as goes now. */
  start(time: number): void {
    stamp(this.message, this.#number++);
    this.#sent = this.#received = 0;
    this.#started = time;
    this.#send();
  }

  #send(): void {
    const { message } = this;
    while (this.#sent < message.length) {
      const rest = this.#sent === 0 ? message : message.subarray(this.#sent);
      const sent = sendNow(this.fd, rest);
      if (sent <= 0) return; // The poller says when to go on.
      this.#sent += sent;
    }
  }

  /** Goes on: whether the whole message is back. */
  advance(): boolean {
    this.#send();
    const { message } = this;
    for (;;) {
      const length = receiveNow(this.fd, inbox);
      if (length === 0) throw new Error("The server has ended a connection");
      if (length < 0) return false;
      const at = this.#received;
      const expected = at === 0 ? message : message.subarray(at);
      if (length > expected.length || !areSame(inbox, expected, length)) {
        throw new Error("What comes back is not what was sent");
      }
      this.#received += length;
      if (this.#received === message.length) return true;
      // A receive that leaves room has left nothing behind.
      if (length < inbox.length) {
        if (this.#sent < message.length) this.#send();
        return false;
      }
    }
  }

  /** How long the message has taken, in µs. */
  latency(time: number): number {
    return (time - this.#started) * 1_000;
  }
}

/** Waits for events and visits them until `left()` is 0. */
function run(
  poller: Poller,
  left: () => number,
  visit: (number: number) => void,
): void {
  let last = performance.now();
  while (left() > 0) {
    const events = poller.wait(1_000);
    for (let i = 0; i < events; i++) visit(poller.at(i));
    if (events > 0) last = performance.now();
    else if (performance.now() - last > PATIENCE) {
      throw new Error("The server does not answer any more");
    }
  }
}

/** See the module's comment. */
export class SystemClient implements Client {
  #fds: number[] = [];

  connect(
    { port }: Place,
    count: number,
    greetEvery: number,
  ): Promise<Traffic> {
    const latencies = new Histogram();
    const finish = startTraffic();
    // As many at a time as fit in the queue of any server.
    const window = Math.max(128, greetEvery);
    for (let from = 0; from < count; from += window) {
      const fds: number[] = [];
      const time = performance.now();
      for (let i = from; i < Math.min(from + window, count); i++) {
        const fd = connectTo(port);
        fds.push(fd);
        if ((i + 1) % greetEvery === 0 || i === count - 1) sendNow(fd, BYTE);
      }
      this.#fds.push(...fds);
      for (const [i, fd] of fds.entries()) {
        const number = from + i;
        const isGreeted = (number + 1) % greetEvery === 0 ||
          number === count - 1;
        if (isGreeted && receive(fd, inbox.subarray(0, 1)) !== 1) {
          throw new Error(`Connection ${number + 1} gets no answer`);
        }
        if (isGreeted) latencies.add((performance.now() - time) * 1_000);
      }
    }
    return Promise.resolve(finish(count, latencies));
  }

  ping(active: number, size: number, seconds: number): Promise<Traffic> {
    const stride = Math.floor(this.#fds.length / active);
    const poller = new Poller();
    const exchanges = Array.from({ length: active }, (_, i) => {
      const exchange = new Exchange(size);
      exchange.fd = this.#fds[i * stride]!;
      poller.add(exchange.fd, i);
      return exchange;
    });
    let messages = 0;
    let busy = active;
    const latencies = new Histogram();
    const finish = startTraffic();
    const end = performance.now() + seconds * 1_000;
    for (const exchange of exchanges) exchange.start(performance.now());
    run(poller, () => busy, (number) => {
      const exchange = exchanges[number]!;
      if (!exchange.advance()) return;
      const now = performance.now();
      latencies.add(exchange.latency(now));
      messages++;
      if (now < end) exchange.start(now);
      else busy--;
    });
    const traffic = finish(messages, latencies);
    poller.close();
    return Promise.resolve(traffic);
  }

  churn(
    { port }: Place,
    slots: number,
    size: number,
    seconds: number,
  ): Promise<Traffic> {
    const poller = new Poller();
    let messages = 0;
    let busy = slots;
    const latencies = new Histogram();
    const finish = startTraffic();
    const end = performance.now() + seconds * 1_000;
    const exchanges = Array.from({ length: slots }, () => new Exchange(size));
    const open = (exchange: Exchange, number: number) => {
      const time = performance.now();
      exchange.fd = connectTo(port);
      exchange.start(time);
      poller.add(exchange.fd, number);
    };
    exchanges.forEach(open);
    run(poller, () => busy, (number) => {
      const exchange = exchanges[number]!;
      if (!exchange.advance()) return;
      const now = performance.now();
      latencies.add(exchange.latency(now));
      messages++;
      close(exchange.fd);
      if (now < end) open(exchange, number);
      else busy--;
    });
    const traffic = finish(messages, latencies);
    poller.close();
    return Promise.resolve(traffic);
  }
}
