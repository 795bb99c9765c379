/**
 * Hooks come one at a time, whichever socket of their dispatcher they are for,
 * and none comes while it is in no map.
 */

import { assert, assertEquals } from "@std/assert";
import { shutdown } from "../mod.ts";
import { FakeChannel, passes, quietMap, watch } from "./fakes.ts";
import {
  HOOKS,
  IDLE,
  keepGoing,
  LIFETIME,
  provoke,
  Scene,
  Subject,
} from "./hook_scene.ts";
import { bytes, turn, turns } from "./support.ts";

// While the promise of a hook is pending

const RESET = new Deno.errors.ConnectionReset("spam");

type Happen = (scene: Scene) => void | Promise<void>;

/** What may happen to a connection in the end. */
const ENDS: Record<string, Happen> = {
  "its peer ends its side": ({ channel }) => channel.push(null),
  "both sides end": ({ channel, subject }) => {
    channel.push(null);
    subject.shutdownWrite();
  },
  "its peer resets": ({ channel }) => channel.push(RESET),
  "reading fails": ({ channel }) => channel.push(new Error("spam")),
  "writing fails": ({ channel, subject }) => {
    channel.take = () => Promise.reject(new Error("spam"));
    subject.send(bytes("eggs"));
  },
  "its peer is gone when it writes": ({ channel, subject }) => {
    channel.take = () => Promise.reject(new Deno.errors.BrokenPipe("spam"));
    subject.send(bytes("eggs"));
  },
  "its lifetime is over": ({ clock }) => clock.advance(LIFETIME),
};

for (const hook of HOOKS) {
  if (hook === "handleAccepted") continue;
  for (const [end, happen] of Object.entries(ENDS)) {
    Deno.test(`Dispatcher whose ${hook}() is pending hears of nothing else, though ${end}`, async () => {
      const gate = Promise.withResolvers<void>();
      const scene = await provoke(hook, () => gate.promise);
      const { clock, map, subject, channel } = scene;
      const before = [...subject.trace];
      const step = async (what: string) => {
        await turns();
        assertEquals(subject.trace, before, what);
      };
      channel.push("bytes");
      await step("bytes came");
      subject.send(bytes("bytes"));
      await step("bytes were sent");
      await clock.advance(2 * IDLE);
      await step("it was idle");
      const ended = watch(shutdown({ map, deadline: Infinity }));
      map.wake();
      await step("shutdown() was called");
      await happen(scene);
      await step(end);
      await clock.advance(10_000);
      await step(`after ${end}`);
      gate.resolve();
      await turns();
      subject.close();
      await clock.advance(10_000);
      assertEquals(subject.early, []);
      assert(subject.count("handleClose") <= 1);
      assert(ended.settled);
      assertEquals([map.size, map.lingering, map.errors], [0, 0, []]);
    });
  }
}

// A new socket

/** How a hook makes a new socket after it has closed. */
const SOCKETS: Record<string, (scene: Scene, next: FakeChannel) => void> = {
  "connect()": ({ subject, network }, next) => {
    subject.createSocket();
    network.connect = () => Promise.resolve(next);
    subject.connect({ port: 7 });
  },
  "setSocket()": ({ subject }, next) => subject.setSocket(next),
};

for (const hook of HOOKS) {
  for (const [way, open] of Object.entries(SOCKETS)) {
    Deno.test(`Dispatcher gets no event of a ${way} in its async ${hook}() before that is done`, async () => {
      for (const awaitsFirst of [false, true]) {
        const gate = Promise.withResolvers<void>();
        const next = new FakeChannel();
        const { clock, map, subject } = await provoke(hook, async (scene) => {
          if (awaitsFirst) await turn();
          scene.subject.close();
          open(scene, next);
          next.push("bytes", null);
          await gate.promise;
        });
        const before = [...subject.trace];
        await clock.advance(2 * IDLE);
        const ended = watch(shutdown({ map, deadline: Infinity }));
        await turns();
        assertEquals(subject.trace, before);
        gate.resolve();
        await turns();
        assertEquals(subject.early, []);
        assert(subject.trace.slice(before.length).includes("handleRead"));
        subject.close();
        await turns();
        assert(ended.settled);
      }
    });
  }
}

