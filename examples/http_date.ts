/**
 * Dates as HTTP writes them (RFC 9110, section 5.6.7): in the form of today,
 * and in the two that old clients still send.
 *
 * @module
 */

/** Such as `Sunday, 06-Nov-94 08:49:37 GMT`. */
const RFC_850 =
  /^(Sun|Mon|Tues|Wednes|Thurs|Fri|Satur)day, (\d\d)-(\w{3})-(\d\d) (\S+) GMT$/;
/** Such as `Sun Nov  6 08:49:37 1994`. */
const ASCTIME = /^(\w{3}) (\w{3}) ( \d|\d\d) (\S+) (\d{4})$/;

/**
 * Reads a date in any of the three forms.
 *
 * @param now The time, in ms since 1970. A year of two digits is at most 50
 * years later.
 * @returns Ms since 1970; NaN if there is no such date.
 */
export function parseDate(text: string, now: number): number {
  const date = modern(text, now).replace(/:60 GMT$/, ":59 GMT"); // a leap second
  const time = Date.parse(date);
  // Date.parse() understands more than this, and takes February 30 for March 1.
  return new Date(time).toUTCString() === date ? time : NaN;
}

/** A date of either old form in the form of today. */
function modern(text: string, now: number): string {
  const [, weekday, day, month, year, time] = RFC_850.exec(text) ?? [];
  if (weekday) {
    const inCentury = (century: number) =>
      `${weekday.slice(0, 3)}, ${day} ${month} ${century}${year} ${time} GMT`;
    const limit = new Date(now);
    const century = Math.floor(limit.getUTCFullYear() / 100);
    limit.setUTCFullYear(limit.getUTCFullYear() + 50);
    const date = inCentury(century);
    return Date.parse(date) > limit.getTime() ? inCentury(century - 1) : date;
  }
  return text.replace(
    ASCTIME,
    (_, weekday, month, day, time, year) =>
      `${weekday}, ${day.replace(" ", "0")} ${month} ${year} ${time} GMT`,
  );
}
