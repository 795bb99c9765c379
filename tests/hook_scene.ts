/**
 * A dispatcher that writes down its hooks, and ways to have each of them called.
 */

import { type Channel, DispatcherWithSend, loop, shutdown } from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { assert } from "@std/assert";
import { bytes, turns } from "./support.ts";

export const IDLE = 1_000;
export const LIFETIME = 60_000;

/** What each hook does if the test says nothing else. */
const USUAL = {
  handleConnect: () => {},
  handleRead: (subject: Subject) => void subject.recv(),
  handleWrite: () => {},
  handleAccepted: (_: Subject, conn?: Channel) => conn!.close(),
  handleDrain: () => {},
  handleEnd: () => {},
  handleTimeout: () => {},
  handleShutdown: () => {},
  handleError: () => {},
  handleClose: (subject: Subject) => subject.close(),
};

/** The hooks that a connection or a listener may be told by. */
export type Hook = keyof typeof USUAL;

/** Writes down its hooks, one of which does what the test says. */
export class Subject extends DispatcherWithSend {
  readonly trace: string[] = [];
  readonly act: Partial<Record<Hook, () => void | Promise<void>>> = {};

  constructor(scene: Scene, hook: Hook) {
    super(null, {
      ...{ map: scene.map, allowHalfOpen: true, highWaterMark: 4 },
      ...{ idleTimeout: IDLE, lifetime: LIFETIME },
      role: "client", // It is read though its peer takes nothing.
    });
    // One that overrides handleWrite() is asked in each pass.
    for (const name of HOOKS) {
      if (name === "handleWrite" && hook !== name) continue;
      this[name] = (...args: unknown[]) => {
        this.trace.push(name);
        return (this.act[name] ?? USUAL[name])(this, args[0] as Channel);
      };
    }
    if (hook === "handleWrite") this.writable = () => hook in this.act;
  }

  count(hook: Hook): number {
    return this.trace.filter((entry) => entry === hook).length;
  }
}

/** A dispatcher in a loop, on a clock of its own. */
export class Scene {
  readonly clock = new MockClock();
  readonly network = new FakeNetwork();
  readonly map = quietMap({ clock: this.clock, network: this.network });
  readonly channel = new FakeChannel();
  readonly acceptor = new FakeAcceptor();
  subject!: Subject;
  /** The loop. */
  looping = watch(Promise.resolve());

  /** Starts the loop, or goes on with it after an ExitNow. */
  async loop(): Promise<void> {
    this.looping = watch(loop({ map: this.map }));
    await turns();
  }
}

/** Has a hook be called; what it does is set already in `act`. */
const PROVOKE: Record<Hook, (scene: Scene) => void | Promise<void>> = {
  handleConnect: ({ network, channel }) => network.succeed(channel),
  handleRead: ({ channel }) => channel.push("spam"),
  handleWrite: ({ map }) => map.wake(),
  handleAccepted: ({ acceptor }) => acceptor.push(new FakeChannel()),
  handleDrain: ({ subject }) => void subject.send(bytes("spam")),
  handleEnd: ({ channel }) => channel.push(null),
  handleTimeout: ({ clock }) => clock.advance(IDLE),
  handleShutdown: ({ map }) => void shutdown({ map, deadline: Infinity }),
  handleError: ({ subject, channel }) => {
    subject.act.handleRead = () => {
      delete subject.act.handleRead;
      subject.recv();
      throw new Error("spam");
    };
    channel.push("spam");
  },
  handleClose: ({ channel }) => {
    channel.push(new Deno.errors.ConnectionReset("spam"));
  },
};
export const HOOKS = Object.keys(PROVOKE) as Hook[];

/** Has `hook` be called in a scene of its own, in which it does `act`. */
export async function provoke(
  hook: Hook,
  act: (scene: Scene) => void | Promise<void>,
): Promise<Scene> {
  const scene = new Scene();
  const subject = scene.subject = new Subject(scene, hook);
  if (hook === "handleConnect") {
    subject.createSocket();
    subject.connect({ port: 7 });
  } else if (hook === "handleAccepted") subject.setSocket(scene.acceptor);
  else subject.setSocket(scene.channel);
  subject.act[hook] = () => {
    delete subject.act[hook];
    return act(scene);
  };
  await scene.loop();
  await PROVOKE[hook](scene);
  await turns();
  assert(subject.count(hook) > 0, `${hook}() was not called`);
  return scene;
}
