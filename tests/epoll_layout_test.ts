/**
 * The numbers, structures and calls of the second engine are those of the C libraries
 * for each platform: compilers for all of them compare. Nothing of it is run, so a
 * cross compiler is enough. A compiler that is missing is named.
 */

import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  ADDRINFO,
  C,
  EPOLL_EVENTS,
  ERRNO,
  LARGEST_ADDRESS,
  SOCKADDR,
} from "../epoll/layout.ts";
import { OPTIONS, OTHER_OPTIONS } from "../epoll/option_table.ts";
import { CALLS } from "../epoll/libc.ts";
import { ERRORS, systemError } from "../epoll/system_error.ts";
import { HAS_EPOLL, libc } from "./epoll_faults.ts";
import { canRun } from "./support.ts";

const HEADERS = [
  ...["arpa/inet", "errno", "fcntl", "netdb"],
  ...["netinet/in", "netinet/tcp", "stddef", "stdio", "unistd"],
  ...["sys/epoll", "sys/eventfd", "sys/ioctl", "sys/socket", "sys/un"],
];

type Architecture = keyof typeof EPOLL_EVENTS;

/** A C library for an architecture, and the compiler that has its headers. */
interface Target {
  arch: Architecture;
  library: "glibc" | "musl";
  compiler: string;
  /** Before the program: where the headers are. */
  headers?: string[];
  /** Behind the program: where the library is. */
  link?: string[];
}

const ARCHITECTURES = Object.keys(EPOLL_EVENTS) as Architecture[];

const TARGETS: Target[] = ARCHITECTURES.flatMap((arch): Target[] => {
  const compiler = `${arch}-linux-gnu-gcc`;
  // As musl-gcc does, but also for the other architecture.
  const link = ["-static", "-nostdlib", "-Wl,-e,main"];
  link.push(`-L/usr/lib/${arch}-linux-musl`, "-lc", "-lgcc");
  const headers = ["-nostdinc", "-isystem", `/usr/include/${arch}-linux-musl`];
  return [
    { arch, library: "glibc", compiler },
    { arch, library: "musl", compiler, headers, link },
  ];
});

/** The socket level of an option, by the beginning of its name. */
const LEVELS: Record<string, string> = {
  SO: "SOL_SOCKET",
  IP: "IPPROTO_IP",
  IPV6: "IPPROTO_IPV6",
  TCP: "IPPROTO_TCP",
};

/** Numbers by the C expressions that they stand for. */
type Value = [expression: string, value: number];

function optionValues(): Value[] {
  return Object.entries({ ...OPTIONS, ...OTHER_OPTIONS })
    .flatMap(([name, [level, number]]): Value[] => [
      [LEVELS[name.split("_")[0]!]!, level],
      [name, number],
    ]);
}

function errorValues(): Value[] {
  return Object.entries(ERRORS).map(([errno, [code]]) => [code, Number(errno)]);
}

/** Sizes of structures, and places of their members. */
function structures({ words, data }: { words: number; data: number }): Value[] {
  return Object.entries({
    "sizeof(struct epoll_event)": 4 * words,
    "offsetof(struct epoll_event, events)": 0,
    "offsetof(struct epoll_event, data)": 4 * data,
    "sizeof(struct linger)": 8,
    "offsetof(struct linger, l_linger)": 4,
    "sizeof(struct ucred)": 12,
    "offsetof(struct ucred, uid)": 4,
    "offsetof(struct ucred, gid)": 8,
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
    // Numbers go into words in the order of the processor.
    "__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__": 1,
  });
}

/** Every number that the engine has for an architecture. */
function valuesOf(arch: Architecture): Value[] {
  // SIOCOUTQ is a name of the kernel's headers, which musl does without.
  const { SIOCOUTQ, ...numbers } = { ...ERRNO, ...C };
  return [
    ["TIOCOUTQ", SIOCOUTQ],
    ...Object.entries(numbers),
    ...optionValues(),
    ...errorValues(),
    ...structures(EPOLL_EVENTS[arch]),
  ];
}

