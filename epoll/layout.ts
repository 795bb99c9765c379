/**
 * Numbers and structures of Linux, as x86-64 and aarch64 have them. A test lets C
 * compilers for both compare each with their headers.
 *
 * @module
 */

/** Numbers of `errno` that the engine itself acts on. */
export const ERRNO = {
  EPERM: 1,
  EINTR: 4,
  EIO: 5,
  EAGAIN: 11,
  ENONET: 64,
  EPROTO: 71,
  ENOPROTOOPT: 92,
  EOPNOTSUPP: 95,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOTCONN: 107,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  EINPROGRESS: 115,
} as const;

/** Numbers of the calls' arguments. */
export const C = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  MSG_DONTWAIT: 0x40,
  MSG_OOB: 1,
  MSG_ERRQUEUE: 0x2000,
  MSG_NOSIGNAL: 0x4000,
  SHUT_WR: 1,
  EPOLL_CLOEXEC: 0o2000000,
  EPOLL_CTL_ADD: 1,
  EPOLL_CTL_DEL: 2,
  EPOLL_CTL_MOD: 3,
  EPOLLIN: 0x001,
  EPOLLPRI: 0x002,
  EPOLLOUT: 0x004,
  EPOLLERR: 0x008,
  EPOLLHUP: 0x010,
  EPOLLRDHUP: 0x2000,
  EPOLLET: 0x80000000,
  EFD_CLOEXEC: 0o2000000,
  EFD_NONBLOCK: 0o4000,
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_RDWR: 2,
  O_NOCTTY: 0o400,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  F_GETFL: 3,
  F_SETFL: 4,
  F_DUPFD_CLOEXEC: 1030,
  F_GETPIPE_SZ: 1032,
  SEEK_CUR: 1,
  TIOCGPTN: 0x80045430,
  FIOCLEX: 0x5451,
  FIONBIO: 0x5421,
  SIOCATMARK: 0x8905,
  SIOCOUTQ: 0x5411,
  AI_PASSIVE: 1,
  AI_NUMERICHOST: 4,
} as const;

/**
 * `struct epoll_event` of each architecture, in words of 32 bits. It is packed on
 * x86-64 only; elsewhere its data are aligned to 8 bytes.
 */
export const EPOLL_EVENTS = {
  x86_64: { words: 3, data: 1 },
  aarch64: { words: 4, data: 2 },
} as const;

/** `struct epoll_event` of this machine. */
export const EPOLL_EVENT: { readonly words: number; readonly data: number } =
  EPOLL_EVENTS[Deno.build.arch];

/** `struct addrinfo`, in bytes. */
export const ADDRINFO = {
  size: 48,
  flags: 0,
  family: 4,
  socktype: 8,
  addrlen: 16,
  addr: 24,
  next: 40,
} as const;

/** `struct sockaddr_in`, `sockaddr_in6` and `sockaddr_un`, in bytes. */
export const SOCKADDR = {
  family: 0,
  /** In the order of the network. */
  port: 2,
  in: { size: 16, addr: 4 },
  in6: { size: 28, addr: 8 },
  un: { size: 110, path: 2 },
} as const;

/** The largest of the addresses, as `struct sockaddr_storage` has it. */
export const LARGEST_ADDRESS = 128;
