/**
 * Python's `smtpd` for programs that derive their server from `SMTPServer`:
 * override `processMessage()`. The answers are those of Python 3.11, with
 * `decode_data=False`: a message is bytes.
 */

import { Buffer } from "node:buffer";
import {
  type Address,
  AsyncChat,
  type Channel,
  Dispatcher,
} from "@asyncore/asyncore";
import { parseAddress, type ParsedAddress } from "./mail_address.ts";

const VERSION = "Python SMTP proxy version 0.3";
const DATA_SIZE_DEFAULT = 33_554_432;
const COMMAND_SIZE_LIMIT = 512;
const COMMANDS = "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY";
const PARAMETERS = " [SP <mail-parameters>]";
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What `process_message()` gets. */
export interface Message {
  peer: Deno.NetAddr;
  mailfrom: string;
  rcpttos: string[];
  data: Uint8Array;
  mailOptions: string[];
  rcptOptions: string[];
}

/** The options of a server. */
export interface SmtpServerOptions {
  /** The most bytes of a message; 0 for any number. */
  dataSizeLimit?: number;
  /** Whether to offer SMTPUTF8. */
  enableSmtputf8?: boolean;
}

type Verb = (this: SmtpChannel, arg: string | null) => void;

/** A session with one client. */
export class SmtpChannel extends AsyncChat {
  /** The longest command that anybody may send now: EHLO allows for parameters. */
  static commandSizeLimits = new Map<string, number>();

  readonly smtpServer: SmtpServer;
  readonly peer: Deno.NetAddr;
  readonly fqdn: string = Deno.hostname();
  readonly dataSizeLimit: number;
  readonly enableSmtputf8: boolean;
  smtpState: "COMMAND" | "DATA" = "COMMAND";
  seenGreeting = "";
  extendedSmtp = false;
  requireSmtputf8 = false;
  numBytes = 0;
  mailfrom = "";
  rcpttos: string[] = [];
  mailOptions: string[] = [];
  rcptOptions: string[] = [];

  constructor(
    server: SmtpServer,
    conn: Channel,
    addr: Deno.NetAddr,
    { dataSizeLimit = DATA_SIZE_DEFAULT, enableSmtputf8 = false }:
      SmtpServerOptions,
  ) {
    // collectIncomingData() keeps to the limits.
    super(conn, { map: server.map, maxLength: Infinity });
    this.smtpServer = server;
    this.peer = addr;
    this.dataSizeLimit = dataSizeLimit;
    this.enableSmtputf8 = enableSmtputf8;
    this.setTerminator("\r\n");
    SmtpChannel.commandSizeLimits.clear();
    this.say(`220 ${this.fqdn} ${VERSION}`);
  }

  /** Begins a new message. */
  reset() {
    this.smtpState = "COMMAND";
    this.mailfrom = "";
    this.rcpttos = [];
    this.requireSmtputf8 = false;
    this.numBytes = 0;
    this.setTerminator("\r\n");
  }

  /** Python's push(). */
  say(line: string) {
    if (!this.requireSmtputf8 && /[^\0-\x7f]/.test(line)) {
      throw new TypeError(`Cannot answer in ASCII: ${line}`);
    }
    this.push(`${line}\r\n`);
  }

  override collectIncomingData(data: Uint8Array) {
    const limit = this.smtpState === "DATA"
      ? this.dataSizeLimit
      : Math.max(COMMAND_SIZE_LIMIT, ...SmtpChannel.commandSizeLimits.values());
    if (limit > 0) {
      if (this.numBytes > limit) return;
      this.numBytes += data.length;
    }
    super.collectIncomingData(data);
  }

  override foundTerminator() {
    const data = this.takeData();
    if (this.smtpState === "DATA") this.takeMessage(data);
    else this.takeCommand(data);
  }

  takeCommand(data: Uint8Array) {
    const size = this.numBytes;
    this.numBytes = 0;
    if (data.length === 0) return this.say("500 Error: bad syntax");
    const line = decoder.decode(data);
    const space = line.indexOf(" ");
    const command = (space < 0 ? line : line.slice(0, space)).toUpperCase();
    const arg = space < 0 ? null : line.slice(space + 1).trim();
    const limit = this.extendedSmtp
      ? SmtpChannel.commandSizeLimits.get(command)
      : undefined;
    if (size > (limit ?? COMMAND_SIZE_LIMIT)) {
      return this.say("500 Error: line too long");
    }
    const method = VERBS.get(command);
    if (method === undefined) {
      return this.say(`500 Error: command "${command}" not recognized`);
    }
    method.call(this, arg);
  }

