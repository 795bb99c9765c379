/**
 * The holders of the channels and listeners that dispatchers wrap. A program that
 * takes `this.socket` may close it. In Python, the system has the sent bytes by
 * then, and delivers them. Here some of them may wait in the library. So the close
 * of a channel that is held closes its holder, which sends them first.
 *
 * @module
 */

import type { Acceptor, Channel } from "./channel.ts";

/** The holder of a channel or of a listener. */
export interface Holder {
  /** The channel or the listener that it has now. */
  readonly wrapped: Channel | Acceptor | null;
  /** It has given that up, or closed it. */
  readonly isReleased: boolean;
  /** Sends the accepted bytes, and closes. No hook runs. */
  close(): void;
  /**
   * Sends accepted bytes as far as the system takes them.
   *
   * @returns Whether all have gone out.
   */
  flush?(): boolean;
}

const holders = new WeakMap<Channel | Acceptor, Holder>();
const lent = new WeakSet<Channel | Acceptor>();

/** Notes who holds a channel or a listener from now on. */
export function hold(wrapped: Channel | Acceptor, holder: Holder): void {
  holders.set(wrapped, holder);
}

/** The last holder of a channel or a listener. */
export function holderOf(wrapped: Channel | Acceptor): Holder | undefined {
  return holders.get(wrapped);
}

/** Makes the program's close of a channel or a listener that of its holder. */
export function lend<T extends Channel | Acceptor>(wrapped: T): T {
  if (lent.has(wrapped)) return wrapped;
  lent.add(wrapped);
  try {
    replaceClose(wrapped, "close");
    replaceClose(wrapped, Symbol.dispose);
  } catch { // A strange channel stays as it is.
  }
  return wrapped;
}

function replaceClose(
  wrapped: (Channel | Acceptor) & Partial<Disposable>,
  name: "close" | typeof Symbol.dispose,
): void {
  const close = wrapped[name];
  if (typeof close !== "function") return;
  let isClosed = false;
  const value = (): unknown => {
    const holder = holders.get(wrapped)!;
    if (holder.wrapped === wrapped && !holder.isReleased) return holder.close();
    if (isClosed) return; // The library has closed it, or the program has.
    isClosed = true;
    return close.call(wrapped);
  };
  const property = { value, writable: true, configurable: true };
  Reflect.defineProperty(wrapped, name, property); // Not of a frozen channel.
}
