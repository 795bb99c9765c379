/**
 * The calls of the C library, through Deno's FFI. A test can replace them, as the
 * engine gets them as a table.
 *
 * @module
 */

const OPTION = ["i32", "i32", "i32", "buffer", "buffer"] as const;

/** The calls for files. */
const OF_FILES = {
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  isatty: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;
const DATAGRAM_CALLS = {
  recvfrom: {
    parameters: ["i32", "buffer", "u32", "i32", "buffer", "buffer"],
    result: "i32",
  },
  sendto: {
    parameters: ["i32", "buffer", "u32", "i32", "buffer", "u32"],
    result: "i32",
  },
} as const;
const MEMORY_CALLS = {
  malloc: { parameters: ["u32"], result: "pointer" },
  free: { parameters: ["pointer"], result: "void" },
  // A permission for one file does not allow Deno.UnsafePointerView: these copy.
  memcpy: { parameters: ["buffer", "pointer", "u32"], result: "pointer" },
  memcpy_from: {
    name: "memcpy",
    parameters: ["buffer", "usize", "u32"],
    result: "pointer",
  },
  memcpy_to: {
    name: "memcpy",
    parameters: ["pointer", "buffer", "u32"],
    result: "pointer",
  },
  strnlen: { parameters: ["pointer", "u32"], result: "u32" },
} as const;
const LOOKUP_CALLS = {
  getaddrinfo: {
    parameters: ["buffer", "pointer", "buffer", "buffer"],
    result: "i32",
  },
  /**
   * The same call on another thread, for a resolver may take seconds; its memory is
   * that of `malloc()`.
   */
  getaddrinfo_aside: {
    name: "getaddrinfo",
    parameters: ["pointer", "pointer", "pointer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
  freeaddrinfo: { parameters: ["usize"], result: "void" },
} as const;

/**
 * Lengths have 32 bits here, where C has a `size_t`: a number of 64 bits would
 * cost ten times as much as the call. All lengths are below 2^31, and both
 * architectures clear the upper half of a register when they fill the lower one.
 */
export const CALLS = {
  ...OF_FILES,
  ...DATAGRAM_CALLS,
  ...MEMORY_CALLS,
  ...LOOKUP_CALLS,
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  ioctl: { parameters: ["i32", "u32", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: OPTION, result: "i32" },
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  /** The same call on another thread; its memory is that of `malloc()`. */
  epoll_wait_aside: {
    name: "epoll_wait",
    parameters: ["i32", "pointer", "i32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  inet_ntop: {
    parameters: ["i32", "buffer", "buffer", "u32"],
    result: "pointer",
  },
  gai_strerror: { parameters: ["i32"], result: "pointer" },
  strerror: { parameters: ["i32"], result: "pointer" },
  __errno_location: { parameters: [], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The memory that a call gets. Its length is that of the array. */
export type Memory = Uint8Array<ArrayBuffer>;

const { get: length } = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  "length",
)!;

/**
 * The true length of an array that comes from the program: a property `length` of
 * its own must not make a call read beyond it.
 */
export function lengthOf(data: Uint8Array): number {
  return length!.call(data);
}

/** The calls of the C library, and the error number of the last one that failed. */
export interface Libc extends Deno.StaticForeignLibraryInterface<typeof CALLS> {
  /** The number of the last error of this thread. Ask right after the call. */
  errno(): number;
}

/** The names of glibc and musl, as the loader finds them. */
const NAMES = ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`];

/** Where they are. A permission for one file names its path. */
const FOLDERS = [
  `/lib/${Deno.build.arch}-linux-gnu/`,
  `/usr/lib/${Deno.build.arch}-linux-gnu/`,
  ...["/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"],
];

/** The result of looking for the C library. */
export type Found = { libc: Libc } | { obstacle: string };

let found: Found | null = null;

/** Opens the C library, once. It asks for no permission: the user has to give it. */
export function findLibc(): Found {
  if (found !== null && "libc" in found) return found;
  return found = look();
}

function look(): Found {
  const { os, arch } = Deno.build;
  if (os !== "linux") return { obstacle: `it needs Linux, and this is ${os}` };
  if (arch !== "x86_64" && arch !== "aarch64") {
    return { obstacle: `it knows x86_64 and aarch64, and this is ${arch}` };
  }
  const paths = [
    ...NAMES,
    ...FOLDERS.flatMap((folder) => NAMES.map((name) => folder + name)),
  ].filter(mayOpen);
  if (paths.length === 0) {
    return {
      obstacle: "it needs --allow-ffi, or --allow-ffi=PATH with the path of " +
        `the C library, such as ${FOLDERS[0]}${NAMES[0]}`,
    };
  }
  let reason: unknown;
  for (const path of paths) {
    try {
      return { libc: open(path) };
    } catch (error) {
      reason = error;
    }
  }
  return { obstacle: `the C library cannot be opened: ${reason}` };
}

function mayOpen(path: string): boolean {
  return Deno.permissions.querySync({ name: "ffi", path }).state === "granted";
}

function open(path: string): Libc {
  const { symbols } = Deno.dlopen(path, CALLS);
  // It is valid as long as this thread.
  const location = symbols.__errno_location();
  const value = new Int32Array(new ArrayBuffer(4));
  const bytes = new Uint8Array(value.buffer);
  const errno = () => {
    symbols.memcpy(bytes, location, bytes.length);
    return value[0]!;
  };
  return { ...symbols, errno };
}

/**
 * Memory of the C library, for a call on another thread: that of a worker may outlive
 * the worker, and all memory that JavaScript had.
 *
 * @throws {Error} If there is none left.
 */
export function allocate(libc: Libc, size: number): Deno.PointerObject {
  const pointer = libc.malloc(size);
  if (pointer === null) throw new Error("The system has no memory left");
  return pointer;
}

/** The longest text that is read, in bytes. */
const LONGEST_TEXT = 1_024;

/** The text at a pointer that the library has returned. */
export function textAt(libc: Libc, pointer: Deno.PointerValue): string {
  if (pointer === null) return "";
  const bytes = new Uint8Array(libc.strnlen(pointer, LONGEST_TEXT));
  libc.memcpy(bytes, pointer, bytes.length);
  return new TextDecoder().decode(bytes);
}
