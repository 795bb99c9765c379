import {
  assert,
  assertEquals,
  assertGreater,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  assertLinearizable,
  checkHistory,
  type Consistency,
  History,
  listModel,
  mapModel,
  type Model,
  type Operation,
  queueModel,
  registerModel,
  SimNetwork,
} from "../testing/mod.ts";

/** Linearizable and not: what clients did one after the other, or at once. */
const HISTORIES: [
  name: string,
  verdict: "ok" | "violation",
  model: Model<never> | Model<unknown>,
  steps: string,
][] = [
  [
    "a read sees the write before it",
    "ok",
    registerModel(),
    "x:write,1 y:read=1",
  ],
  [
    "a read misses the write before it",
    "violation",
    registerModel(0),
    "x:write,1 y:read=0",
  ],
  [
    "a read at once with a write sees the old value",
    "ok",
    registerModel(0),
    "x[write,1 y:read=0 x]",
  ],
  ["or the new one", "ok", registerModel(0), "x[write,1 y:read=1 x]"],
  [
    "but not the new one and then the old one",
    "violation",
    registerModel(0),
    "x[write,1 y:read=1 y:read=0 x]",
  ],
  [
    "a write without an answer takes effect late",
    "ok",
    registerModel(0),
    "x[write,1 y:read=0 y:read=1 y:read=1",
  ],
  [
    "but once only",
    "violation",
    registerModel(0),
    "x[write,1 y:read=1 y:write,2 z:read=1",
  ],
  [
    "two cas of the same value succeed",
    "violation",
    registerModel(0),
    "x[cas,0,1 y:cas,0,2=true x]=true",
  ],
  [
    "one of them succeeds",
    "ok",
    registerModel(0),
    "x[cas,0,1 y:cas,0,2=true x]=false",
  ],
  [
    "a value was read that nobody wrote",
    "violation",
    mapModel(),
    "x:put,a,1 y:get,b=1",
  ],
  [
    "a key is deleted and put again",
    "ok",
    mapModel(),
    "x:put,a,1 x:delete,a y:get,a x:put,a,2 y:cas,a,2,3=true",
  ],
  [
    "a list lost its first value",
    "violation",
    listModel(),
    "x:append,1 y:append,2 z:read=[2]",
  ],
  [
    "a list has both values, in either order",
    "ok",
    listModel(),
    "x[append,1 y:append,2 x] z:read=[2,1]",
  ],
  [
    "a queue gives a value twice",
    "violation",
    queueModel(),
    "x:push,1 y:pop=1 z:pop=1",
  ],
  [
    "a queue gives values in the wrong order",
    "violation",
    queueModel(),
    "x:push,1 x:push,2 z:pop=2",
  ],
  ["a queue is empty again", "ok", queueModel(), "x:push,1 y:pop=1 z:pop"],
];

/** `x:write,1` is a call with its return, `x[write,1` a call, `x]=1` its return. */
function historyOf(steps: string): History {
  const history = new History();
  const parse = (text: string) => JSON.parse(text.replace(/^[a-z]$/, '"$&"'));
  const open = new Map<string, ReturnType<History["call"]>>();
  for (const step of steps.split(" ")) {
    const [, client, kind, call, result] = /^(\w)([:[\]])([^=]*)=?(.*)$/.exec(
      step,
    )!;
    if (kind !== "]") {
      const [name, ...args] = call!.split(",");
      const values = args.map((arg) => /^[a-z]$/.test(arg) ? arg : parse(arg));
      open.set(client!, history.call(client!, name!, ...values));
    }
    if (kind !== "[") {
      open.get(client!)!.returns(result ? parse(result) : undefined);
    }
  }
  return history;
}

for (const [name, verdict, model, steps] of HISTORIES) {
  Deno.test(`checkHistory() finds ${verdict}: ${name}`, () => {
    const result = checkHistory(historyOf(steps), model as Model<unknown>);
    assertEquals(result.verdict, verdict, `${result}`);
  });
}

// Random histories, beside a checker that tries all orders

