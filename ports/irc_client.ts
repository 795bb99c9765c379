/**
 * An IRC bot: joins a channel, obeys it, and comes back when it is thrown out.
 *
 *     deno run --allow-net irc_client.ts HOST PORT NICK CHANNEL
 */

import { type Address, AsyncChat, poll, socketMap } from "@asyncore/asyncore";

const PAUSE = 100; // milliseconds before the next attempt

class Bot extends AsyncChat {
  address: Address;
  nick: string;
  wantedNick: string;
  channel: string;
  heard = 0;
  running = true;
  told = false;
  retryAt: number | null = null;

  constructor(address: Address, nick: string, channel: string) {
    super();
    this.setTerminator("\r\n");
    this.address = address;
    this.nick = this.wantedNick = nick;
    this.channel = channel;
    this.start();
  }

  start() {
    this.retryAt = null;
    this.discardBuffers();
    this.nick = this.wantedNick;
    this.createSocket();
    this.connect(this.address);
  }

  tick() {
    if (this.retryAt !== null && performance.now() >= this.retryAt) {
      this.start();
    }
  }

  override handleConnect() {
    this.told = false;
    this.logInfo("connected");
    this.say(`NICK ${this.nick}`);
    this.say(`USER ${this.nick} 0 * :a bot`);
  }

  override handleError(error: unknown) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) {
      return super.handleError(error);
    }
    if (!this.told) this.logInfo("refused, trying again");
    this.told = true;
    this.handleClose();
  }

  override handleClose() {
    if (this.connected) this.logInfo("disconnected");
    this.close();
    if (this.running) this.retryAt = performance.now() + PAUSE;
  }

  override foundTerminator() {
    const line = this.takeText();
    const [prefix, command, params] = parse(line);
    const method = IRC.get(command.toLowerCase());
    if (method !== undefined) method.call(this, prefix, params);
    else if (command) this.logInfo(`ignored ${command}`);
  }

  say(line: string) {
    this.push(`${line}\r\n`);
  }

  // The lines of the server

  irc001(_prefix: string, params: string[]) {
    this.logInfo(`welcome, ${params[0]}`);
    this.say(`JOIN ${this.channel}`);
  }

  irc433() {
    this.nick += "_";
    this.say(`NICK ${this.nick}`);
  }

  ircPing(_prefix: string, params: string[]) {
    this.say(`PONG :${params.at(-1)}`);
  }

  ircJoin(prefix: string, params: string[]) {
    const [who] = partition(prefix, "!");
    if (who === this.nick) this.logInfo(`joined ${params[0]}`);
    else this.say(`PRIVMSG ${params[0]} :hello, ${who}`);
  }

  ircKick(_prefix: string, params: string[]) {
    if (params[1] === this.nick) {
      this.logInfo(`kicked: ${params.at(-1)}`);
      this.say(`JOIN ${params[0]}`);
    }
  }

  ircError(_prefix: string, params: string[]) {
    this.logInfo(`error: ${params.at(-1)}`);
  }

  ircPrivmsg(prefix: string, [target = "", text = ""]: string[]) {
    this.heard += 1;
    const [who] = partition(prefix, "!");
    const where = target === this.nick ? who : target;
    if (!text.startsWith("!")) return;
    const [verb, , rest] = partition(text.slice(1), " ");
    const method = BOT.get(verb);
    if (method === undefined) {
      this.say(`PRIVMSG ${where} :${who}: no such command: ${verb}`);
    } else {
      method.call(this, where, rest);
    }
  }

  // The commands of people

  botEcho(where: string, rest: string) {
    this.say(`PRIVMSG ${where} :${rest}`);
  }

  botCount(where: string) {
    this.say(`PRIVMSG ${where} :${this.heard} messages`);
  }

  botFlood(where: string, rest: string) {
    for (let number = 0; number < Number(rest); number++) {
      this.say(`NOTICE ${where} :line ${number} ${"x".repeat(400)}`);
    }
  }

  botQuit(_where: string, rest: string) {
    this.running = false;
    this.say(`QUIT :${rest}`);
    this.closeWhenDone();
  }
}

type IrcMethod = (this: Bot, prefix: string, params: string[]) => void;
const IRC = new Map<string, IrcMethod>([
  ["001", Bot.prototype.irc001],
  ["433", Bot.prototype.irc433],
  ["ping", Bot.prototype.ircPing],
  ["join", Bot.prototype.ircJoin],
  ["kick", Bot.prototype.ircKick],
  ["error", Bot.prototype.ircError],
  ["privmsg", Bot.prototype.ircPrivmsg],
]);

type BotMethod = (this: Bot, where: string, rest: string) => void;
const BOT = new Map<string, BotMethod>([
  ["echo", Bot.prototype.botEcho],
  ["count", Bot.prototype.botCount],
  ["flood", Bot.prototype.botFlood],
  ["quit", Bot.prototype.botQuit],
]);

function parse(line: string): [string, string, string[]] {
  let prefix = "", colon, trailing;
  if (line.startsWith(":")) [prefix, , line] = partition(line.slice(1), " ");
  [line, colon, trailing] = partition(line, " :");
  const words = line.split(" ").filter((word) => word);
  if (colon) words.push(trailing);
  return [prefix, words[0] ?? "", words.slice(1)];
}

/** Python's `text.partition(separator)`. */
function partition(text: string, separator: string): [string, string, string] {
  const at = text.indexOf(separator);
  if (at < 0) return [text, "", ""];
  return [text.slice(0, at), separator, text.slice(at + separator.length)];
}

async function main() {
  const [hostname = "", port, nick = "", channel = ""] = Deno.args;
  const bot = new Bot({ hostname, port: Number(port) }, nick, channel);
  console.log("ready");
  while (bot.running || socketMap.size > 0) {
    bot.tick();
    await poll(50);
  }
  console.log("bye");
}

await main();
