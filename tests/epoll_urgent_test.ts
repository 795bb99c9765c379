/** Urgent data over the second engine: `handleExpt()`, and what is sent and received. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type Channel,
  Dispatcher,
  type DispatcherOptions,
  DispatcherWithSend,
  ExitNow,
  loop,
} from "../mod.ts";
import { recordHooks } from "../testing/mod.ts";
import { C } from "../epoll/layout.ts";
import {
  epollNetwork,
  isAtMark,
  recvUrgent,
  sendUrgent,
  setLinger,
  setOption,
} from "../epoll/mod.ts";
import {
  hasArrived,
  hasPeerEnded,
  libc,
  networkWith,
  rawClient,
  rawSend,
  testEpoll,
  untilArrived,
} from "./epoll_faults.ts";
import { LogLines } from "./fakes.ts";
import {
  connectedPair,
  loopUntil,
  PATIENCE,
  ScopedMap,
  text,
  turns,
} from "./support.ts";

const HERE = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
const LISTEN = { backlog: 8, reusePort: false };
const never = new AbortController().signal;

/** Writes its events down, with the bytes that they bring. */
class Noting extends Dispatcher {
  readonly events: string[] = [];

  override writable(): boolean {
    return false;
  }
  override handleRead(): unknown {
    this.events.push(`read ${text(this.recv())}`);
    return undefined;
  }
  override handleExpt(): unknown {
    this.events.push(`urgent ${textOf(recvUrgent(this.socket))}`);
    return undefined;
  }
  override handleClose() {
    this.events.push("close");
    this.close();
  }
  override handleError(error: unknown) {
    this.events.push(`${error}`);
  }
}

function textOf(byte: number | null): string {
  return byte === null ? "nothing" : String.fromCharCode(byte);
}

function scoped() {
  const logger = new LogLines();
  const map = new ScopedMap({ network: epollNetwork, logger });
  return { map, lines: logger.lines };
}

/** A connection of the engine, and a client of system calls at its other end. */
async function connectedTo(network = epollNetwork) {
  const listener = network.listen(HERE, LISTEN);
  const fd = rawClient(listener.addr);
  const channel = await listener.accept();
  listener.close();
  return {
    channel,
    send: (text: string) => rawSend(fd, text),
    sendUrgent: (text: string) => rawSend(fd, text, C.MSG_OOB),
    arrived: () => untilArrived(fd),
    fd,
    close: () => void libc().close(fd),
  };
}

/** A dispatcher that notes its events, and the client at its other end. */
async function noting(
  map: ScopedMap,
  acts: Partial<Noting> & ThisType<Noting> = {},
  network = epollNetwork,
) {
  const peer = await connectedTo(network);
  const handler = new Noting(null, { map });
  Object.assign(handler, acts);
  handler.setSocket(peer.channel);
  return { ...peer, handler, events: handler.events };
}

// Events

testEpoll(
  "handleExpt() runs once for each urgent byte, and recvUrgent() has it",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { events, ...peer } = await noting(map);
    for (const [i, letter] of ["a", "b", "c"].entries()) {
      peer.sendUrgent(letter);
      await loopUntil(map, () => events.length === i + 1);
    }
    assertEquals(events, ["urgent a", "urgent b", "urgent c"]);
    peer.send("spam");
    await loopUntil(map, () => events.length === 4);
    assertEquals(events[3], "read spam");
    peer.close();
  },
);

testEpoll(
  "handleExpt() comes behind the read and the write event of its pass",
  async () => {
    const { map } = scoped();
    await using _ = map;
    let isToWrite = true;
    const { events, ...peer } = await noting(map, {
      writable: () => isToWrite,
      handleWrite() {
        this.events.push("write");
        isToWrite = false;
      },
    });
    peer.send("spam");
    peer.sendUrgent("!");
    peer.send("eggs");
    await peer.arrived();
    await loopUntil(map, () => events.length >= 4);
    assertEquals(events, ["read spam", "write", "urgent !", "read eggs"]);
    peer.close();
  },
);

