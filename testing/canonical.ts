/**
 * A text for each value, the same for values that are equal: {@linkcode canonical}.
 *
 * @module
 */

/**
 * The text of a value: equal values have equal texts, in whatever order the
 * keys of their objects were set.
 */
export function canonical(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (Object.is(value, -0)) return "0"; // A message may lose the sign.
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(", ")}]`;
  if (value instanceof Map) return `Map {${sortedPairs([...value])}}`;
  if (value instanceof Set) {
    return `Set {${[...value].map(canonical).sort().join(", ")}}`;
  }
  if (value instanceof Uint8Array) return `bytes ${value.toHex()}`;
  if (value instanceof Date) return `date ${value.getTime()}`;
  return `{${sortedPairs(Object.entries(value))}}`;
}

function sortedPairs(pairs: [key: unknown, value: unknown][]): string {
  return pairs.map(([key, value]) => `${canonical(key)}: ${canonical(value)}`)
    .sort().join(", ");
}