/** A program that cannot be compiled if a value is another one. */
function assertions(values: Value[]): string {
  return [
    "#define _GNU_SOURCE",
    ...HEADERS.map((name) => `#include <${name}.h>`),
    ...values.map(([expression, value]) =>
      `_Static_assert((unsigned) (${expression}) == ${value}u, "${expression}");`
    ),
    "int main(void) { return 0; }\n",
  ].join("\n");
}

/** A program that cannot be linked if a symbol is missing. */
function references(symbols: string[]): string {
  return [
    ...symbols.map((symbol) => `extern void ${symbol}(void);`),
    `void (*volatile used[])(void) = { ${symbols.join(", ")} };`,
    "int main(void) { return used[0] == 0; }\n",
  ].join("\n");
}

/** The symbols of the C library that the engine calls. */
function symbols(): string[] {
  const names = Object.entries(CALLS).map(([key, call]) =>
    "name" in call ? call.name : key
  );
  return [...new Set(names)];
}

/** What a compiler says to a program: nothing, if it is right. */
async function complaints(
  { compiler, headers = [] }: Target,
  program: string,
  args: string[],
): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/program.c`, program);
    const { success, stderr } = await new Deno.Command(compiler, {
      args: ["-w", "-fno-builtin", ...headers, "program.c", ...args],
      cwd: folder,
    }).output();
    if (success) return "";
    return `${compiler}: ${new TextDecoder().decode(stderr)}`;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Why a target cannot be tried here; `null` if it can. */
function obstacleOf({ compiler, library, headers }: Target): string | null {
  if (Deno.build.os !== "linux") return "no Linux";
  if (!canRun(compiler, "--version")) return `no ${compiler}`;
  const folder = headers?.at(-1);
  if (folder === undefined) return null;
  return canRun("ls", folder) ? null : `no ${library} in ${folder}`;
}

for (const target of TARGETS) {
  const { arch, library, link = [] } = target;
  const obstacle = obstacleOf(target);
  const suffix = obstacle === null ? "" : ` (skipped: ${obstacle})`;
  Deno.test({
    name:
      `the engine has the numbers and structures of ${library} on ${arch}${suffix}`,
    ignore: obstacle !== null,
    fn: async () => {
      const values = valuesOf(arch);
      assertGreater(values.length, 120);
      const check = (values: Value[]) =>
        complaints(target, assertions(values), ["-fsyntax-only"]);
      assertEquals(await check(values), "");
      const wrong: Value = ["sizeof(int)", 5];
      assert((await check([...values, wrong])).includes("sizeof(int)"));
    },
  });

  Deno.test({
    name: `${library} on ${arch} has the calls of the engine${suffix}`,
    ignore: obstacle !== null,
    fn: async () => {
      const used = symbols();
      assertGreater(used.length, 25);
      const check = (symbols: string[]) =>
        complaints(target, references(symbols), ["-o", "program", ...link]);
      assertEquals(await check(used), "");
      assert((await check([...used, "no_such_call"])).includes("no_such_call"));
    },
  });
}

Deno.test({
  name:
    "systemError() has the name, the text and the code of Deno's own errors",
  ignore: !HAS_EPOLL,
  fn: async () => {
    const refused = systemError(libc(), 111);
    const { port } = freeAddress();
    const denos = await Deno.connect({ hostname: "127.0.0.1", port })
      .then(() => null, (error) => error);
    assertEquals(
      [refused.name, refused.message, codeOf(refused)],
      [denos.name, denos.message, denos.code],
    );
    assertEquals(refused instanceof Deno.errors.ConnectionRefused, true);
    const unnamed = systemError(libc(), 130);
    assertEquals([unnamed.name, codeOf(unnamed)], ["Error", "E130"]);
  },
});

/** An address on which nobody listens. */
function freeAddress(): Deno.NetAddr {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr;
}

function codeOf(error: Error): string {
  return (error as Error & { code: string }).code;
}
