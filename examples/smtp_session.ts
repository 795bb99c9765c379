/**
 * One client of the mail server: a conversation of commands and replies, with
 * a message in between.
 *
 * @module
 */

import { AsyncChat, type Channel, type Timer } from "@asyncore/asyncore";
import { isHttp } from "./browsers.ts";
import { createLogger, reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";
import {
  DataLines,
  parseClient,
  parseCommand,
  parseRecipient,
  parseSender,
  Refusal,
  traceHeaders,
} from "./smtp.ts";

/** The most bytes of a message. */
const LARGEST_MESSAGE = 10 * 1024 * 1024;
/** The most bytes of a command: 512 with its CR LF, and 43 that SIZE and BODY add. */
const LONGEST_COMMAND = 512 + 43 - 2;
const MOST_RECIPIENTS = 100;
/** After so many wrong commands, a client is none. */
const MOST_ERRORS = 20;
/** A client may say nothing for so many ms. */
const PATIENCE = 5 * 60_000;
/** The ms that it may take to complete a message when the server closes. */
const LAST_PATIENCE = 3_000;
const CLOSING = "421 The server is closing";

const CRLF = new TextEncoder().encode("\r\n");
const EXTENSIONS = ["PIPELINING", `SIZE ${LARGEST_MESSAGE}`, "8BITMIME"];

/** Where messages go. */
export interface MailStore {
  /** Begins a message. Nothing of it is kept before it is saved. */
  create(): IncomingMail;
}

/** A message on its way into a store: there whole, or not at all. */
export interface IncomingMail {
  /** It is never given twice. */
  readonly id: string;
  /** Where it will be, for the log. */
  readonly path: string;
  /** Adds bytes. Nothing is added while the promise, if there is one, is pending. */
  add(data: Uint8Array): void | Promise<void>;
  /**
   * Keeps it. When this is done, it outlives a power failure.
   *
   * @throws Why it cannot be kept; then nothing is left of it.
   */
  save(): Promise<void>;
  /** Leaves nothing of a message that will not be complete. */
  discard(): Promise<void>;
}

/** A message that is being received. */
interface Incoming {
  file: IncomingMail;
  lines: DataLines;
  size: number;
}

/** Talks with one client: commands, and after DATA the lines of a message. */
export class SmtpSession extends AsyncChat {
  override readonly logger = createLogger("SmtpSession");
  readonly #address: string;
  readonly #store: MailStore;
  readonly #patience: Timer;
  /** The beginning of a command that is too long. */
  #tooLong: Uint8Array | null = null;
  #errors = 0;
  #client = "";
  #isExtended = false;
  #sender: string | null = null;
  #recipients: string[] = [];
  #message: Incoming | null = null;
  /** The message on its way is the last one. */
  #isEnding = false;

  constructor(conn: Channel, address: string, store: MailStore) {
    super(conn);
    this.#address = address;
    this.#store = store;
    this.#patience = this.callLater(PATIENCE, () => this.#hangUp("421 Bored"));
    this.maxLength = LONGEST_COMMAND;
    this.setTerminator("\r\n");
    this.#reply("220 localhost ESMTP");
  }

  /** A client that does not read its answers is not read either. */
  override readable() {
    return this.bufferedAmount < this.highWaterMark;
  }

  override handleRead() {
    this.#patience.reset();
    return super.handleRead();
  }

  /** While the promise is pending, nothing is read: the disk sets the pace. */
  override collectIncomingData(data: Uint8Array): void | Promise<void> {
    const message = this.#message;
    if (message) return this.#add(message, message.lines.add(data));
    super.collectIncomingData(data);
  }

  /** Bytes that are not taken here are dropped. */
  override handleOverflow() {
    this.#tooLong ??= this.takeData();
  }

  override foundTerminator(): void | Promise<void> {
    const message = this.#message;
    if (message === null) this.#obeyLine();
    else if (!message.lines.end()) return this.#add(message, CRLF);
    else return this.#finish(message);
  }

  override handleClose() {
    if (this.#message) this.logger.info(`${this.#address} left amid a message`);
    this.close();
  }

  override close() {
    super.close();
    this.#discard();
  }

  override abort() {
    super.abort();
    this.#discard();
  }

  /** A message that was not acknowledged is still the client's. */
  #discard() {
    this.#message?.file.discard();
    this.#message = null;
  }

  /**
   * Comes when no promise is pending: a message that is complete has its answer.
   * The client may still complete the message that it is sending.
   */
  override handleShutdown() {
    if (this.#message === null) return this.#hangUp(CLOSING);
    this.#isEnding = true;
    this.callLater(LAST_PATIENCE, () => this.#hangUp(CLOSING));
  }

  #hangUp(reply: string) {
    this.#reply(reply);
    this.close(); // the reply still goes out
  }

  #reply(reply: string, about = "") {
    this.push(`${reply}\r\n`);
    if (!/^[45]/.test(reply)) return;
    this.logger.info(`${this.#address} ${about}-> ${reply}`);
    if (reply.startsWith("5") && ++this.#errors === MOST_ERRORS) {
      this.#hangUp("421 Too many errors");
    }
  }

  #obeyLine() {
    const rest = this.takeData();
    const line = String.fromCharCode(...this.#tooLong ?? rest);
    const isTooLong = this.#tooLong !== null;
    this.#tooLong = null;
    if (isHttp(line)) return this.#hangUp("421 This is no web server");
    try {
      if (isTooLong) throw new Refusal("500 The line is too long");
      const reply = this.#obey(...parseCommand(line));
      this.#reply(reply);
      if (reply.startsWith("221")) this.close();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#reply(error.message, `${quote(line)} `);
    }
  }

  /** Does what a command says, and returns the reply. */
  #obey(verb: string, argument: string): string {
    switch (verb) {
      case "HELO":
      case "EHLO":
        return this.#greet(parseClient(argument), verb === "EHLO");
      case "MAIL":
        return this.#mail(argument);
      case "RCPT":
        return this.#rcpt(argument);
      case "VRFY":
        if (argument === "") throw new Refusal("501 Syntax: VRFY name");
        return "252 I cannot say, but I will take the mail";
      case "NOOP":
        return "250 OK";
      case "HELP":
        return "214 See RFC 5321";
      case "DATA":
      case "QUIT":
      case "RSET":
        if (argument !== "") throw new Refusal(`501 Syntax: ${verb}`);
        if (verb === "DATA") return this.#data();
        if (verb === "QUIT") return "221 Bye";
        this.#reset();
        return "250 OK";
      case "AUTH":
      case "EXPN":
      case "STARTTLS":
        throw new Refusal(`502 ${verb} is not implemented`);
    }
    throw new Refusal("500 Unknown command");
  }

  #greet(client: string, isExtended: boolean): string {
    this.#client = client;
    this.#isExtended = isExtended;
    this.#reset();
    if (!isExtended) return "250 localhost";
    const lines = ["localhost", ...EXTENSIONS];
    const last = lines.length - 1;
    return lines.map((line, i) => `250${i < last ? "-" : " "}${line}`)
      .join("\r\n");
  }

  #mail(argument: string): string {
    if (this.#client === "") throw new Refusal("503 First EHLO or HELO");
    if (this.#sender !== null) throw new Refusal("503 There is a sender");
    const options = { maxSize: LARGEST_MESSAGE, isExtended: this.#isExtended };
    this.#sender = parseSender(argument, options);
    return "250 OK";
  }

  #rcpt(argument: string): string {
    if (this.#sender === null) throw new Refusal("503 First MAIL");
    const recipient = parseRecipient(argument);
    if (this.#recipients.length === MOST_RECIPIENTS) {
      throw new Refusal("452 Too many recipients");
    }
    this.#recipients.push(recipient);
    return "250 OK";
  }

  #data(): string {
    if (this.#recipients.length === 0) throw new Refusal("503 First RCPT");
    const file = this.#store.create();
    file.add(new TextEncoder().encode(traceHeaders({
      id: file.id,
      client: this.#client,
      address: this.#address,
      isExtended: this.#isExtended,
      sender: this.#sender!,
      recipients: this.#recipients,
      date: new Date(),
    })));
    this.#message = { file, lines: new DataLines(), size: 0 };
    this.maxLength = Infinity; // the message goes to the disk as it comes
    return "354 End with a dot on a line of its own";
  }

  #add(message: Incoming, data: Uint8Array): void | Promise<void> {
    const { file, size } = message;
    message.size += data.length;
    if (size > LARGEST_MESSAGE) return; // the rest of it
    if (message.size > LARGEST_MESSAGE) return file.discard();
    // A line that begins with a space would go on with the header above it.
    const [first] = data;
    if (size === 0 && (first === 0x20 || first === 0x09)) file.add(CRLF);
    return file.add(data);
  }

  async #finish(message: Incoming) {
    await this.#save(message);
    if (this.#isEnding) this.#hangUp(CLOSING);
  }

  async #save({ file, size }: Incoming) {
    const envelope = `<${this.#sender}> for ${this.#recipients.length}`;
    this.#message = null;
    this.#reset();
    this.maxLength = LONGEST_COMMAND;
    if (size > LARGEST_MESSAGE) {
      return this.#reply(`552 More than ${LARGEST_MESSAGE} bytes`);
    }
    try {
      await file.save();
      this.logger.info(`${file.path}: ${size} bytes from ${envelope}`);
      this.#reply(`250 Stored as ${file.id}`);
    } catch (error) {
      this.#reply("451 It could not be stored", `${reasonOf(error)} `);
    }
  }

  #reset() {
    this.#sender = null;
    this.#recipients = [];
  }
}
