/**
 * Wrong bytes and values, for disks that fail: {@linkcode corruptBytes} and
 * {@linkcode corruptValue}.
 *
 * @module
 */

/**
 * Flips a bit.
 *
 * @param bytes The bytes, which are changed.
 * @param which Says which bit: a whole number.
 */
export function corruptBytes(bytes: Uint8Array, which: number): void {
  if (bytes.length === 0) return;
  bytes[which % bytes.length]! ^= 1 << (which >>> 8) % 8;
}

/**
 * Makes something wrong of a copy of a value: in some text, number, Boolean or
 * bytes of it, one thing is another.
 *
 * @param value The value, which is changed.
 * @param which Says what of it is changed: a whole number.
 * @returns The changed value; the same if there is nothing in it to change.
 */
export function corruptValue(value: unknown, which: number): unknown {
  if (typeof value === "number") return value === 0 ? which : -value;
  if (typeof value === "boolean") return !value;
  if (typeof value === "string") return corruptText(value, which);
  if (value instanceof Uint8Array) corruptBytes(value, which);
  else if (value instanceof Map) corruptMap(value, which);
  else if (typeof value === "object" && value !== null) {
    corruptMap(
      {
        size: Object.keys(value).length,
        keys: () => Object.keys(value),
        get: (key) => Reflect.get(value, key as string),
        set: (key, part) => Reflect.set(value, key as string, part),
      },
      which,
    );
  }
  return value;
}

/** A map, or an object or array as one. */
interface Parts {
  readonly size: number;
  keys(): Iterable<unknown>;
  get(key: unknown): unknown;
  set(key: unknown, value: unknown): unknown;
}

function corruptMap(parts: Parts, which: number): void {
  if (parts.size === 0) return;
  const key = [...parts.keys()][which % parts.size];
  // Another part of it counts inside.
  const rest = Math.floor(which / parts.size);
  parts.set(key, corruptValue(parts.get(key), rest));
}

function corruptText(text: string, which: number): string {
  if (text === "") return text;
  const at = which % text.length;
  // The lowest bit: an ASCII letter stays printable, but for DEL.
  const wrong = String.fromCharCode(text.charCodeAt(at) ^ 1);
  return text.slice(0, at) + wrong + text.slice(at + 1);
}
