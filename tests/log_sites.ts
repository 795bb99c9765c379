/**
 * Each place at which the library writes a line by itself, as a small scene
 * that brings it about. A peer can repeat most of them at will.
 */

import {
  AsyncChat,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
} from "../mod.ts";
import type { MockClock } from "../testing/mock_clock.ts";
import { FakeSocket, PEER } from "./datagrams.ts";
import { codedError, FakeAcceptor, FakeChannel } from "./fakes.ts";
import { bytes, type TestMap, turns } from "./support.ts";

/** Where a line comes from. */
export interface Site {
  name: string;
  /** A part of the line. */
  line: string;
  /** What has to be waited for, in ms. */
  wait?: number;
  /** Makes what writes the line; a plain dispatcher by default. */
  make?: (map: TestMap) => Dispatcher;
  /** Has it come to the line. */
  // deno-lint-ignore no-explicit-any
  provoke: (made: any) => void;
}

/** Has a dispatcher come to the line, after `prepare()` has seen it. */
export function provoke(
  site: Site,
  map: TestMap,
  prepare: (dispatcher: Dispatcher) => void,
): void {
  const made = site.make?.(map) ?? new Dispatcher(null, { map });
  prepare(made);
  site.provoke(made);
}

/** Gives a dispatcher a channel that has `items` to read. */
function open(dispatcher: Dispatcher, ...items: (string | null | Error)[]) {
  const channel = new FakeChannel();
  dispatcher.setSocket(channel);
  channel.push(...items);
  return channel;
}

/** Sends a datagram that gets lost. */
function lose(sender: DatagramDispatcher): void {
  const socket = new FakeSocket();
  socket.onSend = () => Promise.reject(new Error("no route"));
  sender.setSocket(socket);
  sender.sendTo(bytes("spam"), PEER);
}

const makeDatagrams = (map: TestMap) => new DatagramDispatcher(null, { map });

export const SITES: Site[] = [
  {
    name: "an error that handleError() gets",
    line: "uncaught exception, closing channel",
    provoke: (it) => open(it, new Error("spam")),
  },
  {
    name: "an event that nobody handles",
    line: "unhandled close event",
    provoke: (it) => open(it, null),
  },
  {
    name: "a connection that was silent for too long",
    line: "nothing read or written for 100 ms",
    wait: 100,
    make: (map) => new Dispatcher(null, { map, idleTimeout: 100 }),
    provoke: (it) => open(it),
  },
  {
    name: "a message that is too long",
    line: "more than 4 bytes without a terminator",
    make: (map) => new AsyncChat(null, { map, maxLength: 4 }),
    provoke: (it: AsyncChat) => {
      it.setTerminator("\n");
      it.collectIncomingData = () => {};
      open(it, "12345678");
    },
  },
  {
    name: "bytes that a closed connection could not send",
    line: "was closed and lost 4 accepted bytes",
    wait: 200,
    make: (map) => new DispatcherWithSend(null, { map, linger: 100 }),
    provoke: (it: DispatcherWithSend) => {
      open(it).take = () => new Promise(() => {});
      it.send(bytes("spam"));
      it.close();
    },
  },
  {
    name: "bytes that waited for a producer",
    line: "was closed and lost 4 bytes that waited for a producer",
    make: (map) => new AsyncChat(null, { map }),
    provoke: (it: AsyncChat) => {
      open(it);
      it.pushWithProducer({ more: () => new Promise<string>(() => {}) });
      it.push("spam");
      it.abort();
    },
  },
  {
    name: "a listener that has run out of descriptors",
    line: "accepting paused",
    wait: 10,
    provoke: (it: Dispatcher) => {
      const acceptor = new FakeAcceptor();
      it.setSocket(acceptor);
      acceptor.push(codedError("EMFILE"));
      it.map.callLater(10, () => it.close());
    },
  },
  {
    name: "a datagram that cannot be sent",
    line: "lost a datagram",
    wait: 10,
    make: makeDatagrams,
    provoke: (it: DatagramDispatcher) => {
      lose(it);
      it.map.callLater(10, () => it.close());
    },
  },
  {
    name: "a datagram that cannot be sent after close()",
    line: "lost a datagram",
    make: makeDatagrams,
    provoke: (it: DatagramDispatcher) => {
      lose(it);
      it.close();
    },
  },
];

/** Lets a loop that runs meanwhile come to the line. */
export async function pass(clock: MockClock, { wait = 0 }: Site) {
  await clock.advance(0);
  if (wait > 0) await clock.advance(wait);
  await clock.advance(0);
  await turns();
}
