/**
 * How the example programs are called, how they end, and what they refuse.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const CALLS = {
  file: "examples/command_line.ts",
  test: "tests/examples_test.ts",
};
const ENDS = {
  file: "examples/signals.ts",
  test: "tests/http_peers_test.ts",
};
const MAIL = {
  file: "examples/mail_folder.ts",
  test: "tests/smtp_server_test.ts",
};
const LOG = { test: "tests/replicated_log_test.ts" };
const HTTP = { test: "tests/http_request_test.ts" };

export const EXAMPLES: Mutation[] = [
  {
    ...CALLS,
    promise: "an example that is asked for help looks at nothing else",
    from: 'if (values["help"] === true) return null;',
    to: "",
    filter: "asked for help",
  },
  {
    ...CALLS,
    promise: "an unknown option of an example is refused",
    from: "if (!Object.hasOwn(options, name)) {",
    to: "if (false) {",
    filter: "a wrong call is refused: chat_server -p",
  },
  {
    ...CALLS,
    promise: "an argument of an example that is one too many is refused",
    from: "throw new UsageError(`Unexpected argument ${quote(unexpected)}`);",
    to: "",
    filter: "a wrong call is refused: smtp_server",
  },
  {
    ...CALLS,
    promise: "an option of an example that is given twice is refused",
    from: "if (seen.has(name))",
    to: "if (false)",
    filter: "a wrong call is refused: http_server",
  },
  {
    promise: "the proxy names the file of a certificate that it cannot use",
    file: "examples/tcp_proxy.ts",
    from: "const cert = readCertificate(certPath);",
    to: "const cert = readCertificate(keyPath);",
    test: "tests/tcp_proxy_test.ts",
    filter: "names the file",
  },
  {
    promise: "the proxy refuses a certificate that nobody would see",
    file: "examples/tcp_proxy.ts",
    from: "if (cert === undefined && key === undefined) return place;",
    to: "return place;",
    test: "tests/examples_test.ts",
    filter: "a wrong call is refused: tcp_proxy",
  },
  {
    promise: "an example names a path that it cannot use once",
    file: "examples/logging.ts",
    from: '.replace(/(?<=\\(os error \\d+\\)): .*$/, "")',
    to: "",
    test: "tests/examples_test.ts",
    filter: "cannot read",
  },
  {
    ...ENDS,
    promise: "SIGTERM lets the clients finish",
    from: ': ["SIGINT", "SIGTERM"];',
    to: ': ["SIGINT"];',
    filter: "finishes downloads",
  },
  {
    ...ENDS,
    promise: "a second signal waits for nobody",
    from: "    deadline = 0;\n",
    to: "",
    filter: "second signal",
  },
  {
    ...ENDS,
    promise: "a signal that comes twice is one",
    from: "if (now < echoesUntil) return;",
    to: "",
    test: "tests/tcp_proxy_test.ts",
    filter: "a few ms apart",
  },
  {
    ...MAIL,
    promise: "what a mail server that crashed has left is removed",
    from: "if (await file.tryLock(true)) await Deno.remove(part);",
    to: "",
    filter: "a crash has left",
  },
  {
    ...MAIL,
    promise: "no mail server removes what another one writes",
    from: "if (await file.tryLock(true)) await Deno.remove(part);",
    to: "await Deno.remove(part);",
    filter: "of another one",
  },
  {
    ...MAIL,
    promise: "no part of a message outlives the mail server",
    file: "examples/smtp_server.ts",
    from: "  await store.close();\n",
    to: "",
    filter: "second signal",
  },
  {
    ...MAIL,
    promise: "a message on its way may be completed at the end",
    file: "examples/smtp_session.ts",
    from: "if (this.#message === null) return this.#hangUp(CLOSING);",
    to: "return this.#hangUp(CLOSING);",
    filter: "on its way after SIGTERM",
  },
  {
    ...MAIL,
    promise: "a web page cannot post mail",
    file: "examples/smtp_session.ts",
    from: 'if (isHttp(line)) return this.#hangUp("421 This is no web server");',
    to: "",
    filter: "web browser",
  },
  {
    promise: "a web page cannot chat",
    file: "examples/chat_server.ts",
    from: 'if (this.name === "" && line.includes(" ") && isHttp(line)) {',
    to: "if (false) {",
    test: "tests/chat_server_test.ts",
    filter: "web browser",
  },
  {
    ...LOG,
    promise: "a web page cannot append records",
    file: "examples/replicated_primary.ts",
    from: "if (isHttp(line)) return this.close();",
    to: "",
    filter: "web browser",
  },
  {
    ...LOG,
    promise: "a client that has ended its side gets what it waits for",
    file: "examples/replicated_primary.ts",
    from: "if (this.#hasEnded && this.#waiting === 0)",
    to: "if (this.#hasEnded)",
    filter: "ended its side",
  },
  {
    ...LOG,
    promise: "a member stores what it has before it closes the file",
    file: "examples/replicated_log.ts",
    from: "  await member.records.store(); // before the disk is closed\n",
    to: "",
    filter: "before it ends",
  },
  {
    ...LOG,
    promise: "a letter without its end does not change the next line",
    file: "examples/replicated_link.ts",
    from: "this.#line + this.#decoder.decode()",
    to: "this.#line",
    filter: "a broken letter",
  },
  {
    ...HTTP,
    promise: "chunked is the last coding, and there once",
    file: "examples/http_request.ts",
    from: 'if (codings.indexOf("chunked") !== codings.length - 1) {',
    to: 'if (codings.at(-1) !== "chunked") {',
    filter: "codings",
  },
  {
    ...HTTP,
    promise: "a chunk's extension has a name",
    file: "examples/http_request.ts",
    from: "[ \\\\t]*;[ \\\\t]*${NAME}(?:",
    to: "[ \\\\t]*;[ \\\\t]*(?:${NAME})?(?:",
    filter: "extensions",
  },
  {
    ...HTTP,
    promise: "no answer is older than the file that it has",
    file: "examples/http_answer.ts",
    from: "new Date(Math.min(changed, now))",
    to: "new Date(changed)",
    filter: "later than its own",
  },
  {
    ...HTTP,
    promise: "a year of two digits is at most fifty years from now",
    file: "examples/http_date.ts",
    from: "Date.parse(date) > limit.getTime()",
    to: "false",
    filter: "three forms",
  },
];
