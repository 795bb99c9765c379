/**
 * Random input: noise, changes to what would be right, and ways to split it.
 * Bytes are text here, in which each character is a byte, so that an input that
 * fails can be read.
 */

import fc from "fast-check";

/** Text in which each character, up to U+00FF, is a byte. */
export type Binary = string;

/** The bytes that a text is made of. */
export function toBytes(binary: Binary): Uint8Array {
  const data = new Uint8Array(binary.length);
  for (let at = 0; at < data.length; at++) data[at] = binary.charCodeAt(at);
  return data;
}

/** The text that is made of these bytes. */
export function toBinary(data: Uint8Array): Binary {
  let binary = "";
  for (let at = 0; at < data.length; at += 4_096) {
    binary += String.fromCharCode(...data.subarray(at, at + 4_096));
  }
  return binary;
}

/** The bytes of a text in UTF-8. */
export function utf8(text: string): Binary {
  return toBinary(new TextEncoder().encode(text));
}

/** One of these, each as often as its weight says. */
export function mixed<T>(
  ...parts: [weight: number, fc.Arbitrary<T>][]
): fc.Arbitrary<T> {
  const weighted = ([weight, arbitrary]: [number, fc.Arbitrary<T>]) => (
    { weight, arbitrary }
  );
  return fc.oneof(...parts.map(weighted));
}

/** Any bytes, up to so many. */
export function noise(maxLength = 200): fc.Arbitrary<Binary> {
  return fc.uint8Array({ maxLength }).map(toBinary);
}

/** Up to so many of these pieces in a row. */
export function soup(
  pieces: readonly Binary[],
  maxLength = 30,
): fc.Arbitrary<Binary> {
  return fc.array(fc.constantFrom(...pieces), { maxLength })
    .map((parts) => parts.join(""));
}

/** What protocols trip over. */
const TROUBLE: readonly Binary[] = [
  ...["\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\0", ".", "\r\n.\r\n", "\n.\n"],
  ...["\r.\r", " ", "\t", ":", "\x7f", "\x80", "\xff"],
  "\xc3\xa9", // é
  "\xc3", // half of it
  "\xed\xa0\x80", // a lone surrogate
  "%",
  "..",
  "/",
  "\\",
];

const place = fc.noBias(fc.nat());
const few = fc.integer({ min: 1, max: 8 });

type Change = (input: Binary) => Binary;

function replace(
  input: Binary,
  at: number,
  length: number,
  by: Binary,
): Binary {
  return input.slice(0, at) + by + input.slice(at + length);
}

/** Inserts at a place that is spread evenly over the input. */
function inserted(what: fc.Arbitrary<Binary>): fc.Arbitrary<Change> {
  return fc.tuple(place, what).map(([at, text]) => (input) =>
    replace(input, at % (input.length + 1), 0, text)
  );
}

/** Makes one end of a line something else. */
const lineEndChanged: fc.Arbitrary<Change> = fc.tuple(
  place,
  fc.constantFrom("\n", "\r", "", "\r\r\n", "\n\r", "\r\n\r\n", "\0\r\n"),
).map(([nth, by]) => (input) => {
  const ends = [...input.matchAll(/\r\n/g)];
  if (ends.length === 0) return input;
  return replace(input, ends[nth % ends.length]!.index, 2, by);
});

const bitFlipped: fc.Arbitrary<Change> = fc.tuple(place, fc.nat(7))
  .map(([where, bit]) => (input) => {
    if (input === "") return input;
    const at = where % input.length;
    const flipped = input.charCodeAt(at) ^ (1 << bit);
    return replace(input, at, 1, String.fromCharCode(flipped));
  });

const lost: fc.Arbitrary<Change> = fc.tuple(place, few)
  .map(([at, length]) => (input) =>
    replace(input, at % (input.length + 1), length, "")
  );

const repeated: fc.Arbitrary<Change> = fc.tuple(
  place,
  fc.integer({ min: 1, max: 60 }),
  few,
).map(([where, length, times]) => (input) => {
  const at = where % (input.length + 1);
  return replace(input, at, 0, input.slice(at, at + length).repeat(times));
});

const moved: fc.Arbitrary<Change> = fc.tuple(place, place, few)
  .map(([from, to, length]) => (input) => {
    const at = from % (input.length + 1);
    const rest = replace(input, at, length, "");
    const what = input.slice(at, at + length);
    return replace(rest, to % (rest.length + 1), 0, what);
  });