testEpoll(
  "handleExpt() runs at once for a connection that does not read",
  async () => {
    const { map } = scoped();
    await using _ = map;
    let reads = false;
    const { events, ...peer } = await noting(map, { readable: () => reads });
    peer.send("spam");
    peer.sendUrgent("!");
    await peer.arrived();
    await loopUntil(map, () => events.length > 0);
    assertEquals(events, ["urgent !"]);
    reads = true;
    await loopUntil(map, () => events.length > 1);
    assertEquals(events, ["urgent !", "read spam"]);
    peer.close();
  },
);

testEpoll(
  "an urgent byte that nobody takes brings one event, and no busy loop",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { events, ...peer } = await noting(map, {
      handleExpt: () => void events.push("urgent"),
      readable: () => false,
    });
    const neighbour = await noting(map);
    peer.sendUrgent("!");
    for (const letter of ["a", "b", "c"]) {
      // Each arrival wakes the engine, while the mark is still there.
      peer.send(letter);
      await peer.arrived();
      neighbour.send(letter);
      // Its event comes behind that of the other one.
      await loopUntil(map, () => neighbour.events.at(-1) === `read ${letter}`);
    }
    assertEquals(events, ["urgent"]);
    const controller = new AbortController();
    const looping = loop({ map, signal: controller.signal });
    await turns(); // Throws if the loop does not come to rest.
    controller.abort();
    await looping;
    assertEquals(events, ["urgent"]);
    peer.close();
    neighbour.close();
  },
);

testEpoll(
  "urgent bytes wait while the promise of a hook is pending, and none is lost",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const gate = Promise.withResolvers<void>();
    const { network, taken } = countingNetwork();
    const { events, ...peer } = await noting(map, {
      async handleRead() {
        this.events.push(`read ${text(this.recv())}`);
        await gate.promise;
        this.events.push("read on");
      },
    }, network);
    peer.send("spam");
    await loopUntil(map, () => events.length === 1);
    const sent = letters(3);
    for (const [i, letter] of sent.entries()) {
      peer.sendUrgent(letter);
      await loopUntil(map, () => taken.count === i + 1);
    }
    assertEquals(events, ["read spam"]);
    gate.resolve();
    await loopUntil(map, () => events.filter(isUrgent).length === 3);
    assertEquals(events.slice(0, 2), ["read spam", "read on"]);
    assertEquals(
      events.filter(isUrgent),
      sent.map((letter) => `urgent ${letter}`),
    );
    peer.close();
  },
);

testEpoll(
  "of urgent bytes that wait for a hook, the last 64 are kept",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const gate = Promise.withResolvers<void>();
    const { network, taken } = countingNetwork();
    const { events, ...peer } = await noting(map, {
      async handleRead() {
        this.recv();
        this.events.push("read");
        await gate.promise;
      },
    }, network);
    peer.send("spam");
    await loopUntil(map, () => events.length === 1);
    const sent = letters(70);
    for (const [i, letter] of sent.entries()) {
      peer.sendUrgent(letter);
      await loopUntil(map, () => taken.count === i + 1);
    }
    gate.resolve();
    await loopUntil(map, () => events.filter(isUrgent).length === 64);
    assertEquals(
      events.filter(isUrgent),
      sent.slice(-64).map((letter) => `urgent ${letter}`),
    );
    peer.close();
  },
);

function isUrgent(event: string): boolean {
  return event.startsWith("urgent");
}

/** So many different characters of one byte. */
function letters(count: number): string[] {
  return Array.from({ length: count }, (_, i) => String.fromCharCode(33 + i));
}

/** A network that counts the urgent bytes that its engine has taken. */
function countingNetwork() {
  const taken = { count: 0 };
  const network = networkWith({
    recv(fd, buffer, length, flags) {
      const received = libc().recv(fd, buffer, length, flags);
      if (flags === C.MSG_OOB && received === 1) taken.count++;
      return received;
    },
  });
  return { network, taken };
}

