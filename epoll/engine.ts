/**
 * The engine: one set of descriptors for the process, and the look for their
 * events. It is a part of Deno's event loop like any other: it looks once a turn,
 * and when nothing has come for a moment, it waits on a thread.
 *
 * Descriptors are registered once, for both directions and edge-triggered: an
 * event says that something has changed, and the source remembers it. So no call
 * to the system follows from a change of interest.
 *
 * @module
 */

import type { Poller } from "../core/poller.ts";
import { C, EPOLL_EVENT, ERRNO } from "./layout.ts";
import { allocate, type Libc, type Memory } from "./libc.ts";
import { Next, type SpinTime } from "./spin_time.ts";
import { systemError } from "./system_error.ts";

/** The runtime's own function, even if a test replaces the global one. */
const { setImmediate: nextTurn } = globalThis;

/**
 * Most events of one look. A larger number makes fewer calls for thousands of
 * active connections; a smaller one leaves a turn to the rest of the program
 * sooner. The value is a choice.
 */
const MOST_EVENTS = 1_024;
/**
 * Size of the buffer into which all connections read, in bytes. A larger one takes
 * a large message in fewer calls; with this one, a dispatcher gets no more at once
 * than over Deno's network.
 */
const READ_BUFFER = 128 * 1024;
/** The events of a stream socket. */
const STREAM_EVENTS = C.EPOLLIN | C.EPOLLOUT | C.EPOLLRDHUP | C.EPOLLPRI;
/**
 * Longest wait of the thread, in ms. The thread of a worker that was terminated
 * ends with it. A longer wait keeps such a thread; a shorter one wakes idle programs
 * more often. The value is a choice.
 */
const LONGEST_WAIT = 60_000;

/** A registered descriptor. */
export interface Watched {
  /** Something has changed; `events` are bits of `EPOLLIN` and so on. */
  onEvents(events: number): void;
}

/** Gets no event: another one takes its place at once. */
export const NOBODY: Watched = { onEvents() {} };

/** The registration of a descriptor, from its opening to its close. */
export class Descriptor {
  /** The number; -1 when it is closed. */
  fd: number;
  /** Tells this one from others that had the same number. */
  readonly generation: number;
  /** Gets the events. */
  watched: Watched;
  /** Another descriptor of the same file is open, perhaps in another process. */
  isShared = false;

  constructor(fd: number, generation: number, watched: Watched) {
    this.fd = fd;
    this.generation = generation;
    this.watched = watched;
  }
}

/** How the engine looks for events. */
const Looking = {
  /** Not at all: nobody waits. */
  not: 0,
  /** In each turn of the runtime. */
  perTurn: 1,
  /** On a thread that waits. */
  aside: 2,
} as const;

/** Owns the descriptors, and tells their events. */
export class Engine implements Poller {
  readonly libc: Libc;
  readonly spin: SpinTime;
  /** All connections read into it. */
  readonly buffer: Memory = new Uint8Array(READ_BUFFER);
  /** The source whose bytes lie in the buffer. */
  #owner: { leaveBuffer(): void } | null = null;

  readonly #epoll: number;
  /** An `eventfd` that ends a wait. */
  readonly #wake: number;
  /** The registered descriptors, by their numbers. */
  readonly #descriptors: (Descriptor | null)[] = [];
  #generation = 0;
  readonly #request = new Uint32Array(EPOLL_EVENT.words);
  readonly #requestBytes = new Uint8Array(this.#request.buffer);
  readonly #events = new Uint32Array(EPOLL_EVENT.words * MOST_EVENTS);
  readonly #eventBytes = new Uint8Array(this.#events.buffer);
  /**
   * The events of the thread that waits, in memory of the C library: the thread of
   * a worker may outlive the worker, and all memory that JavaScript had.
   */
  readonly #asideEvents: Deno.PointerObject;