  takeMessage(raw: Uint8Array) {
    if (this.dataSizeLimit > 0 && this.numBytes > this.dataSizeLimit) {
      // As in Python, the next lines are still a message.
      this.numBytes = 0;
      return this.say("552 Error: Too much mail data");
    }
    const lines = Buffer.from(raw).toString("latin1").split("\r\n");
    const text = lines.map((line) => line.replace(/^\./, "")).join("\n");
    const { peer, mailfrom, rcpttos, mailOptions, rcptOptions } = this;
    const status = this.smtpServer.processMessage({
      peer,
      mailfrom,
      rcpttos,
      data: Buffer.from(text, "latin1"),
      mailOptions,
      rcptOptions,
    });
    this.reset();
    this.say(status || "250 OK");
  }

  // The commands

  smtpHelo(arg: string | null) {
    if (!arg) return this.say("501 Syntax: HELO hostname");
    if (this.seenGreeting) return this.say("503 Duplicate HELO/EHLO");
    this.reset();
    this.seenGreeting = arg;
    this.say(`250 ${this.fqdn}`);
  }

  smtpEhlo(arg: string | null) {
    if (!arg) return this.say("501 Syntax: EHLO hostname");
    if (this.seenGreeting) return this.say("503 Duplicate HELO/EHLO");
    this.reset();
    this.seenGreeting = arg;
    this.extendedSmtp = true;
    this.say(`250-${this.fqdn}`);
    if (this.dataSizeLimit > 0) {
      this.say(`250-SIZE ${this.dataSizeLimit}`);
      this.allowLongerMail(26);
    }
    this.say("250-8BITMIME");
    if (this.enableSmtputf8) {
      this.say("250-SMTPUTF8");
      this.allowLongerMail(10);
    }
    this.say("250 HELP");
  }

  /** RFC 1870 and 6531: with their parameters, MAIL may be so much longer. */
  allowLongerMail(bytes: number) {
    const limits = SmtpChannel.commandSizeLimits;
    limits.set("MAIL", (limits.get("MAIL") ?? COMMAND_SIZE_LIMIT) + bytes);
  }

  smtpNoop(arg: string | null) {
    this.say(arg ? "501 Syntax: NOOP" : "250 OK");
  }

  smtpQuit() {
    this.say("221 Bye");
    this.closeWhenDone();
  }

  smtpHelp(arg: string | null) {
    if (!arg) return this.say(`250 Supported commands: ${COMMANDS}`);
    const syntax = SYNTAX.get(arg.toUpperCase());
    if (syntax === undefined) {
      return this.say(`501 Supported commands: ${COMMANDS}`);
    }
    const takesMore = this.extendedSmtp && /:/.test(syntax);
    this.say(`250 Syntax: ${syntax}${takesMore ? PARAMETERS : ""}`);
  }

  smtpVrfy(arg: string | null) {
    if (!arg) return this.say("501 Syntax: VRFY <address>");
    const { address } = parseAddress(arg);
    if (!address) return this.say(`502 Could not VRFY ${arg}`);
    this.say(
      "252 Cannot VRFY user, but will accept message and attempt delivery",
    );
  }

  smtpMail(arg: string | null) {
    if (!this.seenGreeting) return this.say("503 Error: send HELO first");
    const syntax = this.syntaxError("MAIL");
    const found = this.pathOf(arg, "FROM:");
    if (found === null) return this.say(syntax);
    if (this.mailfrom) return this.say("503 Error: nested MAIL command");
    this.mailOptions = wordsOf(found.rest);
    const params = parametersOf(this.mailOptions);
    if (params === null) return this.say(syntax);
    const body = params.get("BODY") ?? "7BIT";
    if (body !== "7BIT" && body !== "8BITMIME") {
      return this.say("501 Error: BODY can only be one of 7BIT, 8BITMIME");
    }
    params.delete("BODY");
    if (this.enableSmtputf8 && params.has("SMTPUTF8")) {
      if (params.get("SMTPUTF8") !== true) {
        return this.say("501 Error: SMTPUTF8 takes no arguments");
      }
      params.delete("SMTPUTF8");
      this.requireSmtputf8 = true;
    }
    const size = params.get("SIZE");
    if (size === true) throw new TypeError("SIZE has no value");
    if (size !== undefined) {
      if (!/^[0-9]+$/.test(size)) return this.say(syntax);
      if (this.dataSizeLimit > 0 && Number(size) > this.dataSizeLimit) {
        return this.say(
          "552 Error: message size exceeds fixed maximum message size",
        );
      }
      params.delete("SIZE");
    }
    if (params.size > 0) {
      return this.say(
        "555 MAIL FROM parameters not recognized or not implemented",
      );
    }
    this.mailfrom = found.address;
    this.say("250 OK");
  }

