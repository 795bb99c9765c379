/** Options are checked by name, wherever the library takes some. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AsyncChat,
  channelFrom,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  loop,
  poll,
  shutdown,
  SocketMap,
  socketMap,
  toStreams,
} from "../mod.ts";
import {
  checkChannel,
  memoryPair,
  MockClock,
  shrink,
  SimNetwork,
  simulate,
} from "../testing/mod.ts";
import { changesBetween } from "../core/option_names.ts";
import { FakeChannel, quietMap } from "./fakes.ts";
import type { Any } from "./setups.ts";
import type { TestMap } from "./support.ts";

type Call = (options: Any, map: TestMap) => unknown;

const pair = () => memoryPair();
const scenario = () => {};

/** What takes options, an option of it, an unknown name, and what is meant by it. */
type Row = [Call, right: object, [wrong: string, meant: string]];

testAll({
  "new Dispatcher()": [
    (options, map) => new Dispatcher(null, { map, ...options }),
    { linger: 10 },
    ["lingr", "linger"],
  ],
  "new DispatcherWithSend()": [
    (options, map) => new DispatcherWithSend(null, { map, ...options }),
    { highWaterMark: 10 },
    ["highWatermarks", "highWaterMark"],
  ],
  "new AsyncChat()": [
    (options, map) => new AsyncChat(null, { map, ...options }),
    { maxLength: 10 },
    ["maxLenght", "maxLength"],
  ],
  "new FileDispatcher()": [
    (options, map) =>
      new FileDispatcher(new FakeChannel(), { map, ...options }).abort(),
    { idleTimeout: 10 },
    ["IDLE_TIME_OUT", "idleTimeout"],
  ],
  "new DatagramDispatcher()": [
    (options, map) => new DatagramDispatcher(null, { map, ...options }),
    { lifetime: 10 },
    ["lifeTimes", "lifetime"],
  ],
});
testAll({
  "createSocket()": [
    (options, map) => created(map).createSocket(options),
    { connectTimeout: 10 },
    ["timeout", "connectTimeout"],
  ],
  "startTls()": [
    (options, map) => {
      const dispatcher = new Dispatcher(new FakeChannel(), { map });
      return dispatcher.startTls(options).finally(() => dispatcher.abort());
    },
    {},
    ["hostName", "hostname"],
  ],
  "toStreams()": [
    (options, map) => {
      const dispatcher = new Dispatcher(new FakeChannel(), { map });
      try {
        toStreams(dispatcher, options);
      } finally {
        dispatcher.abort();
      }
    },
    { highWaterMark: 10 },
    ["highwatermark", "highWaterMark"],
  ],
});
testAll({
  "new SocketMap()": [
    (options) => new SocketMap(options),
    { onError: () => {} },
    ["onErrors", "onError"],
  ],
  "loop()": [
    (options, map) => loop({ map, ...options }),
    { timeout: 10 },
    ["timeOut", "timeout"],
  ],
  "shutdown()": [
    (options, map) => shutdown({ map, ...options }),
    { deadline: 10 },
    ["dead-line", "deadline"],
  ],
  "channelFrom()": [
    (options) => channelFrom({ readable: new ReadableStream(), ...options }),
    {},
    ["writeable", "writable"],
  ],
});
testAll({
  "checkChannel()": [
    (options) => checkChannel(pair, options),
    { kind: "connection" },
    ["kinds", "kind"],
  ],
  "memoryPair()": [(options) => memoryPair(options), { piece: 1 }, [
    "pieces",
    "piece",
  ]],
  "new MockClock()": [
    (options) => new MockClock(options),
    { autojump: true },
    ["autoJump", "autojump"],
  ],
  "new SimNetwork()": [
    (options) => new SimNetwork(options),
    { seed: 3 },
    ["seeds", "seed"],
  ],
});
testAll({
  "SimNetwork.run()": [
    (options) => new SimNetwork().run(options),
    { until: () => true },
    ["untill", "until"],
  ],
  "SimNetwork.crash()": [
    (options) => {
      const sim = new SimNetwork();
      sim.host("a");
      sim.crash("a", options);
    },
    { process: true },
    ["proces", "process"],
  ],
  "SimNetwork.partition()": [
    (options) => new SimNetwork().partition([], [], options),
    { oneWay: true },
    ["oneway", "oneWay"],
  ],
  "simulate()": [
    (options) => simulate({ seeds: 1, ...options }, scenario),
    { latency: [1, 2] },
    ["seed", "seeds"],
  ],
  "shrink()": [
    (options) => shrink(options, () => Promise.reject(new Error("fails"))),
    { attempts: 1, print: () => {} },
    ["atempts", "attempts"],
  ],
});

