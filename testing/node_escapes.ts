/**
 * Escapes through the modules of Node.
 *
 * @module
 */

import {
  CLOCKS,
  EXIT,
  FILES,
  type Group,
  KEYS,
  OUTSIDE,
  RANDOM,
  SOCKETS,
  SURROUNDINGS,
  THREADS,
  TIMERS,
  words,
} from "./escape_group.ts";
import { process } from "./node_process.ts";

/** The functions of a module, and how they are named in a message. */
type Members = Pick<Group, "names" | "except" | "instead" | "inScenario">;

/** Exports of a module of Node, which this Deno may not have. */
function exportsOf(module: string, members: Members): Group {
  const owner = process.getBuiltinModule?.(`node:${module}`);
  const prefix = `${module.replace("/", ".")}.`;
  return { owner, prefix, module, ...members };
}

/** Methods of a class, so that it does not matter how it was imported. */
function methodsOf(module: string, name: string, members: Members): Group {
  const classes = process.getBuiltinModule?.(`node:${module}`) as unknown as
    | Record<string, { prototype: object } | undefined>
    | undefined;
  const owner = classes?.[name]?.prototype;
  return { owner, prefix: `${module}.${name}.`, ...members };
}

function timerGroups(): Group[] {
  const members = { instead: TIMERS, inScenario: true };
  const promises = process.getBuiltinModule?.("node:timers/promises");
  const names = words("setTimeout setInterval setImmediate");
  return [
    exportsOf("timers", { names, ...members }),
    exportsOf("timers/promises", { names, ...members }),
    {
      owner: promises?.scheduler,
      prefix: "timers.promises.scheduler.",
      names: words("wait yield"),
      ...members,
    },
  ];
}

function socketGroups(): Group[] {
  const instead = SOCKETS;
  const names = words("connect createConnection");
  return [
    exportsOf("net", { names, instead }),
    methodsOf("net", "Socket", { names: ["connect"], instead }),
    methodsOf("net", "Server", { names: ["listen"], instead }),
    // In an older Deno, it inherits nothing from that.
    methodsOf("http", "Server", { names: ["listen"], instead }),
    exportsOf("dgram", { names: ["createSocket"], instead }),
    methodsOf("dgram", "Socket", {
      names: words("bind connect send"),
      instead,
    }),
    exportsOf("dns", { instead }),
    exportsOf("dns/promises", { instead }),
  ];
}

function cryptoGroups(): Group[] {
  return [
    exportsOf("crypto", {
      names: words("randomBytes randomInt randomFill randomFillSync"),
      instead: RANDOM,
      inScenario: true,
    }),
    exportsOf("crypto", {
      names: words(
        "generateKey generateKeySync generateKeyPair generateKeyPairSync " +
          "generatePrime generatePrimeSync checkPrime createDiffieHellman " +
          "createDiffieHellmanGroup getDiffieHellman createECDH createSign " +
          "sign publicEncrypt privateEncrypt encapsulate",
      ),
      instead: KEYS,
      inScenario: true,
    }),
    exportsOf("crypto", {
      names: words("hkdf pbkdf2 scrypt"),
      instead: THREADS,
    }),
  ];
}

function processGroups(): Group[] {
  return [
    exportsOf("process", {
      names: words(
        "env stdin cwd chdir cpuUsage threadCpuUsage memoryUsage umask " +
          "resourceUsage availableMemory constrainedMemory getuid getgid " +
          "geteuid getegid getgroups loadEnvFile getActiveResourcesInfo",
      ),
      instead: SURROUNDINGS,
    }),
    exportsOf("process", {
      names: words("exit reallyExit abort kill"),
      instead: EXIT,
    }),
    exportsOf("os", {
      except: words("hostname endianness"),
      instead: SURROUNDINGS,
    }),
    exportsOf("v8", {
      except: words(
        "serialize deserialize Serializer Deserializer DefaultSerializer " +
          "DefaultDeserializer",
      ),
      instead: SURROUNDINGS,
    }),
    exportsOf("perf_hooks", {
      except: words("PerformanceEntry PerformanceObserverEntryList"),
      instead: CLOCKS,
    }),
  ];
}

/** All groups of Node's modules; loads those modules. */
export function nodeGroups(): Group[] {
  const instead = OUTSIDE;
  return [
    ...timerGroups(),
    exportsOf("fs", {
      except: words("Stats BigIntStats Dirent"),
      instead: FILES,
    }),
    exportsOf("fs/promises", { instead: FILES }),
    ...socketGroups(),
    exportsOf("child_process", { instead }),
    methodsOf("child_process", "ChildProcess", { names: ["spawn"], instead }),
    exportsOf("worker_threads", {
      names: words("Worker MessageChannel BroadcastChannel"),
      instead,
    }),
    ...cryptoGroups(),
    ...processGroups(),
  ];
}