testEpoll(
  "a pending promise of handleExpt() holds the other events",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const gate = Promise.withResolvers<void>();
    const { events, ...peer } = await noting(map, {
      async handleExpt() {
        this.events.push("urgent");
        await gate.promise;
        this.events.push("urgent on");
      },
    });
    peer.sendUrgent("!");
    await loopUntil(map, () => events.length === 1);
    peer.send("spam");
    await peer.arrived();
    await loop({ map, count: 3, timeout: 0 });
    gate.resolve();
    await loopUntil(map, () => events.length === 3);
    assertEquals(events, ["urgent", "urgent on", "read spam"]);
    peer.close();
  },
);

testEpoll(
  "what handleExpt() throws goes to handleError(), and an ExitNow leaves the loop",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const errors = [new Error("spam"), new ExitNow("enough")];
    const { events, ...peer } = await noting(map, {
      handleExpt() {
        const error = errors.shift();
        if (error) throw error;
        this.events.push("urgent");
      },
    });
    peer.sendUrgent("a");
    await loopUntil(map, () => events.length === 1);
    assertEquals(events, ["Error: spam"]);
    peer.sendUrgent("b");
    await assertRejects(() => loop({ map }), ExitNow, "enough");
    peer.sendUrgent("c");
    await loopUntil(map, () => events.length === 2);
    assertEquals(events[1], "urgent");
    peer.close();
  },
);

testEpoll(
  "recordHooks() records handleExpt(), which by default warns as in Python",
  async () => {
    const { map, lines } = scoped();
    await using _ = map;
    const peer = await connectedTo();
    const dispatcher = new Dispatcher(peer.channel, { map });
    dispatcher.ignoreLogTypes = new Set();
    using record = recordHooks(dispatcher);
    peer.sendUrgent("!");
    await loopUntil(map, () => record.count("handleExpt") === 1);
    assertEquals(lines, ["warn: unhandled incoming priority event"]);
    peer.close();
  },
);

testEpoll(
  "a reset behind urgent data runs handleClose(), and not handleExpt()",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { events, handler, ...peer } = await noting(map, {
      readable: () => false,
    });
    peer.sendUrgent("!");
    await peer.arrived();
    const linger = new Uint8Array(Int32Array.of(1, 0).buffer);
    assertEquals(libc().setsockopt(peer.fd, 1, 13, linger, 8), 0);
    peer.close(); // With SO_LINGER of 0 s, it resets.
    await loopUntil(map, () => events.length > 0);
    assertEquals(events, ["close"]);
    assert(handler.closeReason instanceof Deno.errors.ConnectionReset);
  },
);

testEpoll(
  "an urgent byte that has arrived goes to the next dispatcher",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const gate = Promise.withResolvers<void>();
    let heir: Noting | undefined;
    const { events, handler, ...peer } = await noting(map, {
      async handleRead() {
        this.recv(1);
        await gate.promise;
        heir = new Noting(this.socket as Channel, { map });
      },
    });
    peer.send("spam");
    await loopUntil(map, () => handler.readable() && map.size === 1);
    peer.sendUrgent("!");
    await peer.arrived();
    await loop({ map, count: 3, timeout: 0 });
    gate.resolve();
    await loopUntil(map, () => heir?.events.length === 2);
    assertEquals(events, []);
    assertEquals(heir!.events.toSorted(), ["read pam", "urgent !"]);
    peer.close();
  },
);

// Bytes around the urgent one

testEpoll(
  "of two urgent bytes between two looks, the first is an ordinary byte",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { events, ...peer } = await noting(map);
    peer.send("x");
    peer.sendUrgent("a");
    peer.send("y");
    peer.sendUrgent("b");
    await peer.arrived();
    await loopUntil(map, () => events.some(isUrgent));
    assertEquals(events.filter(isUrgent), ["urgent b"]);
    const received = events.filter((event) => !isUrgent(event));
    assertEquals(received.join("").replaceAll("read ", ""), "xay");
    peer.close();
  },
);