function created(map: TestMap): Dispatcher {
  return new Dispatcher(null, { map });
}

function testAll(rows: Record<string, Row>): void {
  for (const [name, [call, right, [wrong, meant]]] of Object.entries(rows)) {
    Deno.test(`${name} refuses the unknown option "${wrong}", and says what was meant`, async () => {
      const map = quietMap();
      const run = async (options: object) => void await call(options, map);
      await assertRejects(
        () => run({ [wrong]: 10 }),
        TypeError,
        `Unknown option "${wrong}": did you mean "${meant}"?`,
      );
      assertEquals(map.size, 0);
      if (name === "startTls()") return; // A channel of the test cannot have TLS.
      await run({ ...right, [wrong]: undefined }); // As if it were absent.
      closeAll(map);
    });
    Deno.test(`${name} refuses "${meant}: null", and names it`, async () => {
      const map = quietMap();
      const run = async () => void await call({ [meant]: null }, map);
      await assertRejects(run, TypeError, `${meant} must `);
      assertEquals(map.size, 0);
    });
  }
}

Deno.test("checkOptions() lists all options when none is similar", () => {
  const create = () => new Dispatcher(null, { colour: "red" } as Any);
  assertThrows(
    create,
    TypeError,
    'Unknown option "colour": there are linger, allowHalfOpen, role, ' +
      "idleTimeout, lifetime, map",
  );
});

Deno.test("createSocket() checks the names of its TLS options", () => {
  const dispatcher = new Dispatcher(null, { map: quietMap() });
  const create = (tls: object) => () =>
    dispatcher.createSocket({ transport: "tls", tls });
  assertThrows(
    create({ caCert: ["x"] }),
    TypeError,
    'Unknown option "tls.caCert": did you mean "tls.caCerts"?',
  );
  create({ caCerts: undefined, caCert: undefined })();
  dispatcher.close();
});

const NO_NULL = [
  ...["transport", "tls", "backlog", "maxConnections", "reusePort", "noDelay"],
  ...["keepAlive", "connectTimeout", "handshakeTimeout"],
];
for (const option of NO_NULL) {
  Deno.test(`createSocket() refuses "${option}: null", inherited or not`, () => {
    const dispatcher = new Dispatcher(null, { map: quietMap() });
    for (
      const options of [{ [option]: null }, Object.create({ [option]: null })]
    ) {
      const create = () => dispatcher.createSocket(options);
      assertThrows(
        create,
        TypeError,
        `${option} must not be null: leave it out`,
      );
    }
  });
}

Deno.test("createSocket() refuses a TLS option that is null, and names it", () => {
  const dispatcher = new Dispatcher(null, { map: quietMap() });
  const options: Any = { transport: "tls", tls: { caCerts: null } };
  const create = () => dispatcher.createSocket(options);
  assertThrows(create, TypeError, "tls.caCerts must not be null: leave it out");
});

Deno.test("new SimNetwork() checks the names of its faults", () => {
  const faults = (it: Any) => () => new SimNetwork({ faults: it });
  const meant = 'did you mean "faults.reset"?';
  assertThrows(faults({ resets: 0.1 }), TypeError, meant);
  faults({ reset: undefined, resets: undefined })();
});

