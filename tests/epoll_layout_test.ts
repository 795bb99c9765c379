/** The numbers and structures of epoll/layout.ts are those of the C library. */

import { assertEquals, assertGreater } from "@std/assert";
import {
  ADDRINFO,
  C,
  EPOLL_EVENT,
  ERRNO,
  LARGEST_ADDRESS,
  SOCKADDR,
} from "../epoll/layout.ts";
import { epollNetwork } from "../epoll/mod.ts";
import { OPTIONS, OTHER_OPTIONS } from "../epoll/option_table.ts";
import { findLibc, type Libc } from "../epoll/libc.ts";
import { systemError } from "../epoll/system_error.ts";
import { canRun } from "./support.ts";

const HEADERS = [
  ...["arpa/inet", "errno", "linux/sockios", "netdb", "netinet/in"],
  ...[
    "netinet/tcp",
    "stddef",
    "stdio",
    "sys/epoll",
    "sys/eventfd",
    "sys/ioctl",
    "sys/socket",
    "sys/un",
  ],
];

/** The numbers of the options of sockets. */
const OPTION_NUMBERS = Object.fromEntries(
  Object.entries({ ...OPTIONS, ...OTHER_OPTIONS })
    .map(([name, [, number]]) => [name, number]),
);

/** Values by the C expressions that they stand for. */
const VALUES: Record<string, number> = {
  ...ERRNO,
  ...C,
  ...OPTION_NUMBERS,
  SOL_SOCKET: OPTIONS.SO_RCVBUF[0],
  IPPROTO_IP: OPTIONS.IP_TOS[0],
  IPPROTO_IPV6: OPTIONS.IPV6_V6ONLY[0],
  IPPROTO_TCP: OPTIONS.TCP_NODELAY[0],
  "sizeof(struct linger)": 8,
  "sizeof(struct ucred)": 12,
  "offsetof(struct ucred, uid)": 4,
  "sizeof(struct epoll_event)": 4 * EPOLL_EVENT.words,
  "offsetof(struct epoll_event, data)": 4 * EPOLL_EVENT.data,
  "sizeof(struct addrinfo)": ADDRINFO.size,
  "offsetof(struct addrinfo, ai_flags)": ADDRINFO.flags,
  "offsetof(struct addrinfo, ai_family)": ADDRINFO.family,
  "offsetof(struct addrinfo, ai_socktype)": ADDRINFO.socktype,
  "offsetof(struct addrinfo, ai_addrlen)": ADDRINFO.addrlen,
  "offsetof(struct addrinfo, ai_addr)": ADDRINFO.addr,
  "offsetof(struct addrinfo, ai_next)": ADDRINFO.next,
  "offsetof(struct sockaddr, sa_family)": SOCKADDR.family,
  "sizeof(struct sockaddr_in)": SOCKADDR.in.size,
  "offsetof(struct sockaddr_in, sin_port)": SOCKADDR.port,
  "offsetof(struct sockaddr_in, sin_addr)": SOCKADDR.in.addr,
  "sizeof(struct sockaddr_in6)": SOCKADDR.in6.size,
  "offsetof(struct sockaddr_in6, sin6_port)": SOCKADDR.port,
  "offsetof(struct sockaddr_in6, sin6_addr)": SOCKADDR.in6.addr,
  "sizeof(struct sockaddr_un)": SOCKADDR.un.size,
  "offsetof(struct sockaddr_un, sun_path)": SOCKADDR.un.path,
  "sizeof(struct sockaddr_storage)": LARGEST_ADDRESS,
  // Types whose sizes the calls rely on.
  "sizeof(socklen_t)": 4,
  "sizeof(sa_family_t)": 2,
  "sizeof(int)": 4,
  "sizeof(void *)": 8,
};

function theLibc(): Libc {
  const found = findLibc();
  if ("libc" in found) return found.libc;
  throw new Error(found.obstacle);
}

function codeOf(error: Error): string {
  return (error as Error & { code: string }).code;
}

/** The error numbers that systemError() knows, by their names. */
function errorNumbers(): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (let errno = 1; errno < 134; errno++) {
    const code = codeOf(systemError(theLibc(), errno));
    if (code !== `E${errno}`) numbers[code] = errno;
  }
  return numbers;
}

/** What a C program makes of the same expressions. */
async function compiled(
  expressions: string[],
): Promise<Record<string, number>> {
  const folder = await Deno.makeTempDir();
  try {
    const lines = expressions.map((expression) =>
      `  printf("%s\\t%llu\\n", "${expression}", ` +
      `(unsigned long long) (unsigned int) (${expression}));`
    );
    const includes = HEADERS.map((name) => `#include <${name}.h>`);
    const source = ["#define _GNU_SOURCE", ...includes, "int main(void) {"];
    source.push(...lines, "}\n");
    await Deno.writeTextFile(`${folder}/values.c`, source.join("\n"));
    const options = { cwd: folder };
    const cc = new Deno.Command("cc", {
      args: ["-o", "values", "values.c"],
      ...options,
    });
    const { success, stderr } = await cc.output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    const { stdout } = await new Deno.Command(`${folder}/values`).output();
    const rows = new TextDecoder().decode(stdout).trimEnd().split("\n");
    return Object.fromEntries(rows.map((row) => {
      const [expression = "", value] = row.split("\t");
      return [expression, Number(value)];
    }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const hasCompiler = Deno.build.os === "linux" && canRun("cc", "--version");

Deno.test({
  name: `epoll/layout.ts has the values of the C library${
    hasCompiler ? "" : " (skipped: no cc)"
  }`,
  ignore: !hasCompiler || !epollNetwork.available,
  fn: async () => {
    const expected = { ...VALUES, ...errorNumbers() };
    assertGreater(Object.keys(expected).length, 80);
    assertEquals(await compiled(Object.keys(expected)), expected);
  },
});

Deno.test({
  name:
    "systemError() has the name, the text and the code of Deno's own errors",
  ignore: !epollNetwork.available,
  fn: async () => {
    const libc = theLibc();
    const refused = systemError(libc, 111);
    const { port } = freeAddress();
    const denos = await Deno.connect({ hostname: "127.0.0.1", port })
      .then(() => null, (error) => error);
    assertEquals(
      [refused.name, refused.message, codeOf(refused)],
      [denos.name, denos.message, denos.code],
    );
    assertEquals(refused instanceof Deno.errors.ConnectionRefused, true);
    const unnamed = systemError(libc, 130);
    assertEquals([unnamed.name, codeOf(unnamed)], ["Error", "E130"]);
  },
});

/** An address on which nobody listens. */
function freeAddress(): Deno.NetAddr {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr;
}
