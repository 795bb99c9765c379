/** UDP over the second engine under what the kernel does rarely. */

import {
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertMatch,
  assertThrows,
} from "@std/assert";
import { DatagramDispatcher, DatagramError, loop } from "../mod.ts";
import { C, EPOLL_EVENT } from "../epoll/layout.ts";
import { fileno } from "../epoll/mod.ts";
import type { Libc, Memory } from "../epoll/libc.ts";
import { MockClock } from "../testing/mock_clock.ts";
import { Client, Echo, LOOPBACK } from "./datagrams.ts";
import {
  Calls,
  fail,
  libc,
  networkWith,
  openDescriptors,
  testEpoll,
} from "./epoll_faults.ts";
import { LogLines, loopToEnd } from "./fakes.ts";
import { loopUntil, ScopedMap, text, turns, until } from "./support.ts";

const EPERM = 1,
  EINTR = 4,
  EAGAIN = 11,
  EMFILE = 24,
  ENOSPC = 28,
  ENOTSOCK = 88,
  ENETUNREACH = 101,
  ENOBUFS = 105,
  ECONNREFUSED = 111,
  EHOSTUNREACH = 113;

/** A map over changed calls, and two sockets in it: the second echoes. */
function sceneWith(changes: Partial<Libc>) {
  const network = networkWith(changes);
  const map = new ScopedMap({ network, logger: new LogLines() });
  return { map, client: new Client(map), server: new Echo(map) };
}

/** The words that a client has received. */
function wordsOf(client: Client): string[] {
  return client.datagrams.map(({ data }) => text(data));
}

/** Sends words, and takes the answers. */
async function exchange(
  { map, client, server }: ReturnType<typeof sceneWith>,
  words: readonly string[],
): Promise<void> {
  client.datagrams.length = 0;
  for (const word of words) client.sendTo(word, server.addr!);
  await loopUntil(map, () => client.datagrams.length === words.length);
  assertEquals(wordsOf(client), words);
}

const WORDS = ["spam", "", "eggs", "ham"];

testEpoll(
  "EINTR of recvfrom() and sendto() leads to the same call again",
  async () => {
    const calls = new Calls();
    const { recvfrom, sendto } = libc();
    const scene = sceneWith({
      recvfrom: (...args) =>
        calls.count("recvfrom") % 2 === 1 ? fail(EINTR) : recvfrom(...args),
      sendto: (...args) =>
        calls.count("sendto") % 2 === 1 ? fail(EINTR) : sendto(...args),
    });
    await using _map = scene.map;
    await exchange(scene, WORDS);
    assertEquals(scene.client.errors, []);
    assertGreater(calls.counts["recvfrom"]!, 8);
    assertEquals(calls.counts["sendto"], 16);
  },
);

testEpoll(
  "sendto() without room loses nothing, and keeps the order",
  async () => {
    const calls = new Calls();
    const { sendto } = libc();
    const scene = sceneWith({
      sendto: (...args) =>
        calls.count("sendto") % 3 !== 0 ? fail(EAGAIN) : sendto(...args),
    });
    await using _map = scene.map;
    const words = Array.from({ length: 40 }, (_, i) => `${i}`);
    await exchange(scene, words);
    assertEquals(scene.client.errors, []);
  },
);