testEpoll(
  "urgent data that arrives between two reads of one look is not passed",
  async () => {
    const { map } = scoped();
    await using _ = map;
    let behind: (() => void) | null = null;
    let isDouble = false;
    const network = networkWith({
      recv(fd, buffer, length, flags) {
        const received = libc().recv(fd, buffer, length, flags);
        if (flags === 0 && received > 0) behind?.();
        return received;
      },
    });
    const { events, ...peer } = await noting(map, {
      handleRead() {
        this.events.push(`read ${text(this.recv())}`);
        if (isDouble) this.events.push(`read ${text(this.recv())}`);
        isDouble = false;
      },
    }, network);
    peer.sendUrgent("a"); // From now on it reads until nothing is left.
    await loopUntil(map, () => events.length === 1);
    behind = () => {
      behind = null;
      isDouble = true;
      peer.sendUrgent("b");
      peer.send("eggs");
      const deadline = performance.now() + PATIENCE;
      while (!hasArrived(peer.fd) && performance.now() < deadline);
    };
    peer.send("spam");
    await loopUntil(map, () => events.length === 4);
    assertEquals(
      events,
      ["urgent a", "read spam", "read eggs", "urgent b"],
    );
    peer.close();
  },
);

testEpoll(
  "with SO_OOBINLINE the byte stands among the others, and isAtMark() tells where",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { events, handler, ...peer } = await noting(map, {
      handleRead() {
        const isMarked = isAtMark(this.socket);
        this.events.push(
          `${isMarked ? "marked" : "read"} ${text(this.recv())}`,
        );
      },
    });
    setOption(handler.socket, "SO_OOBINLINE", 1);
    const rounds = 3; // Each new mark brings its event.
    for (let round = 1; round <= rounds; round++) {
      peer.send("spam");
      peer.sendUrgent("!");
      peer.send("eggs");
      await peer.arrived();
      await loopUntil(map, () => events.length >= 3 * round);
    }
    await loop({ map, count: 3, timeout: 0 });
    const expected = ["read spam", "urgent nothing", "marked !eggs"];
    assertEquals(
      events,
      Array.from({ length: rounds }, () => expected).flat(),
    );
    peer.close();
  },
);

testEpoll(
  "isAtMark() is true between the bytes before the urgent one and those behind it",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const marks: [string, boolean][] = [];
    const peer = await noting(map, {
      handleRead() {
        const received = text(this.recv(2));
        marks.push([received, isAtMark(this.socket)]);
      },
    });
    peer.send("spam");
    peer.sendUrgent("!");
    peer.send("eggs");
    await peer.arrived();
    await loopUntil(map, () => marks.length === 4);
    assertEquals(marks, [
      ["sp", false],
      ["am", true],
      ["eg", false],
      ["gs", false],
    ]);
    peer.close();
  },
);

testEpoll(
  "isAtMark() tells the same place to the next dispatcher of a connection",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const marks: [string, boolean][] = [];
    const acts = {
      handleRead(this: Noting) {
        const received = text(this.recv(1));
        marks.push([received, isAtMark(this.socket)]);
      },
    };
    const peer = await noting(map, {
      handleRead() {
        const isMarked = isAtMark(this.socket);
        this.events.push(text(this.recv(4)));
        if (!isMarked) return;
        Object.assign(new Noting(this.socket as Channel, { map }), acts);
      },
    });
    setOption(peer.handler.socket, "SO_OOBINLINE", 1);
    peer.send("spam");
    peer.sendUrgent("!");
    peer.send("eggs and spam");
    await peer.arrived();
    await loopUntil(map, () => marks.length === 10);
    assertEquals(peer.events, ["spam", "urgent nothing", "!egg"]);
    assertEquals(marks.map(([received]) => received).join(""), "s and spam");
    assertEquals(marks.filter(([, isMarked]) => isMarked), []);
    peer.close();
  },
);

// Sending

/** A dispatcher of the engine, and the other end of its connection. */
async function connectedBySystem<T extends Dispatcher>(
  map: ScopedMap,
  Class: new (channel: Channel, options: DispatcherOptions) => T,
) {
  const listener = epollNetwork.listen(HERE, LISTEN);
  const [client, server] = await Promise.all([
    epollNetwork.connect(listener.addr, { signal: never }),
    listener.accept(),
  ]);
  listener.close();
  return { sender: new Class(client, { map }), server };
}

