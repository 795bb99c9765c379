/**
 * The beginnings that the tests of single dispatchers share: one connection or
 * one listener, whose peers are the test, on a clock that the test moves.
 */

import type { Acceptor, Channel, SocketMapOptions } from "../mod.ts";
import { MockClock } from "../testing/mock_clock.ts";
import {
  Echo,
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  LogLines,
  quietMap,
  Recorder,
  type RecorderOptions,
} from "./fakes.ts";
import type { TestMap } from "./support.ts";

// deno-lint-ignore no-explicit-any
export type Any = any;

/** Hooks and predicates, as a test wants them in a {@linkcode Recorder}. */
export type Acts = Partial<Recorder> & ThisType<Recorder>;

/** A map whose time and network are the test's. */
export function setUp(options: SocketMapOptions = {}) {
  const clock = new MockClock();
  const network = new FakeNetwork();
  const log = new LogLines();
  const map = quietMap({ clock, network, logger: log, ...options });
  return { clock, network, log, map };
}

/** A recorder with hooks of the test's own: it writes those down, too. */
export function recorder(
  map: TestMap,
  wrapped: Channel | Acceptor | null,
  acts: Acts = {},
  options: RecorderOptions = {},
): Recorder {
  const made = new Recorder(map, null, options);
  const label = made.label && `${made.label}.`;
  for (const [name, act] of Object.entries(acts)) {
    (made as Any)[name] = (...args: unknown[]) => {
      made.trace.push(`${label}${name}`);
      if (name === "handleError") made.errors.push(args[0]);
      return (act as Any).apply(made, args);
    };
  }
  if (wrapped) made.setSocket(wrapped);
  return made;
}

/** A connection. */
export function connected(acts?: Acts, options?: RecorderOptions) {
  const channel = new FakeChannel();
  const scene = setUp();
  return {
    ...scene,
    channel,
    handler: recorder(scene.map, channel, acts, options),
  };
}

/** A client whose attempt to connect the test ends. */
export function connecting(acts?: Acts) {
  const scene = setUp();
  const client = recorder(scene.map, null, acts);
  client.createSocket();
  client.connect({ port: 7 });
  return { ...scene, client };
}

/** A listener. */
export function listening(acts?: Acts) {
  const acceptor = new FakeAcceptor();
  const scene = setUp();
  return { ...scene, acceptor, server: recorder(scene.map, acceptor, acts) };
}

/** The other end of another connection in the map, which is answered. */
export function neighbourIn(map: TestMap): FakeChannel {
  const neighbour = new FakeChannel();
  new Echo(neighbour, { map });
  return neighbour;
}
