/**
 * Random numbers and `crypto.subtle` on simulated hosts.
 *
 * @module
 */

import { type Escape, KEYS } from "./escape_group.ts";
import type { HostContext } from "./host_context.ts";
import {
  type AnyFunction,
  functions,
  onHost,
  type Replacement,
} from "./replacements.ts";

/** Work of other threads, in real time, but with a result that is always the same. */
const DETERMINISTIC: readonly string[] = [
  ...["digest", "decrypt", "verify", "deriveBits", "deriveKey", "importKey"],
  ...["exportKey", "unwrapKey", "getPublicKey"],
];
/** The same, if their algorithm draws no random numbers of its own. */
const AT_TIMES_RANDOM: readonly string[] = [
  ...["encrypt", "sign", "wrapKey", "encapsulateKey", "encapsulateBits"],
];
/** Algorithms that draw none, and those whose keys are any random bytes. */
const NEEDS_NO_RANDOM = /^(AES-|HMAC$|Ed25519$|RSASSA-PKCS1-v1_5$)/i;
const ANY_BYTES = /^(AES-|HMAC$)/i;
/** The block of these hashes has 128 bytes, that of the others 64. */
const LARGE_BLOCK = /^SHA-(384|512)$/i;

function random(host: HostContext): number {
  const value = host.random();
  host.drew(value);
  return value;
}

function fill(host: HostContext, view: unknown): unknown {
  const { buffer, byteOffset, byteLength } = view as DataView;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  for (let i = 0; i < bytes.length; i++) bytes[i] = host.random() * 256;
  host.drew(bytes.length);
  return view;
}

/** Fills by the host what the real function would fill. */
function getRandomValues(original: AnyFunction): AnyFunction {
  return onHost(original, (host, args, self) => {
    Reflect.apply(original, self, args); // Throws if the argument is wrong.
    return fill(host, args[0]);
  });
}

function uuid(host: HostContext): string {
  const bytes = fill(host, new Uint8Array(16)) as Uint8Array;
  bytes[6] = bytes[6]! & 0x0f | 0x40;
  bytes[8] = bytes[8]! & 0x3f | 0x80;
  return bytes.toHex().replace(
    /(.{8})(.{4})(.{4})(.{4})(.{12})/,
    "$1-$2-$3-$4-$5",
  );
}

/** The name of an algorithm, which is a text or an object. */
function nameOf(algorithm: unknown): string {
  if (typeof algorithm === "string") return algorithm;
  return String((algorithm as { name?: unknown } | undefined)?.name);
}

/** Makes the simulated time wait for the promise of a function. */
function held(original: AnyFunction): AnyFunction {
  return onHost(original, (host, args, self) => {
    const promise = Reflect.apply(original, self, args) as Promise<unknown>;
    host.hold(promise);
    return promise;
  });
}

function escapeOf(name: string, algorithm: string): Escape {
  const call = `crypto.subtle.${name}() with ${algorithm}`;
  return { call, instead: KEYS, inScenario: true };
}

/** Refuses the algorithms that draw random numbers. */
function unlessRandom(name: string, isHarmless: RegExp): Replacement["make"] {
  return ((original: AnyFunction) =>
    onHost(original, (host, args, self) => {
      const algorithm = nameOf(name === "wrapKey" ? args[3] : args[0]);
      const isRandom = !isHarmless.test(algorithm);
      const error = isRandom ? host.onEscape(escapeOf(name, algorithm)) : null;
      if (error) throw error;
      const promise = name === "generateKey" && !isRandom
        ? generateKey(host, self as SubtleCrypto, args)
        : Reflect.apply(original, self, args) as Promise<unknown>;
      host.hold(promise);
      return promise;
    })) as Replacement["make"];
}

/** A key of random bytes, which are the host's. */
function generateKey(
  host: HostContext,
  subtle: SubtleCrypto,
  [algorithm, extractable, usages]: unknown[],
): Promise<unknown> {
  const { length, hash } = algorithm as HmacKeyGenParams & { length?: number };
  const block = LARGE_BLOCK.test(nameOf(hash)) ? 1_024 : 512;
  const bytes = new Uint8Array(Math.ceil((length ?? block) / 8));
  fill(host, bytes);
  return subtle.importKey(
    "raw",
    bytes,
    algorithm as HmacImportParams,
    extractable as boolean,
    usages as KeyUsage[],
  );
}

/** A function that works elsewhere, but gives what it always gives. */
function waitFor(owner: object | undefined, names: string): Replacement[] {
  return names.split(" ").map((name) => ({ owner, name, make: held }));
}

/** All that draws random numbers, or computes on another thread. */
export function cryptoReplacements(): Replacement[] {
  return [
    ...functions(Math, { random }),
    { owner: crypto, name: "getRandomValues", make: getRandomValues },
    ...functions(crypto, { randomUUID: uuid }),
    ...waitFor(crypto.subtle, DETERMINISTIC.join(" ")),
    ...AT_TIMES_RANDOM.map((name) => ({
      owner: crypto.subtle,
      name,
      make: unlessRandom(name, NEEDS_NO_RANDOM),
    })),
    {
      owner: crypto.subtle,
      name: "generateKey",
      make: unlessRandom("generateKey", ANY_BYTES),
    },
    ...waitFor(Blob.prototype, "arrayBuffer bytes text"),
    ...waitFor(WebAssembly, "compile instantiate"),
  ];
}