testEpoll(
  "sendUrgent() keeps its place behind what send() has accepted",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { sender, server } = await connectedBySystem(map, Dispatcher);
    const other = await connectedBySystem(map, Dispatcher);
    // In a pass with several hooks, sent bytes wait until all of them have run.
    other.sender.handleWrite = () => other.sender.close();
    sender.handleWrite = () => {
      sender.send("spam");
      assertEquals(sendUrgent(sender.socket, 33), true);
      sender.send("eggs");
      sender.close();
    };
    await loopUntil(map, () => hasPeerEnded(server));
    other.server.close();
    const reader = new Noting(server, { map });
    await loopUntil(map, () => reader.events.includes("close"));
    assertEquals(
      reader.events.filter((event) => event !== "read "),
      ["read spam", "urgent !", "read eggs", "close"],
    );
  },
);

testEpoll(
  "sendUrgent() sends nothing while accepted bytes wait, and later succeeds",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { sender, server } = await connectedBySystem(map, DispatcherWithSend);
    const size = 8_000_000; // More than the kernel takes at once.
    sender.send(new Uint8Array(size));
    assertEquals(sendUrgent(sender.socket, 33), false);
    assert(sender.bufferedAmount > 0);
    let received = 0;
    let urgent: number | null = null;
    const reader = new Dispatcher(server, { map });
    reader.handleRead = () => void (received += reader.recv().length);
    reader.handleExpt = () => void (urgent = recvUrgent(reader.socket));
    await loopUntil(map, () => sendUrgent(sender.socket, 33));
    await loopUntil(map, () => received === size && urgent !== null);
    assertEquals(urgent, 33);
    sender.close();
  },
);

testEpoll(
  "streams of ordinary and urgent bytes arrive complete and in order",
  async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`seed ${seed}`);
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (state >> 8) % below;
    };
    const { map } = scoped();
    await using _ = map;
    const { sender, server } = await connectedBySystem(map, DispatcherWithSend);
    let sent = 0;
    let received = 0;
    let faults = 0;
    let urgent = 0;
    const reader = new Dispatcher(server, { map });
    reader.handleRead = () => {
      for (const byte of reader.recv(1 + random(50_000))) {
        if (byte !== received++ % 251) faults++;
      }
    };
    reader.handleExpt = () => {
      if (recvUrgent(reader.socket) === urgent % 256) urgent++;
    };
    for (let round = 0; round < 100; round++) {
      const data = new Uint8Array(random(round % 10 === 0 ? 400_000 : 3_000));
      for (let i = 0; i < data.length; i++) data[i] = sent++ % 251;
      sender.send(data);
      await loopUntil(map, () => sendUrgent(sender.socket, round % 256));
      // The system knows the last urgent byte only.
      await loopUntil(map, () => urgent === round + 1);
      if (random(2) === 0) await loopUntil(map, () => received === sent);
      else {
        // It must have passed the mark before there is another.
        sender.send(Uint8Array.of(sent++ % 251));
        await loopUntil(map, () => received === sent);
      }
    }
    assertEquals({ faults, received, urgent }, {
      faults: 0,
      received: sent,
      urgent: 100,
    });
    sender.close();
  },
);

testEpoll(
  "sendUrgent() and recvUrgent() refuse what is no connection of the engine",
  async () => {
    const { map } = scoped();
    await using _ = map;
    const { channel, ...peer } = await connectedTo();
    assertEquals(recvUrgent(channel), null);
    peer.sendUrgent("!");
    await peer.arrived();
    assertEquals(recvUrgent(channel), 33);
    assertEquals(recvUrgent(channel), null);
    assertThrows(() => sendUrgent(channel, 256), RangeError, "byte must be");
    const listener = epollNetwork.listen(HERE, LISTEN);
    assertThrows(() => sendUrgent(listener, 33), TypeError, "got a listener");
    listener.close();
    const [conn, other] = await connectedPair();
    assertThrows(() => recvUrgent(conn), TypeError, "epollNetwork");
    conn.close();
    other.close();
    setLinger(channel, null);
    channel.close();
    assertThrows(() => isAtMark(channel), TypeError, "got a closed one");
    peer.close();
  },
);
