/**
 * Checks of arguments. Each check throws at once, with the argument's name and
 * value in the message.
 *
 * @module
 */

/** The text of a wrong value, for a message. */
export function showValue(value: unknown): string {
  let text: string;
  try {
    text = Deno.inspect(value, {
      depth: 1,
      compact: true,
      breakLength: Infinity,
      strAbbreviateSize: 60,
    });
  } catch {
    text = typeof value; // An object that cannot be shown.
  }
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/**
 * Checks a number of milliseconds: `min` or more, `Infinity` unless it must be
 * finite.
 *
 * @throws {TypeError} If `value` is not a number.
 * @throws {RangeError} If it is NaN or out of range.
 */
export function checkMilliseconds(
  name: string,
  value: unknown,
  { min = 0, finite = false }: { min?: number; finite?: boolean } = {},
): number {
  if (typeof value !== "number") {
    throw new TypeError(
      `${name} must be a number of ms, got ${showValue(value)}`,
    );
  }
  if (!(value >= min) || (finite && value === Infinity)) {
    const range = `${finite ? "a finite number of " : ""}${min} or more`;
    throw new RangeError(`${name} must be ${range} ms, got ${value}`);
  }
  return value;
}

/**
 * Checks a whole number.
 *
 * @throws {TypeError} If `value` is not a number.
 * @throws {RangeError} If it is fractional, NaN or out of range.
 */
export function checkInteger(
  name: string,
  value: unknown,
  min: number,
  max: number = Infinity,
): number {
  if (typeof value !== "number") {
    throw new TypeError(`${name} must be a number, got ${showValue(value)}`);
  }
  const whole = Number.isInteger(value) || value === Infinity;
  if (!whole || value < min || value > max) {
    const range = max === Infinity ? `${min} or more` : `from ${min} to ${max}`;
    throw new RangeError(`${name} must be an integer ${range}, got ${value}`);
  }
  return value;
}

/** Whether `value`, from foreign code, is a whole number from 0 to `most`. */
export function isCount(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 &&
    (value as number) <= most;
}

const encoder = new TextEncoder();

/**
 * The bytes to send: those that are given, or text as UTF-8.
 *
 * @throws {TypeError} If `data` is neither bytes nor text.
 */
export function toBytes(name: string, data: unknown): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (typeof data === "string") return encoder.encode(data);
  throw new TypeError(
    `${name} must be a Uint8Array or text, got ${showValue(data)}`,
  );
}

/**
 * Checks that `value` is a `Uint8Array`.
 *
 * @throws {TypeError} If it is anything else.
 */
export function checkBytes(name: string, value: unknown): void {
  if (value instanceof Uint8Array) return;
  const hint = typeof value === "string"
    ? ": encode text with new TextEncoder().encode(text)"
    : "";
  throw new TypeError(
    `${name} must be a Uint8Array, got ${showValue(value)}${hint}`,
  );
}

/**
 * Checks that `value` is a `Uint8Array` whose buffer was not transferred: a
 * transferred buffer has lost its bytes.
 *
 * @throws {TypeError} If it is no `Uint8Array`, or its buffer was transferred.
 */
export function checkOwned(
  name: string,
  value: unknown,
): asserts value is Uint8Array {
  checkBytes(name, value);
  if (!((value as Uint8Array).buffer as ArrayBuffer).detached) return;
  throw new TypeError(`${name} was transferred: its bytes are gone`);
}

/**
 * Checks that `value` can be called.
 *
 * @throws {TypeError} If it is not a function.
 */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== "function") {
    throw new TypeError(`${name} must be a function, got ${showValue(value)}`);
  }
}

/**
 * Checks that `value` is an object that has each of `methods`.
 *
 * @throws {TypeError} If it is no object, or one of them is missing.
 */
export function checkMethods(
  name: string,
  value: unknown,
  methods: readonly string[],
): void {
  if (value === null || typeof value !== "object") {
    throw new TypeError(`${name} must be an object, got ${showValue(value)}`);
  }
  for (const method of methods) {
    if (typeof (value as Record<string, unknown>)[method] !== "function") {
      throw new TypeError(`${name} has no ${method}() method`);
    }
  }
}

/**
 * Checks that `value` is an `AbortSignal`, or `undefined`.
 *
 * @throws {TypeError} If it is anything else.
 */
export function checkSignal(value: unknown): void {
  if (value === undefined) return;
  checkMethods("signal", value, ["addEventListener", "removeEventListener"]);
}

/**
 * Checks that `value` is `true` or `false`.
 *
 * @throws {TypeError} If it is anything else.
 */
export function checkBoolean(name: string, value: unknown): void {
  if (typeof value === "boolean") return;
  throw new TypeError(`${name} must be true or false, got ${showValue(value)}`);
}

/**
 * Checks that `value` is text that is not empty.
 *
 * @throws {TypeError} If it is anything else.
 */
export function checkText(name: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new TypeError(
    `${name} must be a non-empty string, got ${showValue(value)}`,
  );
}