Deno.test("Dispatcher gets no event of a socket that handleClose() makes while handleRead() goes on", async () => {
  const gate = Promise.withResolvers<void>();
  const next = new FakeChannel();
  const scene = new Scene();
  const subject = scene.subject = new Subject(scene.map, scene.channel);
  subject.act.handleClose = () => {
    subject.close();
    subject.setSocket(next);
  };
  subject.act.handleRead = () => {
    delete subject.act.handleRead;
    assertEquals(subject.recv().length, 0);
    return gate.promise;
  };
  scene.channel.push(null);
  next.push("bytes");
  await scene.loop();
  assertEquals(subject.trace, ["handleRead", "handleClose"]);
  gate.resolve();
  await turns();
  assertEquals(subject.trace, ["handleRead", "handleClose", "handleRead"]);
  assertEquals(subject.early, []);
  subject.abort();
});

Deno.test("Dispatcher gets no event of a socket that is made elsewhere while a hook is pending, and goes on when that rejects", async () => {
  const gate = Promise.withResolvers<void>();
  const { subject, map } = await provoke("handleRead", () => gate.promise);
  for (let i = 0; i < 3; i++) {
    const next = new FakeChannel();
    subject.close();
    subject.setSocket(next);
    next.push(`bytes ${i}`);
    await turns();
    assertEquals(subject.trace, ["handleRead"]);
  }
  const failure = new Error("spam");
  gate.reject(failure);
  await turns();
  assertEquals(subject.trace, ["handleRead", "handleRead"]);
  assertEquals(map.errors, [failure]);
  assertEquals(map.size, 1);
  subject.abort();
});

Deno.test("handleShutdown() of a new socket waits for the hook that made it", async () => {
  const scene = new Scene();
  const subject = scene.subject = new Subject(scene.map, scene.channel);
  subject.act.handleShutdown = () => subject.close();
  subject.act.handleClose = () => {
    delete subject.act.handleClose;
    subject.close();
    subject.createSocket();
    void shutdown({ map: scene.map });
    subject.trace.push("the end of handleClose");
  };
  scene.channel.push(null);
  await scene.loop();
  assertEquals(subject.trace, [
    ...["handleRead", "handleClose", "the end of handleClose"],
    "handleShutdown",
  ]);
  assert(scene.looping.settled);
});

// In no map

/** What happens, and the hooks that follow when it is back in a map. */
interface Happening {
  hooks: string[];
  /** One of the {@linkcode ENDS} by default. */
  happen?: Happen;
  /** Brings the dispatcher to where it can happen. */
  prepare?: Happen;
}

/** To a connection. */
const HAPPENINGS: Record<string, Happening> = {
  "bytes come": {
    happen: ({ channel }) => channel.push("bytes"),
    hooks: ["handleRead"],
  },
  "its peer ends its side": { hooks: ["handleRead", "handleEnd"] },
  "both sides end": {
    prepare: ({ channel }) => channel.push(null),
    happen: ({ subject }) => subject.shutdownWrite(),
    hooks: ["handleClose"],
  },
  "its peer resets": { hooks: ["handleRead", "handleClose"] },
  "writing fails": { hooks: ["handleError"] },
  "what it has sent is taken": {
    prepare: ({ channel, subject }) => {
      const room = Promise.withResolvers<number>();
      channel.take = () => room.promise;
      subject.send(bytes("spam"));
      subject.act.handleEnd = () => room.resolve(4);
    },
    happen: ({ subject }) => void subject.act.handleEnd!(),
    hooks: ["handleDrain"],
  },
  "it is idle": { happen: ({ clock }) => clock.advance(3 * IDLE), hooks: [] },
  "its lifetime is over": { hooks: ["handleTimeout", "handleClose"] },
};

/** To a client that connects. */
const CONNECTS: Record<string, Happening> = {
  "its connect has succeeded": {
    happen: ({ network, channel }) => network.succeed(channel),
    hooks: ["handleConnect"],
  },
  "its connect has failed": {
    happen: ({ network }) => network.fail(RESET),
    hooks: ["handleError", "handleClose"],
  },
};

