/**
 * A chat room for lines of text: each guest hears all others. Nobody waits for
 * a slow reader: the room puts it out.
 *
 *     deno run --allow-net examples/chat_server.ts [--port PORT]
 *     deno task example chat_server    (where JSR cannot be reached)
 *
 * Without a port it takes a free one and says which. Come in with
 * `nc 127.0.0.1 PORT`, as often as you like; Ctrl-C or SIGTERM closes the room.
 *
 * @module
 */

import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";
import { isHttp } from "./browsers.ts";
import { parsePort, runCommand } from "./command_line.ts";
import { addressText, createLogger, reasonOf } from "./logging.ts";
import { shutdownAtSignal } from "./signals.ts";

const USAGE = `\
Usage: chat_server.ts [--port PORT] [--help]

A chat room for lines of text. Come in with "nc 127.0.0.1 PORT", as often as
you like. Ctrl-C or SIGTERM closes the room.

  --port PORT  where to listen; by default on any free port`;
const HELP = [
  "/who             who is here",
  "/msg NAME TEXT   tell one of them alone",
  "/quit            leave",
];

/** The most bytes of a line. A longer one is refused, and its writer stays. */
const LONGEST_LINE = 512;
/** A guest who has so many bytes still to read is put out: no memory beyond it. */
const FURTHEST_BEHIND = 256 * 1024;
/** Nobody is listened to more often than each so many ms … */
const BREATH = 50;
/** … nor to more bytes at a time: nobody can talk faster than others read. */
const MOUTHFUL = 1024;

/** Letters and digits of any script, none of them invisible. */
const NAME =
  /^(?![\p{M}\-])[[\p{L}\p{M}\p{N}_\-]--\p{Default_Ignorable_Code_Point}]{1,16}$/v;

/** Lets guests in, and knows those who have a name. */
export class ChatServer extends Dispatcher {
  override readonly logger = createLogger("ChatServer");
  readonly #guests = new Map<string, Guest>();
  readonly #news: { line: string; speaker: Guest | undefined }[] = [];

