/**
 * Dates on simulated hosts: they show the host's clock, in the time zone UTC
 * and the language American English, wherever the test runs.
 *
 * @module
 */

import { type HostContext, hostContext } from "./host_context.ts";
import {
  type AnyFunction,
  functions,
  type OnHost,
  onHost,
  type Replacement,
} from "./replacements.ts";

/** The simulated time 0 as a date: the first of January 2030. */
export const EPOCH = 1_893_456_000_000;
const LOCALE = "en-US";
const TIME_ZONE = "UTC";

/** The host's time, in ms since 1970, as a value that the program has drawn. */
export function dateNow(host: HostContext): number {
  const now = EPOCH + Math.floor(host.now());
  host.drew(now);
  return now;
}

/** The parts of a date that depend on the time zone, but for `Date`'s own. */
const PARTS = [
  ...["Date", "FullYear", "Hours", "Milliseconds", "Minutes", "Month"],
  "Seconds",
];

/** A text that says its zone, or is taken for UTC anyway. */
const HAS_ZONE =
  /^[+-]?\d{4,6}(-\d\d(-\d\d)?)?$|(Z|[+-]\d\d:?\d\d|\b(UTC?|GMT|[ECMP][SD]T))\s*(\([^)]*\))?$/i;

function parse(RealDate: DateConstructor, text: string): number {
  if (HAS_ZONE.test(text.trim())) return RealDate.parse(text);
  const inZone = RealDate.parse(`${text}Z`);
  return Number.isNaN(inZone) ? RealDate.parse(`${text} UTC`) : inZone;
}

/** The arguments that make the same date wherever the program runs. */
function onlyUtc(
  RealDate: DateConstructor,
  args: unknown[],
  host: HostContext,
): unknown[] {
  const [first] = args;
  if (args.length === 0) return [dateNow(host)];
  if (args.length > 1) return [Reflect.apply(RealDate.UTC, null, args)];
  return typeof first === "string" ? [parse(RealDate, first)] : args;
}

/** A `Date` that shows the time of the host that asks. */
function dateOf(RealDate: DateConstructor): DateConstructor {
  const now = onHost(RealDate.now, dateNow);
  const parseHere = onHost(
    RealDate.parse as AnyFunction,
    (_, [text]) => parse(RealDate, `${text}`),
  );
  return new Proxy(RealDate, {
    get(target, name, receiver) {
      if (name === "now") return now;
      if (name === "parse") return parseHere;
      return Reflect.get(target, name, receiver);
    },
    construct(target, args, newTarget) {
      const host = hostContext.getStore();
      const parts = host ? onlyUtc(RealDate, args, host) : args;
      return Reflect.construct(target, parts, newTarget);
    },
    apply() {
      const host = hostContext.getStore();
      return host ? new RealDate(dateNow(host)).toString() : RealDate();
    },
  });
}

const realToString = Date.prototype.toString;

/** `Tue Jan 01 2030` and `00:00:00 GMT+0000 (…)`, or that it is invalid. */
function textOf(date: Date, parts: "day" | "time" | "both"): string {
  const text = /^(\w+), (\d+) (\w+) (\S+) (\S+)/;
  // Throws if it is no date.
  if (Number.isNaN(date.getTime())) return realToString.call(date);
  const [, weekday, day, month, year, time] = text.exec(date.toUTCString())!;
  const first = `${weekday} ${month} ${day} ${year}`;
  const second = `${time} GMT+0000 (Coordinated Universal Time)`;
  if (parts === "both") return `${first} ${second}`;
  return parts === "day" ? first : second;
}

function dateParts(): Replacement[] {
  const all: Record<string, OnHost> = {
    getTimezoneOffset: () => 0,
    getYear: (_, _args, self) => (self as Date).getUTCFullYear() - 1900,
    getDay: (_, _args, self) => (self as Date).getUTCDay(),
  };
  for (const part of PARTS) {
    for (const verb of ["get", "set"]) {
      const utc = Date.prototype[
        `${verb}UTC${part}` as "getUTCDate"
      ] as AnyFunction;
      all[verb + part] = (_, args, self) => Reflect.apply(utc, self, args);
    }
  }
  return functions(Date.prototype, all);
}

function dateTexts(): Replacement[] {
  const text = (parts: "day" | "time" | "both"): OnHost => (_, _args, self) =>
    textOf(self as Date, parts);
  return functions(Date.prototype, {
    toString: text("both"),
    toDateString: text("day"),
    toTimeString: text("time"),
  });
}

/** The locale of an argument, or the hosts'. */
function localeOf(locales: unknown): unknown {
  const isNone = locales === undefined ||
    Array.isArray(locales) && locales.length === 0;
  return isNone ? LOCALE : locales;
}