/** Random whole numbers below a limit, the same for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = state + 0x9e3779b9 >>> 0;
    let mixed = Math.imul(state ^ state >>> 16, 0x21f0aaad);
    mixed = Math.imul(mixed ^ mixed >>> 15, 0x735a2d97);
    return ((mixed ^ mixed >>> 15) >>> 0) % below;
  };
}

const OPERATIONS: Record<
  string,
  [name: string, args: number, ...results: unknown[]][]
> = {
  register: [["write", 1], ["read", 0, 0, 1, 2], ["cas", 2, true, false]],
  map: [["put", 2], ["get", 1, undefined, 0, 1], ["delete", 1]],
  list: [["append", 1], ["read", 0, [], [0], [1], [0, 1], [1, 0]]],
  queue: [["push", 1], ["pop", 0, undefined, 0, 1]],
};
const MODELS: Record<string, Model<unknown>> = {
  register: registerModel(0),
  map: mapModel(),
  list: listModel() as Model<unknown>,
  queue: queueModel() as Model<unknown>,
};

function randomHistory(
  kind: string,
  random: (below: number) => number,
): History {
  const history = new History();
  const open = new Map<string, () => void>();
  let left = 2 + random(5);
  while (left > 0 || open.size > 0 && random(4) > 0) {
    const client = "xyz"[random(3)]!;
    const finish = open.get(client);
    if (finish) {
      // A client may give up, and go on.
      if (random(6) > 0) finish();
      open.delete(client);
    } else if (left-- > 0) {
      const kinds = OPERATIONS[kind]!;
      const [name, count, ...results] = kinds[random(kinds.length)]!;
      const args = Array.from({ length: count }, () => random(2));
      const call = history.call(client, name, ...args);
      const result = results[random(results.length || 1)];
      open.set(client, () => call.returns(result));
    }
  }
  return history;
}

/** Whether some order explains the results: tries all. */
function hasOrder(
  rest: readonly Operation[],
  state: unknown,
  model: (state: unknown, operation: Operation) => { state: unknown } | null,
  mayBeNext: (operation: Operation, rest: readonly Operation[]) => boolean,
): boolean {
  if (rest.every(({ returned }) => returned === Infinity)) return true;
  return rest.some((operation) => {
    if (!mayBeNext(operation, rest)) return false;
    const outcome = model(state, operation);
    const others = rest.filter((other) => other !== operation);
    return outcome !== null &&
      hasOrder(others, outcome.state, model, mayBeNext);
  });
}

const IN_ORDER: Record<Consistency, typeof precedes> = {
  linearizable: precedes,
  sequential: (a, b) =>
    a.client === b.client && a.called < b.called && a.returned < Infinity,
};

function precedes(a: Operation, b: Operation): boolean {
  return a.returned < b.called;
}

function isExplained(
  operations: readonly Operation[],
  kind: string,
  consistency: Consistency,
): boolean {
  const show = (value: unknown) => JSON.stringify(value) ?? "undefined";
  const apply = (states: unknown, operation: Operation) => {
    const { name, args, result, returned } = operation;
    const key = kind === "map" ? show(args[0]) : "";
    const all = states as Record<string, unknown>;
    const state = key in all ? all[key] : MODELS[kind]!.initial;
    const outcome = MODELS[kind]!.apply(state, name, args);
    const isRight = returned === Infinity || !("result" in outcome) ||
      show(outcome.result) === show(result);
    return isRight ? { state: { ...all, [key]: outcome.state } } : null;
  };
  return hasOrder(
    operations,
    {},
    apply,
    (operation, rest) =>
      rest.every((other) => !IN_ORDER[consistency](other, operation)),
  );
}

/** How many random histories of each kind are tried. */
const COUNT = 1_000;

for (const kind of Object.keys(MODELS)) {
  for (const consistency of ["linearizable", "sequential"] as const) {
    Deno.test(`checkHistory() agrees with all orders tried, on random histories: ${kind}, ${consistency}`, () => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const count = { ok: 0, violation: 0, unknown: 0 };
      for (let i = 0; i < COUNT; i++) {
        const history = randomHistory(kind, randomFrom(seed + i));
        const result = checkHistory(history, MODELS[kind]!, { consistency });
        const { operations } = history;
        const told = `seed ${seed + i}\n${operations.join("\n")}\n${result}`;
        const isOk = isExplained(operations, kind, consistency);
        assertEquals(result.verdict, isOk ? "ok" : "violation", told);
        count[result.verdict]++;
        if (isOk) continue;
        // What is shown fails, whenever the others took effect.
        const isShown = (operation: Operation) =>
          result.operations.some(({ called }) => called === operation.called);
        const returns = result.operations.map(({ returned }) => returned);
        const end = Math.max(...returns.filter((place) => place < Infinity));
        const others = operations.filter((operation) =>
          !isShown(operation) && operation.called < end
        );
        const free = others.map((operation, n) => (
          { ...operation, called: -1, returned: Infinity, client: `free ${n}` }
        ));
        const all = [...result.operations, ...free];
        assert(!isExplained(all, kind, consistency), told);
      }
      assertGreater(
        Math.min(count.ok, count.violation),
        COUNT / 50,
        `seed ${seed}`,
      );
    });
  }
}

// What is told

Deno.test("checkHistory() draws the operations that no order explains, and no others", () => {
  const history = historyOf(
    "x[write,1 y:read=1 z:write,2 b[read z:write,3 y:read=3 y:read=1 b]=0 x]",
  );
  const result = checkHistory(history, registerModel(0));
  assertEquals(
    `${result}`,
    `\
The history is not linearizable: no order explains
  y ├─ read() → 1 ─┤                ├─ read() → 1 ─┤
  z                  ├─ write(2) ─┤
`,
  );
  assertEquals(result.operations.length, 3);
});

