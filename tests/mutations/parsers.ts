/**
 * What the fuzzing finds: parsers that take one thing for another.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const CHAT = {
  file: "chat/collector.ts",
  test: "tests/fuzz/async_chat_fuzz.ts",
  filter: "AsyncChat takes in",
};
const SMTP = { file: "examples/smtp.ts", test: "tests/fuzz/smtp_fuzz.ts" };
const SESSION = {
  file: "examples/smtp_session.ts",
  test: "tests/fuzz/smtp_session_fuzz.ts",
};
const PATHS = {
  file: "examples/static_files.ts",
  test: "tests/fuzz/http_fuzz.ts",
  filter: "pathOf() names no",
};
const RANGES = {
  file: "examples/http_answer.ts",
  test: "tests/fuzz/http_fuzz.ts",
  filter: "parseRange() stays",
};
const REQUESTS = {
  file: "examples/http_request.ts",
  test: "tests/fuzz/http_fuzz.ts",
};
const ANSWERS = {
  test: "tests/fuzz/http_connection_fuzz.ts",
  filter: "HttpConnection answers",
};

export const PARSERS: Mutation[] = [
  {
    ...CHAT,
    promise: "a terminator that overlaps itself is found however it is split",
    file: "chat/terminator.ts",
    from: "matched = this.#fallback[matched]!;",
    to: "matched = 0;",
  },
  {
    ...CHAT,
    promise: "no more than maxLength bytes are collected without a terminator",
    from: "plain > this.maxLength - this.#collected",
    to: "plain > this.maxLength - this.#collected + 1",
  },
  {
    ...CHAT,
    promise: "what was held back and does not fit is looked at again",
    from: "if (count < Math.min(held, plain)) this.#unhold(count);\n" +
      "    else search.matched -= count;",
    to: "search.matched -= count;",
  },
  {
    ...CHAT,
    promise: "a terminator set from elsewhere is looked for in what was held",
    from: "    return wasHolding;",
    to: "    return false;",
  },
  {
    ...CHAT,
    promise: "a terminator that is found ends the count towards maxLength",
    from: "    if (!isFound) return;\n    this.#collected = 0;",
    to: "    if (!isFound) return;",
  },
  {
    ...CHAT,
    promise:
      "a terminator set at an overflow is looked for in all that follows",
    from: "    this.#plainTo = 0;\n    this.#isDue = false;\n" +
      "    this.#terminator = terminator;",
    to: "    this.#isDue = false;\n    this.#terminator = terminator;",
  },
  {
    promise: "bytes that were pushed may change, of a Buffer too",
    file: "chat/async_chat.ts",
    from: "bytes === data ? new Uint8Array(bytes) : bytes",
    to: "bytes.slice()",
    test: "tests/owned_memory_test.ts",
    filter: "push() copies a Buffer",
  },
  {
    promise: "bytes of a terminator may change, of a Buffer too",
    file: "chat/collector.ts",
    from: "new Terminator(new Uint8Array(bytes))",
    to: "new Terminator(bytes.slice())",
    test: "tests/owned_memory_test.ts",
    filter: "setTerminator() copies a Buffer",
  },
  {
    ...SMTP,
    promise: "a dot is unstuffed at the beginning of a line, not of a packet",
    from: "const isStuffed = this.#length === 0 && piece[0] === DOT;",
    to: "const isStuffed = piece[0] === DOT;",
    filter: "DataLines undoes",
  },
  {
    ...SMTP,
    promise: "only a lone dot ends a message",
    from: "const isLast = this.#isStuffed && this.#length === 1;",
    to: "const isLast = this.#isStuffed;",
    filter: "DataLines ends",
  },
  {
    ...SESSION,
    promise: "only CR LF ends a line of SMTP",
    from: 'this.setTerminator("\\r\\n");',
    to: 'this.setTerminator("\\n");',
    filter: "SmtpSession answers",
  },
  {
    ...SMTP,
    promise: "a control character in a command's argument is refused",
    from: "/^([a-z]+)(?: +([ -~]*))?$/i",
    to: "/^([a-z]+)(?: +([^]*))?$/i",
    filter: "parseCommand()",
  },
  {
    ...SMTP,
    promise: "a bare CR or LF at the end of a command is refused",
    from: '.exec(line.replace(/ +$/, ""))',
    to: ".exec(line.trimEnd())",
    filter: "parseCommand()",
  },
  {
    ...SMTP,
    promise: "no name of an envelope holds what would break out of a header",
    from: 'const LITERAL = "\\\\[[A-Za-z0-9.:\\\\-]+\\\\]";',
    to: 'const LITERAL = "\\\\[[^\\\\]]+\\\\]";',
    filter: "The parsers of",
  },
  {
    ...SESSION,
    promise: "a message cannot go on with the server's headers",
    from:
      "if (size === 0 && (first === 0x20 || first === 0x09)) file.add(CRLF);",
    to: "",
    filter: "SmtpSession stores",
  },
  {
    ...SESSION,
    promise: "a command that is too long is not kept",
    from: "if (!this.#isTooLong) this.#line += String",
    to: "this.#line += String",
    test: "tests/fuzz/memory_fuzz.ts",
    filter: "SmtpSession holds",
  },
  {
    ...SESSION,
    promise: "twenty wrong commands end a session",
    from: "++this.#errors === MOST_ERRORS",
    to: "++this.#errors > MOST_ERRORS",
    filter: "SmtpSession answers",
  },
  {
    ...PATHS,
    promise: "a target is decoded once",
    from: "return decodeURIComponent(name);",
    to: "return decodeURIComponent(decodeURIComponent(name));",
  },
  {
    ...PATHS,
    promise: "no name in a path begins with a dot",
    from: 'const isHidden = name.startsWith(".") && name !== PUBLIC_NAME;',
    to: 'const isHidden = name === "..";',
  },
  {
    ...PATHS,
    promise: "no name in a path holds a slash of either kind, or a NUL",
    from: "isHidden || NO_NAME.test(name)",
    to: "isHidden",
  },
  {
    ...ANSWERS,
    promise: "links do not lead out of the root",
    file: "examples/static_files.ts",
    from: "if (!withSlash(real).startsWith(this.#prefix)) " +
      "throw new HttpError(404);\n" +
      "    return `${this.#root}/${real.slice(this.#prefix.length)}`;",
    to: "return real;",
    filter: "StaticFiles.open() gives",
  },
  {
    ...ANSWERS,
    promise: "no folder's name becomes a header of an answer",
    file: "examples/static_files.ts",
    from: 'throw new HttpError(301, { "Location": slashed(target) });',
    to: 'throw new HttpError(301, { "Location": `/${path}/` });',
  },
  {
    ...RANGES,
    promise: "a range ends with the file",
    from: "Math.min(Number(last) + 1, size)",
    to: "Number(last) + 1",
  },
  {
    ...RANGES,
    promise: "a suffix is no longer than the file",
    from: "Math.min(Number(last), size)",
    to: "Number(last)",
  },
  {
    ...REQUESTS,
    promise: "a head has a limit",
    from: "if (this.#headLength > LONGEST_HEAD) {",
    to: "if (this.#headLength > Infinity) {",
    filter: "RequestParser gives up",
  },
  {
    ...REQUESTS,
    promise: "a body has a limit",
    from: "if (this.#bodyLength > LONGEST_BODY) throw new HttpError(413);",
    to: "",
    filter: "RequestParser gives up",
  },
  {
    ...REQUESTS,
    promise: "a control character in a request is refused",
    from: "if (CONTROL.test(line)) throw new HttpError(400);",
    to: "",
    filter: "RequestParser reads clear",
  },
  {
    ...REQUESTS,
    promise: "a length and a coding together are refused",
    from: "if (length !== undefined || isOld) throw new HttpError(400);",
    to: "",
    filter: "RequestParser reads clear",
  },
  {
    ...REQUESTS,
    promise: "after a chunk comes its CR LF",
    from: 'if (this.#state === "chunk") return this.#expect("chunk end");',
    to: 'if (this.#state === "chunk") return this.#expect("size");',
    filter: "RequestParser reads what",
  },
  {
    ...ANSWERS,
    promise: "the end of a client's stream waits for the answers",
    file: "examples/http_connection.ts",
    from: "return this.#waiting === 0 && !this.#isOver;",
    to: "return true;",
  },
  {
    ...ANSWERS,
    promise: "of a line in several packets, all is read",
    file: "examples/http_connection.ts",
    from: "this.#line += this.#decoder.decode(data);",
    to: "this.#line = this.#decoder.decode(data);",
  },
  {
    ...ANSWERS,
    promise: "a client that asked to close is answered, and no more",
    file: "examples/http_connection.ts",
    from: "if (!request.keepAlive) this.#end();",
    to: "",
  },
];
