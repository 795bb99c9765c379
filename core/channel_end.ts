/**
 * Notices the end of a connection that the program holds, whether it ends by
 * `close()`, by `using`, or through its Web streams. Deno's own streams close the
 * system's socket without a call of `close()`, so they are replaced.
 *
 * @module
 */

import { isCount, showValue } from "./arguments.ts";
import { type Channel, closeQuietly } from "./channel.ts";

/**
 * The size of a read of such a stream, in bytes. A larger one needs fewer calls, a
 * smaller one less memory. The value is that of Deno's own streams.
 */
const READ_SIZE = 64 * 1024;

/** The state of a watched channel. */
interface Watch {
  /** Runs at the end of the channel; `null` afterwards. */
  then: (() => void) | null;
  close: () => unknown;
  dispose: (() => unknown) | undefined;
  readable?: ReadableStream<Uint8Array>;
  writable?: WritableStream<Uint8Array>;
}

const watches = new WeakMap<Channel, Watch>();

/** The replaced members. All channels share them: there may be thousands. */
const WATCHED: [PropertyKey, PropertyDescriptor][] = [
  ["close", {
    writable: true,
    value(this: Channel) {
      return ended(this).close.call(this);
    },
  }],
  [Symbol.dispose, {
    writable: true,
    value(this: Channel) {
      return ended(this).dispose!.call(this);
    },
  }],
  ["readable", {
    get(this: Channel) {
      return watches.get(this)!.readable ??= readableOf(this);
    },
  }],
  ["writable", {
    get(this: Channel) {
      return watches.get(this)!.writable ??= writableOf(this);
    },
  }],
];

/** Runs `then` once, when `channel` is closed. */
export function onClose(channel: Channel, then: () => void): void {
  const watch = watches.get(channel);
  if (watch) { // Accepted twice: a listener may wrap another listener.
    const before = watch.then;
    watch.then = () => {
      before?.();
      then();
    };
    return;
  }
  const { close, [Symbol.dispose]: dispose } = channel as
    & Channel
    & Partial<Disposable>;
  watches.set(channel, { then, close, dispose });
  for (const [name, property] of WATCHED) {
    if (name in channel) {
      Object.defineProperty(channel, name, { configurable: true, ...property });
    }
  }
}

/** Watches `channel` in the place of `former`. */
export function inheritClose(former: Channel, channel: Channel): void {
  const watch = watches.get(former);
  if (!watch?.then) return;
  onClose(channel, watch.then);
  watch.then = null;
}

function ended(channel: Channel): Watch {
  const watch = watches.get(channel)!;
  const { then } = watch;
  watch.then = null;
  then?.();
  return watch;
}

/** A stream of what a channel reads. It closes the channel at its end. */
export function readableOf(channel: Channel): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: READ_SIZE,
    async pull(controller) {
      const request = controller.byobRequest!;
      try {
        const length = await channel.read(request.view as Uint8Array);
        if (length !== null) return request.respond(length);
        closeQuietly(channel);
        controller.close();
        request.respond(0);
      } catch (error) {
        closeQuietly(channel);
        throw error;
      }
    },
    cancel: () => closeQuietly(channel),
  });
}

/** A stream that writes to a channel. It closes the channel at its end. */
export function writableOf(channel: Channel): WritableStream<Uint8Array> {
  return new WritableStream({
    async write(chunk) {
      try {
        for (let sent = 0; sent < chunk.length;) {
          const rest = chunk.length - sent;
          const taken = await channel.write(chunk.subarray(sent));
          if (!isCount(taken, rest) || taken === 0) {
            const message = `The channel took ${showValue(taken)} bytes`;
            throw new Deno.errors.WriteZero(message);
          }
          sent += taken;
        }
      } catch (error) {
        closeQuietly(channel);
        throw error;
      }
    },
    close: () => closeQuietly(channel),
    abort: () => closeQuietly(channel),
  });
}
