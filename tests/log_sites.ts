/**
 * Each place at which the library writes a line by itself, as a small scene
 * that brings it about. A peer can repeat most of them at will.
 */

import {
  AsyncChat,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  type Logger,
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
  /** The warning comes only where warnings are not ignored. */
  isQuiet?: boolean;
  /** Makes the dispatcher, and has it come to the line. */
  provoke(map: TestMap, prepare: (dispatcher: Dispatcher) => void): void;
}

/** A dispatcher of one class, with a channel that has `items` to read. */
function open<T extends Dispatcher>(
  dispatcher: T,
  prepare: (dispatcher: Dispatcher) => void,
  ...items: (string | null | Error)[]
): T {
  prepare(dispatcher);
  const channel = new FakeChannel();
  dispatcher.setSocket(channel);
  channel.push(...items);
  return dispatcher;
}

/** A channel that takes nothing. */
function stuck(): FakeChannel {
  return Object.assign(new FakeChannel(), {
    take: () => new Promise<number>(() => {}),
  });
}

export const SITES: Site[] = [
  {
    name: "an error that handleError() gets",
    line: "uncaught exception, closing channel",
    provoke: (map, prepare) =>
      void open(new Dispatcher(null, { map }), prepare, new Error("spam")),
  },
  {
    name: "an event that nobody handles",
    line: "unhandled close event",
    isQuiet: true,
    provoke: (map, prepare) =>
      void open(new Dispatcher(null, { map }), prepare, null),
  },
  {
    name: "a connection that was silent for too long",
    line: "nothing read or written for 100 ms",
    isQuiet: true,
    wait: 100,
    provoke: (map, prepare) =>
      void open(new Dispatcher(null, { map, idleTimeout: 100 }), prepare),
  },
  {
    name: "a message that is too long",
    line: "more than 4 bytes without a terminator",
    provoke: (map, prepare) => {
      const chat = new AsyncChat(null, { map, maxLength: 4 });
      chat.setTerminator("\n");
      chat.collectIncomingData = () => {};
      open(chat, prepare, "12345678");
    },
  },
  {
    name: "bytes that a closed connection could not send",
    line: "was closed and lost 4 accepted bytes",
    wait: 200,
    provoke: (map, prepare) => {
      const sender = new DispatcherWithSend(null, { map, linger: 100 });
      prepare(sender);
      sender.setSocket(stuck());
      sender.send(bytes("spam"));
      sender.close();
    },
  },
  {
    name: "bytes that waited for a producer",
    line: "was closed and lost 4 bytes that waited for a producer",
    provoke: (map, prepare) => {
      const chat = new AsyncChat(null, { map });
      prepare(chat);
      chat.setSocket(new FakeChannel());
      chat.pushWithProducer({ more: () => new Promise<string>(() => {}) });
      chat.push("spam");
      chat.abort();
    },
  },
  {
    name: "a listener that has run out of descriptors",
    line: "accepting paused",
    provoke: (map, prepare) => {
      const listener = new Dispatcher(null, { map });
      prepare(listener);
      const acceptor = new FakeAcceptor();
      listener.setSocket(acceptor);
      acceptor.push(codedError("EMFILE"));
      map.callLater(10, () => listener.close());
    },
    wait: 10,
  },
  {
    name: "a datagram that cannot be sent",
    line: "lost a datagram",
    provoke: (map, prepare) => {
      const sender = new DatagramDispatcher(null, { map });
      prepare(sender);
      const socket = new FakeSocket();
      socket.onSend = () => Promise.reject(new Error("no route"));
      sender.setSocket(socket);
      sender.sendTo(bytes("spam"), PEER);
      map.callLater(10, () => sender.close());
    },
    wait: 10,
  },
  {
    name: "a datagram that cannot be sent after close()",
    line: "lost a datagram",
    provoke: (map, prepare) => {
      const sender = new DatagramDispatcher(null, { map });
      prepare(sender);
      const socket = new FakeSocket();
      socket.onSend = () => Promise.reject(new Error("no route"));
      sender.setSocket(socket);
      sender.sendTo(bytes("spam"), PEER);
      sender.close();
    },
  },
];

/** The levels of a {@linkcode Logger}. */
export const LEVELS: (keyof Logger)[] = ["debug", "info", "warn", "error"];

/** Lets a loop that runs meanwhile come to the line. */
export async function pass(clock: MockClock, { wait = 0 }: Site) {
  await clock.advance(0);
  if (wait > 0) await clock.advance(wait);
  await clock.advance(0);
  await turns();
}