testEpoll(
  "room that comes in the midst of a write leaves no wait behind",
  async () => {
    const calls = new Calls();
    const { sendto, epoll_wait } = libc();
    let isAnswering = false;
    const network = networkWith({
      sendto: (...args) =>
        isAnswering && calls.count("sendto") === 2
          ? fail(EAGAIN)
          : sendto(...args),
      epoll_wait: (...args) => {
        calls.count("epoll_wait");
        return epoll_wait(...args);
      },
    });
    await using map = new ScopedMap({ network, logger: new LogLines() });
    const receiver = new Client(map);
    // Two of them have a turn in one pass, so their answers are gathered.
    const servers = [new Client(map), new Client(map)];
    for (const server of servers) {
      server.handleRead = () => {
        server.recvFrom();
        isAnswering = true;
        for (const word of WORDS) server.sendTo(word, receiver.addr!);
      };
    }
    for (const server of servers) receiver.sendTo("go", server.addr!);
    await loopUntil(map, () => receiver.datagrams.length === 2 * WORDS.length);
    for (const socket of [receiver, ...servers]) socket.close();
    await loopToEnd(map);
    await turns();
    const looks = calls.counts["epoll_wait"];
    await turns();
    assertEquals(calls.counts["epoll_wait"], looks);
  },
);

/** Calls for which a socket has no room, until the test says so. */
class Room {
  isFull = true;
  tries = 0;
  /** The socket waits for an event, which the system keeps back. */
  #wait: (() => void) | null = null;

  readonly calls: Partial<Libc> = {
    sendto: (...args) => {
      this.tries++;
      return this.isFull ? fail(EAGAIN) : libc().sendto(...args);
    },
    epoll_ctl: (...args) => {
      const [, how, , request] = args;
      const [events] = new Uint32Array((request as Memory).buffer);
      const isWaiting = how === C.EPOLL_CTL_MOD && (events! & C.EPOLLOUT) !== 0;
      if (!isWaiting || !this.isFull) return libc().epoll_ctl(...args);
      const copy = new Uint8Array(request as Memory);
      this.#wait = () => libc().epoll_ctl(args[0], how, args[2], copy);
      return 0;
    },
  };

  get isAwaited(): boolean {
    return this.#wait !== null;
  }

  /** The kernel has sent what was there before. */
  make(): void {
    this.isFull = false;
    this.#wait?.();
  }
}

testEpoll(
  "sendto() without room is tried again when an event tells of room",
  async () => {
    const room = new Room();
    const scene = sceneWith(room.calls);
    await using map = scene.map;
    const { client, server } = scene;
    for (const word of WORDS) client.sendTo(word, server.addr!);
    await loopUntil(map, () => room.isAwaited);
    await loop({ map, timeout: 10, count: 5 });
    assertEquals(room.tries, 1);
    room.make();
    await loopUntil(map, () => client.datagrams.length === WORDS.length);
    assertEquals(wordsOf(client), WORDS);
  },
);

testEpoll(
  "close() while there is no room sends all later, though no loop runs",
  async () => {
    const room = new Room();
    const { map, client, server } = sceneWith(room.calls);
    await using _map = map;
    const { recv } = libc();
    const fd = fileno(server.socket);
    for (const word of WORDS) client.sendTo(word, server.addr!);
    client.close();
    assertEquals([map.size, map.lingering, room.isAwaited], [1, 1, true]);
    room.make();
    const arrived: string[] = [];
    const target = new Uint8Array(8);
    await until(() => {
      // Nobody else looks for events: neither a loop nor a promise.
      const length = recv(fd, target, target.length, 0);
      if (length >= 0) arrived.push(text(target.subarray(0, length)));
      return arrived.length === WORDS.length;
    }, "the datagrams");
    assertEquals(arrived, WORDS);
    server.close();
    await loopToEnd(map);
  },
);

testEpoll(
  "abort() while there is no room drops all, and leaves nothing behind",
  async () => {
    const before = openDescriptors().length;
    const room = new Room();
    const { map, client, server } = sceneWith(room.calls);
    await using _map = map;
    for (const word of WORDS) client.sendTo(word, server.addr!);
    await loopUntil(map, () => room.isAwaited);
    client.abort();
    server.close();
    await loopToEnd(map);
    assertEquals([room.tries, client.errors], [1, []]);
    assertEquals(openDescriptors().length, before);
  },
);