  constructor(port: number) {
    super();
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port });
    this.listen();
  }

  override handleAccepted(conn: Channel) {
    new Guest(conn, this);
  }

  /** Adds a guest, unless another has that name in capitals or not. */
  admit(guest: Guest): boolean {
    const key = guest.name.toLowerCase();
    if (this.#guests.has(key)) return false;
    this.#guests.set(key, guest);
    this.logger.info(`${guest.name} came`);
    this.tell(`* ${guest.name} has come`);
    return true;
  }

  /** Tells the others that a guest is gone; of one without a name they do not know. */
  dismiss(guest: Guest, how: string) {
    const key = guest.name.toLowerCase();
    if (this.#guests.get(key) !== guest) return;
    this.#guests.delete(key);
    this.logger.info(`${guest.name} ${how}`);
    this.tell(`* ${guest.name} ${how}`);
  }

  /** Says a line to all, but not to the one who said it. */
  tell(line: string, speaker?: Guest) {
    this.#news.push({ line, speaker });
    if (this.#news.length > 1) return; // told below, when it is its turn
    // A guest that falls behind is news for the rest: the list grows meanwhile.
    for (const { line, speaker } of this.#news) {
      for (const guest of this.#guests.values()) {
        if (guest !== speaker) guest.hear(line);
      }
    }
    this.#news.length = 0;
  }

  find(name: string): Guest | undefined {
    return this.#guests.get(name.normalize("NFKC").toLowerCase());
  }

  get names(): string[] {
    return Array.from(this.#guests.values(), ({ name }) => name).sort();
  }
}

/** One connection: gives its name, then talks. */
export class Guest extends AsyncChat {
  override readonly logger;
  readonly #room: ChatServer;
  /** The beginning of a line that is too long. */
  #tooLong: string | null = null;
  #isResting = false;
  /** Empty until it is known. */
  name = "";

  constructor(conn: Channel, room: ChatServer) {
    super(conn);
    this.#room = room;
    this.logger = room.logger;
    this.maxLength = LONGEST_LINE;
    this.acInBufferSize = MOUTHFUL;
    this.setTerminator("\n"); // nc ends a line with it, telnet with "\r\n"
    this.hear("* Welcome. What is your name?");
  }

  override readable() {
    return !this.#isResting;
  }

  override handleRead() {
    this.#isResting = true; // its next lines wait on its own machine
    this.callLater(BREATH, () => void (this.#isResting = false));
    return super.handleRead();
  }

  /** Bytes that are not taken here are dropped. */
  override handleOverflow() {
    if (this.#tooLong !== null) return;
    this.#tooLong = this.takeText();
    this.hear(`* That line is too long: at most ${LONGEST_LINE} bytes`);
  }

  override foundTerminator() {
    const rest = this.takeText();
    const line = harmless(this.#tooLong ?? rest).trim();
    const isRefused = this.#tooLong !== null;
    this.#tooLong = null;
    // No name has a blank, and later lines may begin in any way.
    if (this.name === "" && line.includes(" ") && isHttp(line)) {
      this.hear("* This is no web server");
      return this.#leave();
    }
    if (isRefused || line === "") return;
    if (line.startsWith("/")) this.#obey(line);
    else if (this.name === "") this.#introduce(line);
    else this.#room.tell(`<${this.name}> ${line}`, this);
  }

  override handleClose() {
    this.#leave();
  }

  override handleShutdown() {
    this.hear("* The room is closing");
    this.close(); // its last lines still go out, if it reads within 5 s
  }

  /** Sends a line; a guest that is too far behind is put out, without the rest. */
  hear(line: string) {
    if (this.bufferedAmount < FURTHEST_BEHIND) this.push(`${line}\r\n`);
    else {
      this.abort();
      this.#room.dismiss(this, "fell behind and was put out");
    }
  }

  #introduce(line: string) {
    const name = line.normalize("NFKC");
    if (!NAME.test(name)) {
      this.hear("* A name has 1 to 16 letters, digits, _ or -. Yours?");
      return;
    }
    this.name = name;
    if (this.#room.admit(this)) return;
    this.name = "";
    this.hear(`* ${name} is here already. Another name?`);
  }

  #obey(line: string) {
    const [command, to = "", ...words] = line.split(/\s+/);
    if (command === "/quit") this.#leave();
    else if (this.name === "") this.hear("* First your name, please");
    else if (command === "/who") this.hear(`* ${this.#room.names.join(", ")}`);
    else if (command === "/msg") this.#whisper(to, words.join(" "));
    else for (const line of HELP) this.hear(`* ${line}`);
  }

  #whisper(to: string, text: string) {
    const listener = this.#room.find(to);
    if (text === "") this.hear("* /msg NAME TEXT");
    else if (!listener) this.hear(`* There is no ${to} here`);
    else {
      listener.hear(`<${this.name}, to you alone> ${text}`);
      this.hear(`* To ${listener.name} alone: ${text}`);
    }
  }

  #leave() {
    this.close(); // its last lines still go out
    this.#room.dismiss(this, "has left");
  }
}

/** Text without what could draw on a terminal or turn its writing around. */
function harmless(text: string): string {
  return text.replace(/[\t\r]/g, " ")
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "\ufffd");
}

/** Serves until a signal; then everybody gets the last of what was said. */
async function serve(port: number): Promise<number> {
  let room: ChatServer;
  try {
    room = new ChatServer(port);
  } catch (error) {
    console.error(reasonOf(error)); // it names the address
    return 1;
  }
  using _ = shutdownAtSignal(room.logger);
  console.log(`listening on ${addressText(room.addr)}`);
  await loop();
  return 0;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, options: { port: { type: "string" } } },
    ({ port }) => serve(parsePort(port)),
  );
}
