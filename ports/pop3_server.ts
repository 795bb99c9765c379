/**
 * A POP3 server (RFC 1939) for the mail in a folder.
 *
 *     deno run --quiet --allow-net --allow-read --allow-write ports/pop3_server.ts FOLDER
 *
 * FOLDER has a folder for each user, and in it a file for each message. QUIT
 * removes the messages that DELE has marked.
 *
 * @module
 */

import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { join } from "node:path";

const PASSWORDS = new Map([["alice", "wonderland"], ["bob", "builder"]]);
const BANNER = "<1896.697170952@ports.example>";
const BLOCK = 32_000;

function md5(content: string): string {
  return createHash("md5").update(content, "latin1").digest("hex");
}

class Message {
  readonly path: string;
  readonly content: string;
  readonly size: number;
  readonly uid: string;
  deleted = false;

  constructor(path: string) {
    this.content = Buffer.from(Deno.readFileSync(path)).toString("latin1");
    this.path = path;
    this.size = this.content.length;
    this.uid = md5(this.content);
  }

  /** The header, and the first lines of the body. */
  top(count: number): string {
    const end = this.content.indexOf("\r\n\r\n");
    if (end === -1) return this.content;
    const lines = this.content.slice(end + 4).split("\r\n").slice(0, count);
    const header = this.content.slice(0, end + 4);
    return header + lines.map((line) => `${line}\r\n`).join("");
  }
}

/** Gives a text in blocks, each line that begins with a dot with another. */
class DottedProducer {
  readonly text: string;
  position = 0;

  constructor(text: string) {
    this.text = text.replace(/(^|\n)\./g, "$1..");
    if (!this.text.endsWith("\r\n")) this.text += "\r\n";
    this.text += ".\r\n";
  }

  more(): Uint8Array {
    const block = this.text.slice(this.position, this.position + BLOCK);
    this.position += block.length;
    return Buffer.from(block, "latin1");
  }
}

/** A command that cannot be obeyed. */
class Refusal extends Error {}

class PopChannel extends AsyncChat {
  readonly server: PopServer;
  user: string | null = null;
  isOpen = false;
  messages: Message[] = [];

  constructor(conn: Channel, server: PopServer) {
    super(conn);
    this.server = server;
    this.setTerminator("\r\n");
    this.reply(`+OK POP3 ${BANNER}`);
  }

  override foundTerminator() {
    const [verb, argument] = partition(this.takeText());
    const method = COMMANDS.get(verb.toUpperCase());
    try {
      if (method === undefined) {
        throw new Refusal(`unknown command ${verb.toUpperCase()}`);
      }
      if (!this.isOpen && !/^(USER|PASS|APOP|QUIT)$/i.test(verb)) {
        throw new Refusal("log in first");
      }
      method.call(this, argument);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      this.reply(`-ERR ${refusal.message}`);
    }
  }

  reply(line: string) {
    this.push(`${line}\r\n`);
  }

  find(argument: string): [number, Message] {
    if (!/^[0-9]{1,9}$/.test(argument)) {
      throw new Refusal("a message has a number");
    }
    const number = Number(argument);
    const message = this.messages[number - 1];
    if (message === undefined) throw new Refusal("no such message");
    if (message.deleted) throw new Refusal(`message ${number} is deleted`);
    return [number, message];
  }

  remaining(): [number, Message][] {
    return this.messages
      .map((message, index): [number, Message] => [index + 1, message])
      .filter(([_, message]) => !message.deleted);
  }

  popUser(argument: string) {
    this.user = argument;
    this.reply("+OK");
  }

  popPass(argument: string) {
    if (this.user === null) throw new Refusal("USER first");
    this.openDrop(this.user, PASSWORDS.get(this.user) === argument);
  }

  popApop(argument: string) {
    const [user, digest] = partition(argument);
    const secret = `${BANNER}${PASSWORDS.get(user) ?? ""}`;
    this.openDrop(user, PASSWORDS.has(user) && digest === md5(secret));
  }