const endedEarly: fc.Arbitrary<Change> = place
  .map((at) => (input) => input.slice(0, at % (input.length + 1)));

const longRun: fc.Arbitrary<Binary> = fc.tuple(
  fc.constantFrom(..."a0. \r\n\0\xff"),
  fc.nat(300),
).map(([byte, count]) => byte.repeat(count));

const change: fc.Arbitrary<Change> = fc.oneof(
  inserted(fc.constantFrom(...TROUBLE)),
  inserted(noise(8)),
  inserted(longRun),
  bitFlipped,
  lost,
  repeated,
  moved,
  endedEarly,
  lineEndChanged,
);

/** What would be right, and after up to `most` changes may no longer be. */
export function changed(
  base: fc.Arbitrary<Binary>,
  most = 5,
): fc.Arbitrary<Binary> {
  return fc.tuple(base, fc.array(change, { maxLength: most }))
    .map(([input, changes]) => changes.reduce((text, go) => go(text), input));
}

/** What would be right, as it is or changed, and now and then mere noise. */
export function hostile(base: fc.Arbitrary<Binary>): fc.Arbitrary<Binary> {
  return mixed(
    [5, base],
    [8, changed(base)],
    [1, noise()],
    [1, soup(TROUBLE, 60)],
  );
}

/**
 * How input is split: into pieces of these lengths, round and round; or around
 * each of these bytes.
 */
export type Splitting = { lengths: number[] } | { around: Binary };

export const splitting: fc.Arbitrary<Splitting> = fc.oneof(
  fc.constantFrom({ around: "\r" }, { around: "\n" }, { around: "\r\n.%" }),
  fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 8 })
    .map((lengths) => ({ lengths })),
  fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 })
    .map((lengths) => ({ lengths })),
);

/** Input, and how it is split. */
export interface SplitInput {
  input: Binary;
  splitting: Splitting;
}

/** Adds a way to split it to an input. */
export function split(input: fc.Arbitrary<Binary>): fc.Arbitrary<SplitInput> {
  return fc.record({ input, splitting });
}

/** Inputs that are split wherever something special ends. */
export function examplesOf(inputs: readonly Binary[]): SplitInput[] {
  return inputs.map((input) => ({ input, splitting: { around: "\r\n." } }));
}

/** The pieces, none of them empty. */
export function piecesOf(input: Binary, splitting: Splitting): Binary[] {
  const pieces: Binary[] = [];
  if ("around" in splitting) {
    let start = 0;
    const isSpecial = (at: number) => splitting.around.includes(input[at]!);
    for (let at = 1; at < input.length; at++) {
      if (!isSpecial(at - 1) && !isSpecial(at)) continue;
      pieces.push(input.slice(start, at));
      start = at;
    }
    if (start < input.length) pieces.push(input.slice(start));
    return pieces;
  }
  const { lengths } = splitting;
  for (let at = 0, turn = 0; at < input.length; turn++) {
    const length = lengths[turn % lengths.length]!;
    pieces.push(input.slice(at, at + length));
    at += length;
  }
  return pieces;
}

/** How many pieces are enough to stand for "one byte at a time". */
const MANY = 2_000;

/** Not split, one byte at a time, and as it says. */
export function splitsOf({ input, splitting }: SplitInput): Binary[][] {
  const least = Math.ceil(input.length / MANY);
  return [
    piecesOf(input, { lengths: [Infinity] }),
    piecesOf(input, { lengths: [Math.max(least, 1)] }),
    piecesOf(input, splitting),
  ];
}

/** What a peer says once, and then over and over without an end. */
export interface Endless {
  start: Binary;
  unit: Binary;
}

/** One of these, or the beginning of one with what another goes on with. */
export function endless(
  all: readonly Endless[],
): fc.Arbitrary<Endless> {
  const starts = fc.constantFrom(...all.map(({ start }) => start));
  const units = fc.constantFrom(...all.map(({ unit }) => unit));
  return mixed(
    [3, fc.constantFrom(...all)],
    [1, fc.record({ start: starts, unit: units })],
    [
      1,
      fc.record({
        start: fc.oneof(starts, noise(20)),
        unit: noise(20).map((text) => text || "x"),
      }),
    ],
  );
}
