/**
 * The grammar of SMTP (RFC 5321), without a socket: commands, mailboxes, and the
 * end of a message.
 *
 * @module
 */

/** A wrong command: the message is the reply to the client. */
export class Refusal extends Error {
  override readonly name = "Refusal";
}

const ATOM = "[\\w!#$%&'*+\\-/=?^`{|}~]+";
const QUOTED = '"(?:[ !#-\\[\\]-~]|\\\\[ -~])*"';
const LABEL = "[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*";
const DOMAIN = `${LABEL}(?:\\.${LABEL})*`;
const LITERAL = "\\[[A-Za-z0-9.:\\-]+\\]";
const ROUTE = `@${DOMAIN}(?:,@${DOMAIN})*:`;

const MAILBOX = new RegExp(
  `^(${ATOM}(?:\\.${ATOM})*|${QUOTED})@(${DOMAIN}|${LITERAL})$`,
);
/** Inside quotes, a path may hold the `>` that would end it; a route is old. */
const PATH = new RegExp(`^<(?:${ROUTE})?((?:${QUOTED}|[^">])*)>(?: (.*))?$`);
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?$/;
/** A client's name for itself: looser than a domain, for machines with `_`. */
const CLIENT = new RegExp(`^(?:[\\w.-]+|${LITERAL})$`);

/**
 * Takes a line apart.
 *
 * @returns The verb in capitals, and its argument.
 * @throws {Refusal} If it is no command. A bare CR or LF is as wrong in it as
 * any other control character.
 */
export function parseCommand(line: string): [verb: string, argument: string] {
  const [, verb, argument = ""] = /^([a-z]+)(?: +([ -~]*))?$/i
    .exec(line.replace(/ +$/, "")) ?? [];
  if (verb === undefined) throw new Refusal("500 Syntax error");
  return [verb.toUpperCase(), argument];
}

/**
 * The name that a client gives itself with HELO or EHLO.
 *
 * @throws {Refusal} If it is no name.
 */
export function parseClient(argument: string): string {
  if (argument.length <= 255 && CLIENT.test(argument)) return argument;
  throw new Refusal("501 Your domain or address, please");
}

/** The server's offers, and so the parameters of MAIL. */
export interface MailOptions {
  /** The most bytes of a message. */
  maxSize: number;
  /** Whether the client said EHLO; otherwise there are no parameters. */
  isExtended: boolean;
}

/**
 * The sender that MAIL names, `""` for nobody.
 *
 * @throws {Refusal} If the syntax is wrong, or the message will be too large.
 */
export function parseSender(argument: string, options: MailOptions): string {
  const { path, parameters } = parseEnvelope("FROM", argument);
  for (const [name, value] of parameters) {
    if (!options.isExtended || !["SIZE", "BODY"].includes(name)) {
      throw unknownParameter(name);
    }
    const pattern = name === "SIZE" ? /^\d{1,20}$/ : /^(?:7BIT|8BITMIME)$/i;
    if (!pattern.test(value)) {
      throw new Refusal(`501 ${name} has a wrong value`);
    }
  }
  if (Number(parameters.get("SIZE") ?? 0) > options.maxSize) {
    throw new Refusal(`552 A message has at most ${options.maxSize} bytes`);
  }
  return path;
}

/**
 * The recipient that RCPT names.
 *
 * @throws {Refusal} If the syntax is wrong.
 */
export function parseRecipient(argument: string): string {
  const { path, parameters } = parseEnvelope("TO", argument);
  if (path === "") throw new Refusal("501 A recipient, please");
  const [name] = parameters.keys();
  if (name) throw unknownParameter(name);
  return path;
}

/** A reply has at most 512 bytes (RFC 5321, section 4.5.3.1.5). */
function unknownParameter(name: string): Refusal {
  return new Refusal(`555 Parameter ${name.slice(0, 40)} is not known`);
}

/** Takes `FROM:<path> NAME=VALUE …` apart. */
function parseEnvelope(keyword: "FROM" | "TO", argument: string) {
  const prefix = `${keyword}:`;
  const [, path, rest] =
    argument.slice(0, prefix.length).toUpperCase() === prefix
      ? PATH.exec(argument.slice(prefix.length)) ?? []
      : [];
  if (path === undefined || !isPath(path, keyword)) {
    throw new Refusal(`501 Syntax: ${keyword}:<local-part@domain>`);
  }
  const parameters = new Map<string, string>();
  for (const text of rest?.split(/ +/).filter(Boolean) ?? []) {
    const [, name, value = ""] = PARAMETER.exec(text) ?? [];
    const key = name?.toUpperCase();
    if (key === undefined || parameters.has(key)) {
      throw new Refusal("501 Syntax error in the parameters");
    }
    parameters.set(key, value);
  }
  return { path, parameters };
}

function isPath(path: string, keyword: "FROM" | "TO"): boolean {
  if (path === "") return keyword === "FROM";
  if (keyword === "TO" && /^postmaster$/i.test(path)) return true;
  const [, local, domain] = MAILBOX.exec(path) ?? [];
  return local !== undefined && local.length <= 64 && domain!.length <= 255;
}

const DOT = 0x2e;

/**
 * Finds the end of a message, and takes away the dot that the client put before
 * lines that begin with a dot. A line ends with CR LF and with nothing else: a
 * server that took a bare LF for an end could be made to see a second message
 * where other servers see one ("SMTP smuggling").
 */
export class DataLines {
  #length = 0;
  #isStuffed = false;

  /** A piece of a line, which may come in many; returns what of it is meant. */
  add(piece: Uint8Array): Uint8Array {
    const isStuffed = this.#length === 0 && piece[0] === DOT;
    this.#isStuffed ||= isStuffed;
    this.#length += piece.length;
    return isStuffed ? piece.subarray(1) : piece;
  }

  /** CR LF has come; returns whether the line was a lone dot: the end. */
  end(): boolean {
    const isLast = this.#isStuffed && this.#length === 1;
    this.#length = 0;
    this.#isStuffed = false;
    return isLast;
  }
}

/** Where a message came from and whom it is for. */
export interface Trace {
  id: string;
  /** The client's name for itself. */
  client: string;
  /** Whence it called. */
  address: string;
  isExtended: boolean;
  sender: string;
  recipients: string[];
  date: Date;
}

/**
 * The headers that the last server puts above a message. It alone knows the
 * recipients, some of which the message itself may not name.
 */
export function traceHeaders(trace: Trace): string {
  const literal = trace.address.includes(":")
    ? `IPv6:${trace.address}`
    : trace.address;
  const protocol = trace.isExtended ? "ESMTP" : "SMTP";
  const date = trace.date.toUTCString().replace("GMT", "+0000");
  return [
    `Return-Path: <${trace.sender}>`,
    ...trace.recipients.map((recipient) => `Delivered-To: <${recipient}>`),
    `Received: from ${trace.client} ([${literal}])`,
    `\tby localhost with ${protocol} id ${trace.id};`,
    `\t${date}`,
    "",
  ].join("\r\n");
}