for (
  const [name, errno] of Object.entries({
    EPERM,
    ENETUNREACH,
    EHOSTUNREACH,
    ENOBUFS,
  })
) {
  testEpoll(
    `sendto() that fails with ${name} loses that datagram, and says so`,
    async () => {
      const calls = new Calls();
      const { sendto } = libc();
      const scene = sceneWith({
        sendto: (...args) =>
          calls.count("sendto") === 2 ? fail(errno) : sendto(...args),
      });
      await using map = scene.map;
      const { client, server } = scene;
      for (const word of ["spam", "lost", "eggs"]) {
        client.sendTo(word, server.addr!);
      }
      await loopUntil(map, () => client.datagrams.length === 2);
      await loopUntil(map, () => client.errors.length === 1);
      assertEquals(wordsOf(client), ["spam", "eggs"]);
      const [error] = client.errors as DatagramError[];
      assertInstanceOf(error, DatagramError);
      assertEquals(error.addr, server.addr as Deno.NetAddr);
      assertEquals((error.cause as { code: string }).code, name);
    },
  );
}

testEpoll(
  "sendto() that tells of an earlier refusal sends its datagram all the same",
  async () => {
    const calls = new Calls();
    const { sendto } = libc();
    const scene = sceneWith({
      sendto: (...args) =>
        calls.count("sendto") === 2 ? fail(ECONNREFUSED) : sendto(...args),
    });
    await using map = scene.map;
    await exchange(scene, WORDS);
    await loopUntil(map, () => scene.client.errors.length === 1);
    const [error] = scene.client.errors as DatagramError[];
    assertEquals(error!.addr, null);
    assertMatch(error!.message, /^Cannot send a datagram: Connection refused/);
  },
);

testEpoll(
  "sendto() that is refused each time is not tried for ever",
  async () => {
    const calls = new Calls();
    const scene = sceneWith({
      sendto: () => {
        calls.count("sendto");
        return fail(ECONNREFUSED);
      },
    });
    await using map = scene.map;
    const { client, server } = scene;
    for (const word of WORDS) client.sendTo(word, server.addr!);
    await loopUntil(map, () => client.errors.length === 2 * WORDS.length);
    assertEquals(calls.counts["sendto"], 2 * WORDS.length);
  },
);

testEpoll("recvfrom() that tells of an unreachable host goes on", async () => {
  const calls = new Calls();
  const { recvfrom } = libc();
  const scene = sceneWith({
    recvfrom: (...args) => {
      if ((args[3] & C.MSG_ERRQUEUE) !== 0) return fail(EAGAIN);
      return calls.count("recvfrom") <= 2
        ? fail(EHOSTUNREACH)
        : recvfrom(...args);
    },
  });
  await using map = scene.map;
  await exchange(scene, WORDS);
  const { client, server } = scene;
  const errors = () => [...client.errors, ...server.errors] as DatagramError[];
  await loopUntil(map, () => errors().length === 2);
  for (const error of errors()) assertInstanceOf(error, DatagramError);
});

testEpoll("recvfrom() that fails for good closes its dispatcher", async () => {
  const scene = sceneWith({ recvfrom: () => fail(ENOTSOCK) });
  await using map = scene.map;
  await loopToEnd(map);
  for (const { errors, closes } of [scene.client, scene.server]) {
    assertEquals([errors.length, closes], [1, 1]);
    assertMatch(`${errors[0]}`, /non-socket \(os error 88\)/);
  }
});

testEpoll(
  "recvfrom() that is refused for ever is made as time goes by",
  async () => {
    let refusals = 0;
    const network = networkWith({
      recvfrom: (_fd, _buffer, _size, flags) => {
        if ((flags & C.MSG_ERRQUEUE) !== 0) return fail(EAGAIN);
        refusals++;
        return fail(ECONNREFUSED);
      },
    });
    const clock = new MockClock();
    const logger = new LogLines();
    await using map = new ScopedMap({ network, clock, logger });
    const client = new Client(map);
    const looping = loop({ map });
    await until(() => client.errors.length === 64, "64 refusals");
    await turns();
    assertEquals(refusals, 64);
    await clock.advance(1_000);
    await until(() => client.errors.length === 164, "100 more in a second");
    assertEquals(refusals, 164);
    client.close(); // It ends the pause.
    await looping;
    assertEquals(clock.armed, 0);
  },
);