/** Gives a function the hosts' locale, at the place of the argument. */
function localized(place: number, hasZone = false): Replacement["make"] {
  return ((original: AnyFunction) =>
    onHost(original, (_, args, self) => {
      const given = [...args];
      while (given.length < place) given.push(undefined);
      given[place] = localeOf(args[place]);
      if (hasZone) given[place + 1] = inZone(args[place + 1]);
      return Reflect.apply(original, self, given);
    })) as Replacement["make"];
}

function inZone(options: unknown): unknown {
  const { timeZone = TIME_ZONE } = (options ?? {}) as {
    timeZone?: string | undefined;
  };
  return { ...(options as object), timeZone };
}

function localTexts(): Replacement[] {
  const bytes = Object.getPrototypeOf(Uint8Array.prototype);
  const dates = ["toLocaleString", "toLocaleDateString", "toLocaleTimeString"];
  const numbers = [Number.prototype, BigInt.prototype, Array.prototype, bytes];
  const temporal = Object.values(
    Object.getOwnPropertyDescriptors(globalThis.Temporal ?? {}),
  ).map(({ value }) => value?.prototype);
  return [
    ...dates.map((name) => ({
      owner: Date.prototype,
      name,
      make: localized(0, true),
    })),
    ...[...numbers, ...temporal].map((owner) => ({
      owner,
      name: "toLocaleString",
      make: localized(0),
    })),
    ...["toLocaleLowerCase", "toLocaleUpperCase"].map((name) => ({
      owner: String.prototype,
      name,
      make: localized(0),
    })),
    { owner: String.prototype, name: "localeCompare", make: localized(1) },
  ];
}

/** A class of `Intl` whose default locale and time zone are the hosts'. */
function formatOf<T extends AnyFunction>(Original: T, hasZone: boolean): T {
  const given = (args: unknown[]): unknown[] => {
    if (!hostContext.getStore()) return args;
    const [locales, options] = args;
    return [localeOf(locales), hasZone ? inZone(options) : options];
  };
  return new Proxy(Original, {
    apply: (target, self, args) => Reflect.apply(target, self, given(args)),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, given(args), newTarget),
  });
}

function formats(): Replacement[] {
  const names = Object.getOwnPropertyNames(Intl).filter((name) =>
    // The other classes have no default: a locale is what they are made of.
    /^[A-Z]/.test(name) && name !== "Locale" && name !== "DisplayNames"
  );
  const prototype = Intl.DateTimeFormat.prototype;
  return [
    ...names.map((name) => ({
      owner: Intl,
      name,
      make: (original: AnyFunction) =>
        formatOf(original, name === "DateTimeFormat"),
    })),
    {
      owner: prototype,
      name: "format",
      isGetter: true,
      make: (get: AnyFunction) =>
        onHost(get, (host, _, self) => {
          const format = get.call(self) as AnyFunction;
          return (date?: unknown) => format(date ?? dateNow(host));
        }),
    },
    {
      owner: prototype,
      name: "formatToParts",
      make: (original: AnyFunction) =>
        onHost(
          original,
          (host, [date], self) => original.call(self, date ?? dateNow(host)),
        ),
    },
  ];
}

/** `Temporal.Now`, which some builds of Deno do not have. */
function temporalNow(): Replacement[] {
  if (!globalThis.Temporal) return [];
  const instant = (host: HostContext) =>
    Temporal.Instant.fromEpochMilliseconds(dateNow(host));
  const zoned = (host: HostContext, [zone = TIME_ZONE]: unknown[]) =>
    instant(host).toZonedDateTimeISO(zone as string);
  return functions(Temporal.Now, {
    instant,
    timeZoneId: () => TIME_ZONE,
    zonedDateTimeISO: zoned,
    plainDateTimeISO: (host, args) => zoned(host, args).toPlainDateTime(),
    plainDateISO: (host, args) => zoned(host, args).toPlainDate(),
    plainTimeISO: (host, args) => zoned(host, args).toPlainTime(),
  });
}

/** A `File` that was modified at the host's time, unless its maker says when. */
function fileOf(Original: typeof File): typeof File {
  return new Proxy(Original, {
    construct(target, [parts, name, options], newTarget) {
      const host = hostContext.getStore();
      const given = host
        ? { ...options, lastModified: options?.lastModified ?? dateNow(host) }
        : options;
      return Reflect.construct(target, [parts, name, given], newTarget);
    },
  });
}

/** All that makes dates, or texts of a country. */
export function dateReplacements(): Replacement[] {
  return [
    ...dateParts(),
    ...dateTexts(),
    ...localTexts(),
    ...formats(),
    ...temporalNow(),
    { owner: globalThis, name: "File", make: fileOf },
    { owner: globalThis, name: "Date", make: dateOf },
  ];
}
