/**
 * Names whose lookup hangs: Deno gives each a thread of those that files need.
 * Here Deno itself is replaced, so that nobody is asked and nobody answers.
 */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
} from "@std/assert";
import { DatagramDispatcher, loop, type TlsOptions } from "../mod.ts";
import {
  giveThread,
  LONGEST_LOOKUP,
  MOST_READS,
  MOST_THREADS,
  MOST_TRIALS,
  takeThread,
} from "../core/blocking_threads.ts";
import { denoNetwork } from "../net/deno_network.ts";
import { FakeSocket } from "./datagrams.ts";
import { FakeChannel, quietMap, Recorder } from "./fakes.ts";
import { connecting } from "./scenes.ts";
import { bytes, turns } from "./support.ts";

/** Takes the place of a function of an object until it is disposed of. */
function replace<T extends object>(object: T, changes: Partial<T>): Disposable {
  const former = Object.fromEntries(
    Object.keys(changes).map((name) => [name, object[name as keyof T]]),
  );
  Object.assign(object, changes);
  return { [Symbol.dispose]: () => void Object.assign(object, former) };
}

/** A Deno whose connects hang until the test ends them. */
class Resolver implements AsyncDisposable {
  /** The hosts that are being connected to, in order. */
  readonly hosts: string[] = [];
  readonly #attempts: PromiseWithResolvers<Deno.Conn>[] = [];
  readonly #restore: Disposable;

  constructor() {
    const connect = ({ hostname, signal }: Deno.ConnectOptions) => {
      this.hosts.push(hostname!);
      const attempt = Promise.withResolvers<Deno.Conn>();
      this.#attempts.push(attempt);
      signal?.addEventListener("abort", () => attempt.reject(signal.reason));
      return attempt.promise;
    };
    this.#restore = replace(Deno, {
      connect: connect as typeof Deno.connect,
      connectTls: connect as typeof Deno.connectTls,
    });
  }

  /** Has the oldest attempts fail, as the resolver answers. */
  fail(count = 1): void {
    for (const attempt of this.#attempts.splice(0, count)) {
      attempt.reject(new Error("Name or service not known"));
    }
  }
  /** Ends what is under way, and what waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#attempts.length > 0) {
      this.fail(Infinity);
      await turns();
    }
    this.#restore[Symbol.dispose]();
  }
}

/** Connects, without waiting for it. */
function connect(
  hostname: string,
  signal = new AbortController().signal,
  options: { tls?: TlsOptions } = {},
) {
  const address = { transport: "tcp", hostname, port: 7 } as const;
  const connected = denoNetwork.connect(address, { signal, ...options });
  connected.catch(() => {});
  return connected;
}

/** Connects to so many hosts, and waits until as many as may be are looked up. */
async function connectAll(hosts: string[]): Promise<void> {
  for (const host of hosts) connect(host);
  await turns();
}

