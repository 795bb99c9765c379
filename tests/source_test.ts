/**
 * Another engine brings a source of its own: nothing is read ahead, and a write
 * takes at once as much as there is room for.
 */

import { assertEquals } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  loop,
  SocketMap,
} from "../mod.ts";
import {
  type ReadListener,
  SOURCE,
  type Source,
  type SourceChannel,
  type WriteListener,
} from "../core/source.ts";
import { bytes, text } from "./support.ts";

const never = () => Promise.reject(new Error("An engine of its own"));

/** A socket whose bytes wait in the kernel, as far as a dispatcher can tell. */
class Kernel implements SourceChannel {
  /** What the peer has sent; `null` is its end. */
  readonly #incoming: (Uint8Array | null)[] = [];
  readonly received: string[] = [];
  room = Infinity;
  isClosed = false;
  #listener: ReadListener | null = null;
  #writer: WriteListener | null = null;
  #isWatched = false;

  [SOURCE](listener: ReadListener): Source {
    this.#listener = listener;
    return new KernelSource(this);
  }

  /** Tells another listener from now on. */
  tell(listener: ReadListener): void {
    this.#listener = listener;
  }

  /** The peer sends something, or ends its side. */
  send(data: string | null): void {
    this.#incoming.push(data === null ? null : bytes(data));
    this.look();
  }

  /** The peer takes what is on its way. */
  drain(room: number): void {
    this.room = room;
    this.#writer?.onWritable(0);
  }

  get next(): Uint8Array | null | undefined {
    return this.#incoming[0];
  }

  take(size: number): Uint8Array {
    const data = this.#incoming.shift()!;
    if (size < data.length) this.#incoming.unshift(data.subarray(size));
    return data.slice(0, size);
  }

  watch(): void {
    this.#isWatched = true;
    this.look();
  }

  /** Tells of what is ready, as `epoll_wait()` would. */
  look(): void {
    if (!this.#isWatched || this.next === undefined) return;
    this.#isWatched = false;
    queueMicrotask(() => this.#listener!.onReadable());
  }

  put(data: Uint8Array, writer: WriteListener): number {
    this.#writer = writer;
    const length = Math.min(data.length, this.room);
    this.room -= length;
    if (length > 0) this.received.push(text(data.subarray(0, length)));
    return length;
  }

  read = never;
  write = never;
  closeWrite(): Promise<void> {
    this.received.push("END");
    return Promise.resolve();
  }
  close(): void {
    this.isClosed = true;
  }
}

class KernelSource implements Source {
  taken = 0;
  discarded = 0;
  isWatching = false;
  reason = null;
  unsupported = false;
  isClosing = false;
  isBusy = false;
  inBackground = false;
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get available(): number {
    return this.#kernel.next?.length ?? 0;
  }

  get ended(): boolean {
    return this.#kernel.next === null;
  }

  get isReadable(): boolean {
    return this.#kernel.next !== undefined;
  }

  moveTo(listener: ReadListener): void {
    this.#kernel.tell(listener);
  }

  watch(): void {
    this.#kernel.watch();
  }

  watchBehind(): boolean {
    return true;
  }

  take(size: number): Uint8Array {
    const data = this.#kernel.take(size);
    this.taken += data.length;
    return data;
  }

  takeError(): null {
    return null;
  }

  takeInto(target: Uint8Array): number {
    const data = this.take(target.length);
    target.set(data);
    return data.length;
  }

  discard(): void {
    while (this.available > 0) this.#kernel.take(Infinity);
  }

  write(data: Uint8Array, length: number, writer: WriteListener): number {
    return this.#kernel.put(data.subarray(0, length), writer);
  }

  closeWrite(): Promise<void> {
    return this.#kernel.closeWrite();
  }
}

const channel = (kernel: Kernel) => kernel as Channel;

Deno.test("Dispatcher over a source of its own echoes, and hears of the end", async () => {
  const map = new SocketMap();
  const kernel = new Kernel();
  const echo = new Dispatcher(channel(kernel), { map });
  const heard: string[] = [];
  echo.handleRead = () => {
    const data = echo.recv(3);
    heard.push(text(data));
    echo.send(data);
  };
  echo.handleClose = () => {
    heard.push("handleClose");
    echo.close();
  };
  kernel.send("spam");
  kernel.send(null);
  await loop({ map });
  assertEquals(heard, ["spa", "m", "handleClose", ""]);
  assertEquals(kernel.received, ["spa", "m"]);
  assertEquals(kernel.isClosed, true);
});

Deno.test("DispatcherWithSend over a source of its own goes on when there is room", async () => {
  const map = new SocketMap();
  const kernel = new Kernel();
  kernel.room = 4;
  const sender = new DispatcherWithSend(channel(kernel), {
    map,
    highWaterMark: 8,
  });
  const drains: number[] = [];
  sender.handleDrain = () => {
    drains.push(sender.bufferedAmount);
    kernel.drain(Infinity);
    sender.close();
    kernel.send(null);
  };
  sender.send(bytes("0123456789ab"));
  assertEquals(sender.bufferedAmount, 8);
  map.callLater(0, () => kernel.drain(4));
  await loop({ map });
  assertEquals(drains, [4]);
  assertEquals(kernel.received, ["0123", "4567", "89ab", "END"]);
});

Deno.test("AsyncChat over a source of its own takes lines, and closes when done", async () => {
  const map = new SocketMap();
  const kernel = new Kernel();
  const lines: string[] = [];
  class Lines extends AsyncChat {
    override foundTerminator(): void {
      const line = this.takeText();
      lines.push(line);
      this.push(`${line}!`);
      if (lines.length === 2) this.closeWhenDone();
    }
  }
  new Lines(channel(kernel), { map }).setTerminator("\n");
  for (const part of ["sp", "am\neg", "gs\n", null]) kernel.send(part);
  await loop({ map });
  assertEquals(lines, ["spam", "eggs"]);
  assertEquals(kernel.received, ["spam!", "eggs!"]);
  assertEquals(kernel.isClosed, true);
});