  smtpRcpt(arg: string | null) {
    if (!this.seenGreeting) return this.say("503 Error: send HELO first");
    if (!this.mailfrom) return this.say("503 Error: need MAIL command");
    const syntax = this.syntaxError("RCPT");
    const found = this.pathOf(arg, "TO:");
    if (found === null) return this.say(syntax);
    this.rcptOptions = wordsOf(found.rest);
    const params = parametersOf(this.rcptOptions);
    if (params === null) return this.say(syntax);
    if (params.size > 0) {
      return this.say(
        "555 RCPT TO parameters not recognized or not implemented",
      );
    }
    this.rcpttos.push(found.address);
    this.say("250 OK");
  }

  syntaxError(command: string): string {
    const more = this.extendedSmtp ? PARAMETERS : "";
    return `501 Syntax: ${SYNTAX.get(command)}${more}`;
  }

  /** The address behind `FROM:` or `TO:`; `null` if there is none. */
  pathOf(arg: string | null, keyword: string): ParsedAddress | null {
    if (arg?.slice(0, keyword.length).toUpperCase() !== keyword) return null;
    const path = arg.slice(keyword.length).trim();
    if (path === "") return null;
    const found = parseAddress(path);
    if (!found.address) return null;
    return found.rest !== "" && !this.extendedSmtp ? null : found;
  }

  smtpRset(arg: string | null) {
    if (arg) return this.say("501 Syntax: RSET");
    this.reset();
    this.say("250 OK");
  }

  smtpData(arg: string | null) {
    if (!this.seenGreeting) return this.say("503 Error: send HELO first");
    if (this.rcpttos.length === 0) {
      return this.say("503 Error: need RCPT command");
    }
    if (arg) return this.say("501 Syntax: DATA");
    this.smtpState = "DATA";
    this.setTerminator("\r\n.\r\n");
    this.say("354 End data with <CR><LF>.<CR><LF>");
  }

  smtpExpn() {
    this.say("502 EXPN not implemented");
  }
}

const VERBS = new Map<string, Verb>([
  ["HELO", SmtpChannel.prototype.smtpHelo],
  ["EHLO", SmtpChannel.prototype.smtpEhlo],
  ["NOOP", SmtpChannel.prototype.smtpNoop],
  ["QUIT", SmtpChannel.prototype.smtpQuit],
  ["HELP", SmtpChannel.prototype.smtpHelp],
  ["VRFY", SmtpChannel.prototype.smtpVrfy],
  ["MAIL", SmtpChannel.prototype.smtpMail],
  ["RCPT", SmtpChannel.prototype.smtpRcpt],
  ["RSET", SmtpChannel.prototype.smtpRset],
  ["DATA", SmtpChannel.prototype.smtpData],
  ["EXPN", SmtpChannel.prototype.smtpExpn],
]);

const SYNTAX = new Map([
  ["EHLO", "EHLO hostname"],
  ["HELO", "HELO hostname"],
  ["MAIL", "MAIL FROM: <address>"],
  ["RCPT", "RCPT TO: <address>"],
  ["DATA", "DATA"],
  ["RSET", "RSET"],
  ["NOOP", "NOOP"],
  ["QUIT", "QUIT"],
  ["VRFY", "VRFY <address>"],
]);

function wordsOf(text: string): string[] {
  return text.toUpperCase().split(/\s+/).filter((word) => word);
}

/** The parameters by name (RFC 1869); `null` if one is malformed. */
function parametersOf(words: string[]): Map<string, string | true> | null {
  const params = new Map<string, string | true>();
  for (const word of words) {
    const [, name, value] = /^([\p{L}\p{N}]+)(?:=(.+))?$/u.exec(word) ?? [];
    if (name === undefined) return null;
    params.set(name, value ?? true);
  }
  return params;
}

/** Takes clients: derive a class, and override `processMessage()`. */
export class SmtpServer extends Dispatcher {
  channelClass: typeof SmtpChannel = SmtpChannel;
  readonly options: SmtpServerOptions;

  constructor(localaddr: Address, options: SmtpServerOptions = {}) {
    super();
    this.options = options;
    this.createSocket();
    this.setReuseAddr();
    this.bind(localaddr);
    this.listen(5);
  }

  override handleAccepted(conn: Channel, addr: Deno.NetAddr) {
    new this.channelClass(this, conn, addr, this.options);
  }

  /**
   * A message has arrived.
   *
   * @returns What to answer; nothing for `250 OK`.
   */
  processMessage(_message: Message): string | void {
    throw new Error("processMessage() must be overridden");
  }
}
