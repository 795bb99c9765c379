/**
 * The system calls of a client that costs next to nothing, on Linux: Deno's own
 * connections would take as long as the servers that they are to measure.
 *
 * @module
 */

const AF_INET = 2;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const IPPROTO_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EPOLLOUT = 4;
const EPOLLERR = 8;
const EPOLLHUP = 16;
const EPOLLET = 1 << 31;

/** Whether these calls can be made here. */
export const HAS_LIBC: boolean = Deno.build.os === "linux" &&
  ["x86_64", "aarch64"].includes(Deno.build.arch);

// Numbers fit in 32 bits here; a 64-bit one would be a BigInt, which costs.
const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  memcmp: { parameters: ["buffer", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const;

const libc = HAS_LIBC ? Deno.dlopen("libc.so.6", CALLS).symbols : null!;

/** 127.0.0.`last` as the system wants it. */
function socketAddress(last: number, port: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  address.set([127, 0, 0, last], 4);
  return address;
}

const ONE = Uint8Array.of(1, 0, 0, 0);
/** 20 s. */
const RECEIVE_TIMEOUT = new Uint8Array(new BigInt64Array([20n, 0n]).buffer);
/** Source addresses by turns: one has too few ports for many short connections. */
const SOURCES = 32;
let source = 0;

/** Connects to a port of this machine, and returns the descriptor. */
export function connectTo(port: number): number {
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) {
    throw new Error("No descriptor for a connection: raise ulimit -n");
  }
  source = source % SOURCES + 1;
  libc.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, ONE, 4);
  libc.bind(fd, socketAddress(source, 0), 16);
  if (libc.connect(fd, socketAddress(1, port), 16) !== 0) {
    libc.close(fd);
    throw new Error(`Cannot connect to port ${port}`);
  }
  libc.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ONE, 4);
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, RECEIVE_TIMEOUT, 16);
  return fd;
}

/** Sends what the system takes now: how much, or -1 for nothing. */
export function sendNow(fd: number, data: Uint8Array<ArrayBuffer>): number {
  return libc.send(fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/** Receives what is there: how much, 0 at the end, -1 for nothing. */
export function receiveNow(fd: number, into: Uint8Array<ArrayBuffer>): number {
  return libc.recv(fd, into, into.length, MSG_DONTWAIT);
}

/** Waits for bytes, for at most 20 s. */
export function receive(fd: number, into: Uint8Array<ArrayBuffer>): number {
  return libc.recv(fd, into, into.length, 0);
}

export function close(fd: number): void {
  libc.close(fd);
}

/** Whether both begin with the same `length` bytes. */
export function areSame(
  a: Uint8Array<ArrayBuffer>,
  b: Uint8Array<ArrayBuffer>,
  length: number,
): boolean {
  return libc.memcmp(a, b, length) === 0;
}

const EVENTS = 1_024;
const PACKED = Deno.build.arch === "x86_64";
const EVENT_SIZE = PACKED ? 12 : 16;
const DATA_AT = PACKED ? 4 : 8;

/** Tells which descriptors have something new, by the numbers they were added with. */
export class Poller {
  readonly #fd = libc.epoll_create1(0);
  readonly #events = new Uint8Array(EVENT_SIZE * EVENTS);
  readonly #view = new DataView(this.#events.buffer);

  add(fd: number, number: number): void {
    const event = new Uint8Array(EVENT_SIZE);
    const view = new DataView(event.buffer);
    view.setUint32(0, EPOLLIN | EPOLLOUT | EPOLLET, true);
    view.setUint32(DATA_AT, number, true);
    libc.epoll_ctl(this.#fd, EPOLL_CTL_ADD, fd, event);
  }

  /** Waits for at most `timeout` ms: how many of {@linkcode Poller.at} there are. */
  wait(timeout: number): number {
    return libc.epoll_wait(this.#fd, this.#events, EVENTS, timeout);
  }

  /** The number of the `index`th that has something new. */
  at(index: number): number {
    const at = index * EVENT_SIZE;
    const flags = this.#view.getUint32(at, true);
    if (flags & (EPOLLERR | EPOLLHUP)) {
      throw new Error("The server has ended a connection");
    }
    return this.#view.getUint32(at + DATA_AT, true);
  }

  close(): void {
    libc.close(this.#fd);
  }
}