// Opening

const OPENINGS: Record<string, Partial<Libc>> = {
  "socket() for lack of descriptors": { socket: () => fail(EMFILE) },
  "bind() for lack of memory": { bind: () => fail(ENOBUFS) },
  "getsockname() for lack of memory": { getsockname: () => fail(ENOBUFS) },
  "epoll_ctl() for lack of registrations": {
    epoll_ctl: (...args) =>
      // The descriptor that wakes the engine is the first.
      registrations.count("epoll_ctl") === 1
        ? libc().epoll_ctl(...args)
        : fail(ENOSPC),
  },
};
const registrations = new Calls();

for (const [what, changes] of Object.entries(OPENINGS)) {
  testEpoll(
    `DatagramDispatcher.bind() that fails at ${what} leaves no descriptor behind`,
    async () => {
      await using map = new ScopedMap({ network: networkWith(changes) });
      const dispatcher = new DatagramDispatcher(null, { map });
      dispatcher.createSocket();
      const before = openDescriptors().length;
      assertThrows(
        () => dispatcher.bind(LOOPBACK),
        Error,
        "Cannot bind 127.0.0.1:0: ",
      );
      assertEquals(openDescriptors().length, before);
      assertEquals(dispatcher.addr, null);
    },
  );
}

testEpoll(
  "Events of UDP that come twice, and for nothing, do no harm",
  async () => {
    const { epoll_wait } = libc();
    const size = 4 * EPOLL_EVENT.words;
    const before = new Uint8Array(size * 1_024);
    let kept = 0;
    const scene = sceneWith({
      epoll_wait: (epoll, memory, most, timeout) => {
        const target = memory as Uint8Array;
        const count = epoll_wait(epoll, memory, most / 2, timeout);
        // The events of the last look once more, as events of every kind.
        const every = new Uint32Array(target.buffer, target.byteOffset);
        target.set(before.subarray(0, kept * size), count * size);
        for (let i = count; i < count + kept; i++) {
          every[i * EPOLL_EVENT.words] = C.EPOLLIN | C.EPOLLOUT;
        }
        const both = count + kept;
        kept = count;
        before.set(target.subarray(0, count * size));
        return both;
      },
    });
    await using _map = scene.map;
    for (let round = 0; round < 5; round++) await exchange(scene, WORDS);
    assertEquals([scene.client.errors, scene.server.errors], [[], []]);
  },
);

testEpoll(
  "A lookup that is under way when events come is made once",
  async () => {
    const { epoll_wait, getaddrinfo_aside } = libc();
    const { promise, resolve } = Promise.withResolvers<void>();
    let lookups = 0;
    const scene = sceneWith({
      getaddrinfo_aside: async (...args) => {
        lookups++;
        await promise;
        return await getaddrinfo_aside(...args);
      },
      epoll_wait: (...args) => {
        const count = epoll_wait(...args);
        const events = new Uint32Array((args[1] as Memory).buffer);
        // Each event tells of room as well, though nothing waits for that.
        for (let i = 0; i < count; i++) {
          events[i * EPOLL_EVENT.words]! |= C.EPOLLOUT;
        }
        return count;
      },
    });
    await using map = scene.map;
    const { client, server } = scene;
    client.sendTo("spam", { hostname: "localhost", port: server.port });
    server.sendTo("eggs", client.addr!);
    await loopUntil(map, () => client.datagrams.length === 1);
    assertEquals(lookups, 1);
    resolve();
    await loopUntil(map, () => client.datagrams.length === 2);
    assertEquals([wordsOf(client), lookups], [["eggs", "spam"], 1]);
  },
);