/** To a listener. */
const ACCEPTS: Record<string, Happening> = {
  "a client has come": {
    happen: ({ acceptor }) => acceptor.push(new FakeChannel()),
    hooks: ["handleAccepted"],
  },
  "it can listen no more": {
    happen: ({ acceptor }) => acceptor.push(new Error("spam")),
    hooks: ["handleError", "handleClose"],
  },
};

const ALL: [Record<string, Happening>, start: (scene: Scene) => Subject][] = [
  [HAPPENINGS, (scene) => scene.connected()],
  [CONNECTS, connecting],
  [ACCEPTS, ({ map, acceptor }) => new Subject(map, acceptor)],
];

function connecting({ map }: Scene): Subject {
  const client = new Subject(map);
  client.createSocket();
  client.connect({ port: 7 });
  return client;
}

/** Expects that what happens outside of the map is heard of after `comeBack()`. */
async function assertHeard(
  scene: Scene,
  [what, { hooks, happen = ENDS[what]! }]: [string, Happening],
  comeBack: () => unknown,
): Promise<void> {
  const { map, subject } = scene;
  await turns();
  const before = [...subject.trace];
  await happen(scene);
  await turns();
  assertEquals(subject.trace, before);
  await comeBack();
  assertEquals(subject.trace.slice(before.length), hooks);
  subject.abort();
  await turns();
  assertEquals(map.errors, []);
}

for (const [happenings, start] of ALL) {
  for (const happening of Object.entries(happenings)) {
    const [what, { prepare }] = happening;
    Deno.test(`Dispatcher that has left its map hears when it is back that ${what}`, async () => {
      const scene = new Scene();
      const subject = scene.subject = start(scene);
      using _ = keepGoing(scene.map);
      await scene.loop();
      await prepare?.(scene);
      await turns();
      subject.delChannel();
      await assertHeard(scene, happening, () => {
        subject.addChannel();
        return turns();
      });
    });
  }
}

for (const happening of Object.entries(HAPPENINGS)) {
  const [what, { prepare }] = happening;
  Deno.test(`Dispatcher that leaves its map in a hook hears elsewhere that ${what}`, async () => {
    const scene = new Scene();
    const subject = scene.connected();
    using _ = keepGoing(scene.map);
    await scene.loop();
    await prepare?.(scene);
    subject.act.handleRead = () => {
      delete subject.act.handleRead;
      subject.recv(5);
      subject.delChannel();
    };
    if (!subject.trace.includes("handleEnd")) scene.channel.push("leave");
    else subject.delChannel();
    await assertHeard(scene, happening, () => {
      const other = quietMap({ clock: scene.clock });
      subject.addChannel(other);
      return passes(other, 2);
    });
  });
}

Deno.test("Dispatcher that has left its map has its idle time anew when it is back", async () => {
  const scene = new Scene();
  const subject = scene.connected();
  await passes(scene.map, 2);
  subject.delChannel();
  scene.clock.skip(3 * IDLE); // and no loop runs
  subject.addChannel();
  await scene.loop();
  await scene.clock.advance(IDLE - 1);
  assertEquals(subject.trace, []);
  await scene.clock.advance(1);
  assertEquals(subject.trace, ["handleTimeout"]);
  subject.abort();
});

Deno.test("Dispatcher that has left its map is told of shutdown() when it is back", async () => {
  const scene = new Scene();
  const subject = scene.connected();
  const keeper = keepGoing(scene.map);
  await scene.loop();
  subject.delChannel();
  const ended = watch(shutdown({ map: scene.map, deadline: Infinity }));
  subject.act.handleShutdown = () => subject.close();
  await turns();
  assertEquals(subject.trace, []);
  subject.addChannel();
  await turns();
  assertEquals(subject.trace, ["handleShutdown"]);
  keeper[Symbol.dispose]();
  await turns();
  assert(ended.settled);
});

Deno.test("Dispatcher that leaves its map in handleError() gets handleClose() when it is back", async () => {
  const scene = new Scene();
  using _ = keepGoing(scene.map);
  const client = connecting(scene);
  client.act.handleError = () => client.delChannel();
  scene.network.fail(new Deno.errors.ConnectionRefused("spam"));
  await scene.loop();
  assertEquals(client.trace, ["handleError"]);
  client.addChannel();
  await turns();
  assertEquals(client.trace, ["handleError", "handleClose"]);
});