const names = (count: number, prefix = "host") =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}.test`);

Deno.test("denoNetwork.connect() looks up no more names at once than leave threads for files", async () => {
  await using resolver = new Resolver();
  const hosts = names(40);
  await connectAll(hosts);
  assertEquals(resolver.hosts, hosts.slice(0, MOST_THREADS));
  resolver.fail(3);
  await turns();
  assertEquals(resolver.hosts, hosts.slice(0, MOST_THREADS + 3), "in order");
});

Deno.test("denoNetwork.connect() shows a certificate under the same bound", async () => {
  await using resolver = new Resolver();
  const tls = { cert: "cert", key: "key" };
  for (const host of names(40)) connect(host, undefined, { tls });
  await turns();
  assertEquals(resolver.hosts.length, MOST_THREADS);
});

Deno.test("denoNetwork.connect() to an IP address waits for no lookup", async () => {
  await using resolver = new Resolver();
  await connectAll(names(40));
  const before = resolver.hosts.length;
  const addresses = ["127.0.0.1", "255.255.255.255", "::1", "fe80::1:2"];
  await connectAll(addresses);
  assertEquals(resolver.hosts.slice(before), addresses);
  // These are looked up like any other name.
  await connectAll(["127.1", "256.0.0.1", "1.2.3.4.5"]);
  assertEquals(resolver.hosts.length, before + addresses.length);
});

Deno.test("denoNetwork.connect() that waits for a lookup can be given up", async () => {
  await using resolver = new Resolver();
  for (const host of names(MOST_THREADS)) connect(host);
  const controller = new AbortController();
  const waiting = connect("late.test", controller.signal);
  await turns();
  const reason = new Error("enough");
  controller.abort(reason);
  assert(await assertRejects(() => waiting) === reason);
  resolver.fail(3);
  await turns();
  assertEquals(resolver.hosts.includes("late.test"), false);
  assertEquals(resolver.hosts.length, MOST_THREADS);
});

Deno.test("connectTimeout ends an attempt that waits for a lookup", async () => {
  await using _resolver = new Resolver();
  await connectAll(names(MOST_THREADS));
  const map = quietMap();
  const address = { hostname: "late.test", port: 7 };
  const client = connecting(new Recorder(map), address, { connectTimeout: 20 });
  await loop({ map });
  assertEquals(client.trace, ["handleError", "handleClose"]);
  assertInstanceOf(client.errors[0], Deno.errors.TimedOut);
});

/** Has as many lookups as may be under way hang, and gives all of them up. */
async function giveUpAll(): Promise<void> {
  const controller = new AbortController();
  const attempts = names(MOST_THREADS, "gone").map((host) =>
    connect(host, controller.signal)
  );
  await turns();
  controller.abort(new Error("enough"));
  await Promise.allSettled(attempts);
}

/** Time for those who measure it, which a test can let pass. */
function fakeTime() {
  const real = performance.now.bind(performance);
  let passed = 0;
  const restore = replace(performance, { now: () => real() + passed });
  return Object.assign(restore, { pass: (ms: number) => void (passed += ms) });
}

Deno.test("Lookups that were given up count until the resolver must have answered", async () => {
  using time = fakeTime();
  await using resolver = new Resolver();
  await giveUpAll();
  // One at a time finds out whether the resolver is there again.
  for (let i = 1; i <= MOST_TRIALS + 1; i++) {
    const controller = new AbortController();
    const attempts = [`trial${i}`, `next${i}`].map((host) =>
      connect(host, controller.signal)
    );
    await turns();
    const trials = Math.min(i, MOST_TRIALS);
    assertEquals(resolver.hosts.length, MOST_THREADS + trials);
    assertEquals(resolver.hosts.at(-1), `trial${trials}`);
    controller.abort();
    await Promise.allSettled(attempts);
  }
  time.pass(LONGEST_LOOKUP);
  connect("late.test");
  await turns();
  assertEquals(resolver.hosts.at(-1), "late.test");
});

Deno.test("Lookups that were given up count no more when the resolver answers", async () => {
  using time = fakeTime();
  await using resolver = new Resolver();
  await giveUpAll();
  const before = resolver.hosts.length;
  const hosts = names(40);
  await connectAll(hosts);
  assertEquals(resolver.hosts.slice(before), hosts.slice(0, 1));
  resolver.fail(MOST_THREADS + 1); // The last of them is not given up.
  await turns();
  assertEquals(
    resolver.hosts.slice(before),
    hosts.slice(0, MOST_THREADS + 1),
    "one has ended, and as many as may be are under way",
  );
  time.pass(LONGEST_LOOKUP);
});

Deno.test("takeThread() leaves threads for lookups, and lookups for files", async () => {
  await using resolver = new Resolver();
  // Some may be lost to FIFOs that other tests have closed.
  let reads = 0;
  let waiting: Promise<void> | void;
  while ((waiting = takeThread(() => {})) === undefined) reads++;
  assert(reads <= MOST_READS);
  await connectAll(names(40));
  assertEquals(resolver.hosts.length, MOST_THREADS - MOST_READS);
  giveThread();
  await turns();
  // A lookup comes to its end, so those that wait for one go first.
  assertEquals(resolver.hosts.length, MOST_THREADS - MOST_READS + 1);
  while (resolver.hosts.length < 40) {
    resolver.fail();
    await turns();
  }
  resolver.fail(40);
  await waiting;
  for (let i = 0; i < reads; i++) giveThread();
});

Deno.test("DatagramDispatcher.sendTo() looks names up under the same bound", async () => {
  const map = quietMap();
  const sent: string[] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const hosts = names(40);
  for (const hostname of hosts) {
    const socket = new FakeSocket();
    socket.onSend = () => {
      sent.push(hostname);
      gates.push(Promise.withResolvers());
      return gates.at(-1)!.promise;
    };
    const sender = new DatagramDispatcher(socket, { map });
    sender.sendTo(bytes("spam"), { hostname, port: 9 });
    sender.close();
  }
  await turns();
  assertEquals(sent, hosts.slice(0, MOST_THREADS));
  while (gates.length > 0) {
    for (const gate of gates.splice(0)) gate.resolve();
    await turns();
  }
  await loop({ map });
  assertEquals(sent, hosts);
});

Deno.test("A name that is found gives its thread back", async () => {
  using _deno = replace(Deno, {
    connect: (() =>
      Promise.resolve(new FakeChannel())) as unknown as typeof Deno.connect,
  });
  for (const host of names(100)) (await connect(host)).close();
});