  /** How many loops and operations wait for events. */
  #holders = 0;
  #looking: number = Looking.not;
  /** Sources that are told in the next turn. */
  #soon: { tell(): void }[] = [];
  #whenSettled: (() => void)[] = [];

  constructor(libc: Libc, spin: SpinTime) {
    this.libc = libc;
    this.spin = spin;
    this.#asideEvents = allocate(libc, this.#eventBytes.length);
    const opened: number[] = [];
    const open = (fd: number): number => {
      opened.push(this.#check(fd));
      return fd;
    };
    try {
      this.#wake = open(libc.eventfd(0, C.EFD_CLOEXEC | C.EFD_NONBLOCK));
      this.#epoll = open(libc.epoll_create1(C.EPOLL_CLOEXEC));
      this.#control(C.EPOLL_CTL_ADD, this.#wake, C.EPOLLIN, 0);
    } catch (error) {
      // The next use of the network makes another engine.
      for (const fd of opened) libc.close(fd);
      libc.free(this.#asideEvents);
      throw error;
    }
  }

  /** Throws the error of a call that has failed. */
  #check(result: number): number {
    if (result >= 0) return result;
    throw systemError(this.libc, this.libc.errno());
  }

  // Descriptors

  /**
   * Registers an open descriptor.
   *
   * @param events The events that it gets: by default, those of both directions.
   * @throws {Error} If the system refuses. The descriptor stays open.
   */
  add(
    fd: number,
    watched: Watched,
    events: number = STREAM_EVENTS,
  ): Descriptor {
    const generation = this.#generation = (this.#generation + 1) >>> 0;
    const descriptor = new Descriptor(fd, generation, watched);
    this.#control(C.EPOLL_CTL_ADD, fd, events, generation);
    while (this.#descriptors.length <= fd) this.#descriptors.push(null);
    this.#descriptors[fd] = descriptor;
    return descriptor;
  }

  /**
   * Changes the events that a descriptor gets. Those that are there already come
   * once more.
   *
   * @throws {Error} If the system refuses.
   */
  change({ fd, generation }: Descriptor, events: number): void {
    this.#control(C.EPOLL_CTL_MOD, fd, events, generation);
  }

  /** Whether a descriptor with this number is registered. */
  has(fd: number): boolean {
    return (this.#descriptors[fd] ?? null) !== null;
  }

  /** Notes that a registered descriptor is not the only one of its file. */
  share(fd: number): void {
    this.#descriptors[fd]!.isShared = true;
  }

  #control(how: number, fd: number, events: number, generation: number): void {
    this.#request[0] = events | C.EPOLLET;
    this.#request[EPOLL_EVENT.data] = fd;
    this.#request[EPOLL_EVENT.data + 1] = generation;
    const { libc } = this;
    this.#check(libc.epoll_ctl(this.#epoll, how, fd, this.#requestBytes));
  }

  /** Registers a descriptor of the engine's own: closes it if that fails. */
  addOwn(fd: number, watched: Watched): Descriptor {
    try {
      return this.add(fd, watched);
    } catch (error) {
      this.libc.close(fd);
      throw error;
    }
  }

  /** Closes a descriptor. Its events that are under way are dropped. */
  close(descriptor: Descriptor): void {
    const { fd } = descriptor;
    if (fd < 0) return;
    descriptor.fd = -1;
    this.#descriptors[fd] = null;
    // While another descriptor is open, a close alone would not end its events.
    if (descriptor.isShared) {
      this.libc.epoll_ctl(this.#epoll, C.EPOLL_CTL_DEL, fd, this.#requestBytes);
    }
    // On Linux, the descriptor is free even if this fails with EINTR.
    this.libc.close(fd);
  }

  /** Gives the buffer to a source. The rest of another one's bytes moves out. */
  lendBuffer(owner: { leaveBuffer(): void }): Memory {
    if (this.#owner !== null && this.#owner !== owner) {
      this.#owner.leaveBuffer();
    }
    this.#owner = owner;
    return this.buffer;
  }

  // Waiting for events

  start(): void {
    this.hold();
    this.poll();
  }

  stop(): void {
    this.release();
  }

  /** An operation waits for events, whether a loop runs or not. */
  hold(): void {
    this.#holders++;
    if (this.#looking === Looking.not) this.#lookPerTurn();
    // The thread goes on to wait, for this one.
    else if (this.#whenSettled.length > 0) this.#settle();
  }

  /** The operation is over. */
  release(): void {
    this.#holders--;
    if (this.#holders === 0 && this.#looking === Looking.aside) this.#kick();
  }

  settled(): Promise<void> | null {
    if (this.#holders > 0 || this.#looking !== Looking.aside) return null;
    return new Promise((resolve) => this.#whenSettled.push(resolve));
  }

  /** Waits for an operation, and until nothing of it is left in flight. */
  async untilSettled<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } finally {
      await this.settled();
    }
  }

  /** Tells a source in the next turn of the runtime. */
  tellSoon(source: { tell(): void }): void {
    this.#soon.push(source);
    if (this.#soon.length === 1) nextTurn(this.#tellAll);
  }

  readonly #tellAll = (): void => {
    const sources = this.#soon;
    this.#soon = [];
    for (const source of sources) source.tell();
  };

  // The look for events

  #lookPerTurn(): void {
    this.#looking = Looking.perTurn;
    this.spin.begin();
    nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    if (this.#holders === 0) {
      this.#looking = Looking.not;
      return;
    }
    let next: number;
    do next = this.spin.next(this.poll()); while (next === Next.look);
    if (next === Next.turn) nextTurn(this.#turn);
    else this.#lookAside(next === Next.rest ? 0 : LONGEST_WAIT);
  };

  /** Looks on a thread, for at most `timeout` ms, so that Deno can do the same. */
  #lookAside(timeout: number): void {
    this.#looking = Looking.aside;
    this.libc.epoll_wait_aside(
      this.#epoll,
      this.#asideEvents,
      MOST_EVENTS,
      timeout,
    ).then(this.#onAside);
  }

  readonly #onAside = (count: number): void => {
    this.#looking = Looking.not;
    // A loop may end while it is told, so looking goes on before.
    if (this.#holders > 0) this.#lookPerTurn();
    if (count > 0) {
      const size = 4 * EPOLL_EVENT.words * count;
      this.libc.memcpy(this.#eventBytes, this.#asideEvents, size);
      this.#tell(this.#events, count);
    }
    this.#settle();
  };

  #settle(): void {
    for (const resolve of this.#whenSettled.splice(0)) resolve();
  }

  /**
   * Ends the wait of the thread. poll() may take the event of an earlier kick from
   * it, so each kick is written.
   */
  #kick(): void {
    this.libc.write(this.#wake, ONE, ONE.length);
  }

  /** Looks for events, and tells them. Returns how many there were. */
  poll(): number {
    const { libc } = this;
    const count = libc.epoll_wait(
      this.#epoll,
      this.#eventBytes,
      MOST_EVENTS,
      0,
    );
    if (count > 0) this.#tell(this.#events, count);
    else if (count < 0) {
      const errno = libc.errno();
      if (errno !== ERRNO.EINTR) throw systemError(libc, errno);
      return 0;
    }
    return count;
  }

  #tell(events: Uint32Array, count: number): void {
    const descriptors = this.#descriptors;
    const { words, data } = EPOLL_EVENT;
    for (let at = 0, end = words * count; at < end; at += words) {
      const descriptor = descriptors[events[at + data]!];
      // The event may be that of a closed descriptor, whose number is used again.
      if (
        descriptor && descriptor.generation === events[at + data + 1]
      ) descriptor.watched.onEvents(events[at]!);
    }
  }
}

/** The number of 64 bits that an `eventfd` takes. */
const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
