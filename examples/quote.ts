/**
 * Text from elsewhere, so that it can do no harm on a terminal.
 *
 * @module
 */

/** Text from elsewhere, fit for a log: quoted, escaped, cut. */
export function quote(text: string, longest = 40): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return escape(JSON.stringify(cut));
}

/** Control and formatting characters would let text draw on the terminal. */
export function escape(text: string): string {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}