  openDrop(user: string, isRight: boolean) {
    if (this.isOpen) throw new Refusal("logged in already");
    if (!isRight) {
      console.log(`refused ${user}`);
      throw new Refusal("wrong name or password");
    }
    if (this.server.locked.has(user)) {
      throw new Refusal("the maildrop is locked");
    }
    this.server.locked.add(user);
    this.user = user;
    this.isOpen = true;
    const folder = join(this.server.folder, user);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    this.messages = names.map((name) => new Message(join(folder, name)));
    this.reply(`+OK ${names.length} messages`);
  }

  popStat() {
    const sizes = this.remaining().map(([_, message]) => message.size);
    const sum = sizes.reduce((total, size) => total + size, 0);
    this.reply(`+OK ${sizes.length} ${sum}`);
  }

  popList(argument: string) {
    this.replyEach(argument, (message) => message.size);
  }

  popUidl(argument: string) {
    this.replyEach(argument, (message) => message.uid);
  }

  replyEach(argument: string, tell: (message: Message) => number | string) {
    if (argument) {
      const [number, message] = this.find(argument);
      this.reply(`+OK ${number} ${tell(message)}`);
      return;
    }
    this.reply("+OK");
    for (const [number, message] of this.remaining()) {
      this.reply(`${number} ${tell(message)}`);
    }
    this.reply(".");
  }

  popRetr(argument: string) {
    const [_, message] = this.find(argument);
    this.reply(`+OK ${message.size} octets`);
    this.pushWithProducer(new DottedProducer(message.content));
  }

  popTop(argument: string) {
    const [number, count] = partition(argument);
    const [_, message] = this.find(number);
    if (!/^[0-9]{1,9}$/.test(count)) {
      throw new Refusal("TOP wants a number of lines");
    }
    this.reply("+OK");
    this.pushWithProducer(new DottedProducer(message.top(Number(count))));
  }

  popDele(argument: string) {
    const [number, message] = this.find(argument);
    message.deleted = true;
    this.reply(`+OK message ${number} deleted`);
  }

  popRset() {
    for (const message of this.messages) message.deleted = false;
    this.reply("+OK");
  }

  popNoop() {
    this.reply("+OK");
  }

  popQuit() {
    const deleted = this.messages.filter((message) => message.deleted);
    for (const message of deleted) Deno.removeSync(message.path);
    if (this.isOpen) {
      console.log(`${this.user} has removed ${deleted.length} messages`);
    }
    this.release();
    this.reply("+OK bye");
    this.closeWhenDone();
  }

  release() {
    if (this.isOpen) this.server.locked.delete(this.user!);
    this.isOpen = false;
  }

  override handleClose() {
    this.release();
    this.close();
  }
}

/** The methods that Python finds by `getattr()`. */
const COMMANDS = new Map<string, (this: PopChannel, argument: string) => void>([
  ["USER", PopChannel.prototype.popUser],
  ["PASS", PopChannel.prototype.popPass],
  ["APOP", PopChannel.prototype.popApop],
  ["STAT", PopChannel.prototype.popStat],
  ["LIST", PopChannel.prototype.popList],
  ["UIDL", PopChannel.prototype.popUidl],
  ["RETR", PopChannel.prototype.popRetr],
  ["TOP", PopChannel.prototype.popTop],
  ["DELE", PopChannel.prototype.popDele],
  ["RSET", PopChannel.prototype.popRset],
  ["NOOP", PopChannel.prototype.popNoop],
  ["QUIT", PopChannel.prototype.popQuit],
]);

/** The text before the first space, and the text behind it. */
function partition(text: string): [string, string] {
  const end = text.indexOf(" ");
  return end === -1 ? [text, ""] : [text.slice(0, end), text.slice(end + 1)];
}

class PopServer extends Dispatcher {
  readonly folder: string;
  readonly locked = new Set<string>();

  constructor(folder: string) {
    super();
    this.folder = folder;
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(100);
  }

  override handleAccepted(conn: Channel) {
    new PopChannel(conn, this);
  }
}

const server = new PopServer(Deno.args[0]!);
console.log("listening on", server.localAddr!.port);
await loop();
