/**
 * The address of MAIL, RCPT and VRFY, read as Python's `smtpd` reads it: with
 * the grammar of header fields (RFC 5322), obsolete forms and comments included.
 */

/** An address, and the text behind it: the parameters. */
export interface ParsedAddress {
  address: string;
  rest: string;
}

/** A part of what stands before the "@". */
interface Word {
  text: string;
  /** White space or a comment stands before it. */
  lead: boolean;
  /** White space or a comment stands behind it. */
  trail: boolean;
}

const DOT: Word = { text: ".", lead: false, trail: false };
/** A backslash that escapes nothing. */
const BACKSLASH: Word = { text: "\\", lead: false, trail: false };
const ATOM = /[^()<>@,:;."[\]\\ \t]+/y;
const DOT_ATOM = new RegExp(
  `${ATOM.source}(?:\\.${ATOM.source})*(?!\\.|${ATOM.source})`,
  "y",
);
const QUOTED = /"((?:[^"\\]|\\[^]?)*)(?:"|$)/y;
const LITERAL = /\[\s*((?:[^\\[\] \t]|\\[^ \t])*(?:\\(?=[ \t]))?)\s*\]/y;
/** The local part is over. */
const END = ")<>@,:;[]";
const NEEDS_QUOTES = /[()<>@,:;"[\]\\ \t]/;

/**
 * Reads `<address> rest` or `address rest`.
 *
 * @throws {SyntaxError} If there is no address. Python's `smtpd` throws as well,
 * and so ends the session.
 */
export function parseAddress(text: string): ParsedAddress {
  const reader = new AddressReader(text);
  const address = text.trimStart().startsWith("<")
    ? reader.angleAddress()
    : reader.address();
  return { address: address.text, rest: reader.rest };
}

class AddressReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get rest(): string {
    return this.#text.slice(this.#at);
  }

  get #next(): string {
    return this.#text[this.#at] ?? "";
  }

  /** `<address>`, `<@route:address>` or `<>`; the end may be missing. */
  angleAddress(): { text: string } {
    this.#skipSpace();
    this.#expect("<");
    if (this.#skip(">")) return { text: "<>" };
    const start = this.#at;
    let found;
    try {
      found = this.address();
    } catch {
      this.#at = start;
      this.#skipRoute();
      found = this.address();
    }
    this.#skip(">");
    this.#skipSpace();
    return { text: found.local === "" ? `""${found.text}` : found.text };
  }

  /** `local@domain`, or the local part alone. */
  address(): { text: string; local: string } {
    const local = this.#localPart();
    const quoted = NEEDS_QUOTES.test(local)
      ? `"${local.replace(/[\\"]/g, "\\$&")}"`
      : local;
    const text = this.#skip("@") ? `${quoted}@${this.#domain()}` : quoted;
    return { text, local };
  }

  /** Source routes, `@one,@two:`, lead nowhere. */
  #skipRoute(): void {
    do this.#skipSpace(); while (this.#skip(","));
    this.#expect("@");
    this.#domain();
    while (this.#skip(",")) {
      this.#skipSpace();
      if (this.#skip("@")) this.#domain();
    }
    this.#expect(":");
  }

  #localPart(): string {
    const words: Word[] = [];
    let isOneQuote = false;
    for (;;) {
      const lead = this.#skipSpace();
      if (this.#next === "" || END.includes(this.#next)) break;
      isOneQuote = words.length === 0 && this.rest === '"';
      words.push(this.#word(lead));
    }
    if (words.length === 0 || isOneQuote) throw this.#wrong("a local part");
    // Around dots there is no white space.
    return words.map(({ text, lead, trail }, index) => {
      const before = words[index - 1] ?? DOT;
      const after = words[index + 1] ?? DOT;
      return (lead && before !== DOT ? " " : "") + text +
        (trail && after !== DOT ? " " : "");
    }).join("");
  }

  #word(lead: boolean): Word {
    if (this.#skip(".")) return DOT;
    if (this.#skip("\\")) return BACKSLASH;
    const quoted = this.#match(QUOTED)?.[1]?.replace(/\\([^]?)/g, "$1");
    const text = quoted ?? this.#match(ATOM)?.[0] ?? "";
    return { text, lead, trail: this.#skipSpace() };
  }

  #domain(): string {
    this.#skipSpace();
    const [literal, text] = this.#match(LITERAL) ?? [];
    if (literal !== undefined) {
      this.#skipSpace();
      return `[${text!.replace(/\\([^]?)/g, "$1")}]`;
    }
    let domain = this.#match(DOT_ATOM)?.[0] ?? this.#atom();
    this.#skipSpace();
    if (this.#next === "@") throw this.#wrong("the end of the domain");
    while (this.#skip(".")) domain += `.${this.#atom()}`;
    return domain.replace(/\s/g, "");
  }

  #atom(): string {
    this.#skipSpace();
    const atom = this.#match(ATOM)?.[0];
    if (atom === undefined) throw this.#wrong("a word");
    this.#skipSpace();
    return atom;
  }

  /** Skips white space and comments: whether there were any. */
  #skipSpace(): boolean {
    const start = this.#at;
    for (;;) {
      if (this.#next === "(") this.#skipComment();
      else if (this.#next === " " || this.#next === "\t") this.#match(/\s+/y);
      else return this.#at > start;
    }
  }

  /** Comments may stand in one another. */
  #skipComment(): void {
    let depth = 0;
    do {
      const next = this.#next;
      this.#at += next === "\\" ? 2 : 1;
      if (next === "(") depth++;
      if (next === ")" || next === "") depth--;
    } while (depth > 0 && this.#next !== "");
  }

  #skip(char: string): boolean {
    if (this.#next !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string): void {
    if (!this.#skip(char)) throw this.#wrong(`"${char}"`);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found !== null) this.#at = pattern.lastIndex;
    return found;
  }

  #wrong(wanted: string): SyntaxError {
    return new SyntaxError(`Expected ${wanted}, got "${this.rest}"`);
  }
}