Deno.test("A class that passes larger options on is told which one is unknown", () => {
  class Greeter extends AsyncChat {
    constructor(options: Any) {
      super(null, options);
    }
  }
  const map = quietMap();
  new Greeter({ map, maxLength: 7, highWaterMark: 7, linger: 7 });
  const create = () => new Greeter({ map, greeting: "hello" });
  assertThrows(create, TypeError, 'Unknown option "greeting": there are ');
});

Deno.test("checkOptions() takes inherited options, and ignores what all objects have", () => {
  const map = quietMap();
  const defaults = { map, linger: 7 };
  new Dispatcher(null, Object.create(defaults));
  const wrong = Object.create({ ...defaults, lingr: 7 });
  assertThrows(() => new Dispatcher(null, wrong), TypeError, '"lingr"');
  const everything = Object.prototype as Record<string, unknown>;
  everything.addedByAnotherProgram = 3;
  try {
    new Dispatcher(null, { map });
  } finally {
    delete everything.addedByAnotherProgram;
  }
  const own = { map, toString: () => "options" };
  assertThrows(() => new Dispatcher(null, own), TypeError, '"toString"');
});

Deno.test("checkOptions() shows a strange name on one short line", () => {
  const name = `${"\n".repeat(3)}${"x".repeat(1_000)}`;
  const create = () => new Dispatcher(null, { [name]: 1 });
  const { message } = assertThrows(create, TypeError, "\\n\\n\\nxxx");
  assertEquals([message.length < 300, message.includes("\n")], [true, false]);
});

Deno.test("changesBetween() counts letters that are added, removed and replaced", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "map", 3],
    ["map", "map", 0],
    ["mp", "map", 1],
    ["maps", "map", 1],
    ["mop", "map", 1],
    ["lenght", "length", 2],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, changes] of cases) {
    assertEquals([changesBetween(a, b), changesBetween(b, a)], [
      changes,
      changes,
    ]);
  }
});

Deno.test("channelFrom() takes a pair with more in it, and streams of a class", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const pair = { readable, writable, protocol: "chat" }; // As of a WebSocketStream.
  channelFrom(pair).close();
  class Source {
    readable = new ReadableStream<Uint8Array>();
    name = "source";
  }
  channelFrom(new Source()).close();
  await poll(0);
});

// No map

for (const none of [undefined, null]) {
  Deno.test(`map: ${none} is the default map`, async () => {
    assertEquals(socketMap.size, 0);
    const options = { map: none };
    const all = [
      new Dispatcher(new FakeChannel(), options),
      new DispatcherWithSend(new FakeChannel(), options),
      new AsyncChat(new FakeChannel(), options),
      new FileDispatcher(new FakeChannel(), options),
      new DatagramDispatcher(null, options),
    ];
    assertEquals(all.map(({ map }) => map === socketMap), all.map(() => true));
    assertEquals(socketMap.size, 4);
    await poll(0, none);
    await loop({ ...options, count: 1, timeout: 0 });
    const [first, second] = all;
    first!.abort();
    assertEquals(socketMap.size, 3);
    second!.abort();
    assertEquals((await shutdown({ ...options, deadline: 1_000 })).closed, 2);
    new Dispatcher(new FakeChannel(), options);
    closeAll(none);
    assertEquals(socketMap.size, 0);
    await loop(options);
  });

  Deno.test(`addChannel(${none}) and delChannel(${none}) mean the dispatcher's own map`, () => {
    const map = quietMap();
    const dispatcher = new Dispatcher(new FakeChannel(), { map });
    dispatcher.delChannel(none);
    assertEquals([map.size, socketMap.size], [0, 0]);
    dispatcher.addChannel(none);
    assertEquals([map.size, socketMap.size], [1, 0]);
    dispatcher.abort();
  });
}