Deno.test("checkHistory() draws clients that are busy at once, and a call without a return", () => {
  const history = historyOf("x[write,1 y[read z:write,2 y]=3");
  const result = checkHistory(history, registerModel(0));
  assertStringIncludes(`${result}`, "  y ├─ read() → 3 ─┤\n");
  const both = historyOf("x[cas,0,1 y[cas,0,2 y]=true x]=true");
  assertStringIncludes(
    `${checkHistory(both, registerModel(0))}`,
    `\
  x ├─ cas(0, 1) → true ─────┤
  y   ├─ cas(0, 2) → true ─┤
`,
  );
});

Deno.test("checkHistory() gives up at its limit, and says so", () => {
  const history = new History();
  const calls = Array.from(
    { length: 12 },
    (_, i) => history.call(`c${i}`, "append", i),
  );
  for (const call of calls) call.returns();
  history.call("x", "read").returns([]);
  const result = checkHistory(history, listModel(), { limit: 1_000 });
  assertEquals([result.verdict, result.steps], ["unknown", 1_000]);
  assertStringIncludes(
    `${result}`,
    "It is unknown whether the history is linearizable",
  );
  assertThrows(
    () => assertLinearizable(history, listModel(), { limit: 1_000 }),
    Error,
    "It is unknown",
  );
});

Deno.test("checkHistory() checks thousands of operations, each key by itself", () => {
  const history = new History();
  const random = randomFrom(1);
  const values = new Map<string, number>();
  for (let i = 0; i < 5_000; i++) {
    const key = "abcdefghijklmnopqrstuvwxyz"[random(26)]!;
    const first = history.call("x", "put", key, i);
    const second = history.call("y", "get", key);
    second.returns(random(2) ? i : values.get(key));
    first.returns();
    values.set(key, i);
  }
  const result = checkHistory(history, mapModel());
  assertEquals(result.verdict, "ok");
  history.call("z", "get", "a").returns(-1);
  const { verdict, operations } = checkHistory(history, mapModel());
  assertEquals([verdict, operations.join()], ["violation", 'z: get("a") → -1']);
});

Deno.test("checkHistory() allows reordering between clients if that is asked for", () => {
  const history = historyOf("x:write,1 y:read=0 y:read=1");
  const check = (consistency: Consistency) =>
    checkHistory(history, registerModel(0), { consistency }).verdict;
  assertEquals(check("linearizable"), "violation");
  assertEquals(check("sequential"), "ok");
});

Deno.test("checkHistory() refuses wrong options and operations that a model does not have", () => {
  const history = historyOf("x:wrote,1");
  const wrong = { consistency: "eventual" as Consistency };
  assertThrows(
    () => checkHistory(history, registerModel(), wrong),
    TypeError,
    '"eventual"',
  );
  assertThrows(
    () => checkHistory(history, registerModel(), { limit: 0 }),
    RangeError,
  );
  const names = { wrote: "read, write, cas" };
  assertThrows(
    () => checkHistory(history, registerModel()),
    TypeError,
    names.wrote,
  );
  assertThrows(() => checkHistory(history, mapModel()), TypeError, "get, put");
  assertThrows(
    () => checkHistory(history, listModel()),
    TypeError,
    "append, read",
  );
  assertThrows(
    () => checkHistory(history, queueModel()),
    TypeError,
    "push, pop",
  );
});

// Recording

Deno.test("History.record() records what a promise gives, and leaves a failure open", async () => {
  const sim = new SimNetwork();
  const history = sim.history();
  assertEquals(
    await history.record("x", "read", [], () => Promise.resolve(5)),
    5,
  );
  const failure = new Error("connection lost");
  const failed = history.record(
    "y",
    "write",
    [6],
    () => Promise.reject(failure),
  );
  assertEquals(await failed.catch((error) => error), failure);
  history.call("z", "write", 7).forget();
  assertEquals(history.operations.map(String), [
    "x: read() → 5",
    "y: write(6) → ?",
  ]);
  assertEquals(sim.history(), history);
});

Deno.test("A history has the simulated times, and keeps copies of values", async () => {
  const sim = new SimNetwork();
  const value = [1];
  const call = sim.history().call("x", "write", value);
  await sim.run({ limit: 5 });
  value.push(2);
  call.returns(value);
  value.push(3);
  const [operation] = sim.history().operations;
  assertEquals(operation!.times, [0, 5]);
  assertEquals([operation!.args, operation!.result], [[[1]], [1, 2]]);
  assertThrows(() => call.returns(), Error, "has returned before");
  assertThrows(() => sim.history().call("", "read"), TypeError, "client");
});
