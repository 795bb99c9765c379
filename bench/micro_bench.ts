/**
 * What the parts of the library cost, without sockets: `deno bench bench/`.
 *
 * A pass is measured with a clock that grants the runtime's turn at once, so
 * that nothing but the pass is seen; a real turn adds 2 to 3 µs.
 *
 * @module
 */

import {
  type Channel,
  type Clock,
  Dispatcher,
  DispatcherWithSend,
  poll,
  SocketMap,
} from "../mod.ts";
import { Terminator } from "../chat/terminator.ts";

const clock: Clock = {
  now: () => performance.now(),
  setImmediate: (callback) => queueMicrotask(callback),
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (id) => clearTimeout(id as number),
};

/** Takes all at once, and has nothing to read. */
class SilentChannel implements Channel {
  read(_target: Uint8Array): Promise<number | null> {
    return new Promise(() => {});
  }
  write(data: Uint8Array): Promise<number> {
    return Promise.resolve(data.length);
  }
  close(): void {}
}

/** Has always something to read. */
class TalkingChannel extends SilentChannel {
  readonly #size: number;

  constructor(size: number) {
    super();
    this.#size = size;
  }
  override read(target: Uint8Array): Promise<number | null> {
    return Promise.resolve(Math.min(this.#size, target.length));
  }
}

class Buffered extends DispatcherWithSend {
  override handleRead(): void {
    this.recv();
  }
}

const inbox = new Uint8Array(64 * 1024);

class Into extends DispatcherWithSend {
  override handleRead(): void {
    this.recvInto(inbox);
  }
}

class Classic extends Dispatcher {
  override readable(): boolean {
    return true;
  }
  override writable(): boolean {
    return false;
  }
  override handleRead(): void {
    this.recv();
  }
}

/** Passes until the code is compiled. */
const WARM_UP = 1_000;
const KINDS = { Buffered, Classic };

for (const [name, Kind] of Object.entries(KINDS)) {
  for (const count of [1, 100, 5_000]) {
    const map = new SocketMap({ clock });
    for (let i = 0; i < count; i++) new Kind(new SilentChannel(), { map });
    for (let i = 0; i < WARM_UP; i++) await poll(0, map);
    Deno.bench({
      name: `${name}, ${count.toLocaleString("en")} idle`,
      group: "one pass",
      fn: async () => await poll(0, map),
    });
  }
}

for (const size of [64, 16 * 1024]) {
  for (
    const [name, Kind] of Object.entries({ recv: Buffered, recvInto: Into })
  ) {
    const map = new SocketMap({ clock });
    new Kind(new TalkingChannel(size), { map });
    // Its buffer finds its size, too.
    for (let i = 0; i < WARM_UP; i++) await poll(0, map);
    Deno.bench({
      name: `${name}(), ${size.toLocaleString("en")} B`,
      group: "one pass with a read",
      fn: async () => await poll(0, map),
    });
  }
  const map = new SocketMap({ clock });
  const sender = new Buffered(new SilentChannel(), { map });
  const data = new Uint8Array(size);
  Deno.bench({
    name: `send(), ${size.toLocaleString("en")} B`,
    group: "one pass after a send",
    fn: async () => {
      sender.send(data);
      await poll(0, map);
    },
  });
}

const TEXT = 64 * 1024;

for (const length of [60, 600, 6_000]) {
  const line = "x".repeat(length - 2) + "\r\n";
  const text = line.repeat(Math.floor(TEXT / length));
  const data = new TextEncoder().encode(text);
  const terminator = new Terminator(new TextEncoder().encode("\r\n"));
  Deno.bench({
    name: `lines of ${length.toLocaleString("en")} B in 64 KiB`,
    group: "terminator search",
    fn: () => {
      for (let at = 0; (at = terminator.find(data, at)) >= 0;);
    },
  });
}

const PENDING = 100_000;
const timerMap = new SocketMap({ clock });
const ignore = () => {};
const later = () => 60_000 + Math.random() * 600_000;
const timers = Array.from(
  { length: PENDING },
  () => timerMap.callLater(later(), ignore),
);
let next = 0;

Deno.bench({
  name: "arm and cancel",
  group: "timers, 100,000 pending",
  fn: () => timerMap.callLater(later(), ignore).cancel(),
});
Deno.bench({
  name: "reset",
  group: "timers, 100,000 pending",
  fn: () => timers[next++ % PENDING]!.reset(),
});
Deno.bench({
  name: "cancel and reset",
  group: "timers, 100,000 pending",
  fn: () => {
    const timer = timers[next++ % PENDING]!;
    timer.cancel();
    timer.reset();
  },
});
