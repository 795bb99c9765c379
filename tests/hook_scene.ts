/**
 * A dispatcher that writes down its hooks, and ways to have each of them called.
 */

import {
  type Acceptor,
  type Channel,
  Dispatcher,
  DispatcherWithSend,
  type DispatcherWithSendOptions,
  loop,
  shutdown,
} from "../mod.ts";
import {
  FakeAcceptor,
  FakeChannel,
  FakeNetwork,
  quietMap,
  watch,
} from "./fakes.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { assert } from "@std/assert";
import { bytes, type TestMap, turns } from "./support.ts";

export const IDLE = 1_000;
export const LIFETIME = 60_000;

/** The hooks that a connection or a listener may be told by. */
export type Hook =
  | "handleConnect"
  | "handleRead"
  | "handleWrite"
  | "handleAccepted"
  | "handleDrain"
  | "handleEnd"
  | "handleTimeout"
  | "handleShutdown"
  | "handleError"
  | "handleClose";

/** Writes down its hooks, one of which does what the test says. */
export class Subject extends DispatcherWithSend {
  readonly trace: string[] = [];
  /** Hooks that came while the promise of another was pending. */
  readonly early: string[] = [];
  readonly act: Partial<Record<Hook, () => void | Promise<void>>> = {};
  #pending: Hook | null = null;

  constructor(
    map: TestMap,
    channel: Channel | Acceptor | null = null,
    options: DispatcherWithSendOptions = {},
  ) {
    super(channel, { map, highWaterMark: 4, ...options });
  }

  count(hook: Hook): number {
    return this.trace.filter((entry) => entry === hook).length;
  }

  protected run(
    hook: Hook,
    usual: () => void = () => {},
  ): void | Promise<void> {
    this.trace.push(hook);
    if (this.#pending) this.early.push(`${hook} in ${this.#pending}`);
    const result: unknown = (this.act[hook] ?? usual)();
    if (!(result instanceof Promise)) return;
    this.#pending = hook;
    return result.finally(() => this.#pending = null);
  }
  override handleConnect() {
    return this.run("handleConnect");
  }
  override handleRead() {
    return this.run("handleRead", () => void this.recv());
  }
  override handleAccepted(conn: Channel) {
    return this.run("handleAccepted", () => conn.close());
  }
  override handleDrain() {
    return this.run("handleDrain");
  }
  override handleEnd() {
    return this.run("handleEnd");
  }
  override handleTimeout() {
    return this.run("handleTimeout");
  }
  override handleShutdown() {
    return this.run("handleShutdown");
  }
  override handleError() {
    return this.run("handleError");
  }
  override handleClose() {
    return this.run("handleClose", () => this.close());
  }
}

/** One that is asked in each pass whether to write. */
class Writer extends Subject {
  override writable(): boolean {
    return "handleWrite" in this.act;
  }
  override handleWrite() {
    return this.run("handleWrite");
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
  /** A connection with each kind of limit. */
  connected(Class: typeof Subject = Subject): Subject {
    return this.subject = new Class(this.map, this.channel, {
      allowHalfOpen: true,
      idleTimeout: IDLE,
      lifetime: LIFETIME,
      role: "client", // It is read though its peer takes nothing.
    });
  }
}

/** Keeps the loop going. */
export function keepGoing(map: TestMap): Disposable {
  const keeper = new Dispatcher(null, { map });
  keeper.createSocket();
  keeper.handleShutdown = () => {};
  return { [Symbol.dispose]: () => keeper.close() };
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
  if (hook === "handleConnect") {
    scene.subject = new Subject(scene.map);
    scene.subject.createSocket();
    scene.subject.connect({ port: 7 });
  } else if (hook === "handleAccepted") {
    scene.subject = new Subject(scene.map, scene.acceptor);
  } else scene.connected(hook === "handleWrite" ? Writer : Subject);
  const { subject } = scene;
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
