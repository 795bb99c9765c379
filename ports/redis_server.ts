/**
 * A server of keys and values that speaks Redis's protocol, RESP2.
 *
 *     deno run --allow-net redis_server.ts
 */

import { Buffer } from "node:buffer";
import {
  AsyncChat,
  type Channel,
  closeAll,
  Dispatcher,
  ExitNow,
  loop,
} from "@asyncore/asyncore";

const LONGEST = 512 * 1024 * 1024; // bytes of a value
const MOST = 1024 * 1024; // arguments of a command
const NUMBER = /^-?(0|[1-9][0-9]{0,17})$/;

/** The answer to a command that cannot be obeyed. */
class ReplyError extends Error {}

class Session extends AsyncChat {
  server: Server;
  keys: Map<string, Buffer | Buffer[]>;
  args: Buffer[] = [];
  missing = 0;
  inValue = false;

  constructor(conn: Channel, server: Server) {
    super(conn, { maxLength: LONGEST + 2 });
    this.server = server;
    this.keys = server.keys;
    this.setTerminator("\r\n");
  }

  // Clients send a pipeline of any length before they read the first answer.
  override readable() {
    return true;
  }

  // Commands arrive as a line "*COUNT", and then for each of the arguments a
  // line "$LENGTH" and so many bytes. A line without "*" is a command, too.

  override foundTerminator() {
    if (this.inValue) {
      this.takeValue(Buffer.from(this.takeData()));
      return;
    }
    const line = this.takeText();
    if (this.missing > 0) this.takeLength(line);
    else if (line.startsWith("*")) this.takeCount(line);
    else {this.run(
        line.split(" ").filter((word) => word).map((word) => Buffer.from(word)),
      );}
  }

  takeCount(line: string) {
    this.missing = this.length(line.slice(1), MOST, "multibulk");
    this.args = [];
  }

  takeLength(line: string) {
    if (!line.startsWith("$")) {
      this.refuse(`expected '$', got '${line.slice(0, 1)}'`);
      return;
    }
    const length = this.length(line.slice(1), LONGEST, "bulk");
    if (this.missing > 0) {
      this.inValue = true;
      this.setTerminator(length + 2);
    }
  }

  takeValue(data: Buffer) {
    this.inValue = false;
    this.setTerminator("\r\n");
    this.args.push(data.subarray(0, -2));
    this.missing -= 1;
    if (this.missing === 0) this.run(this.args);
  }

  length(text: string, most: number, what: string): number {
    if (/^[0-9]{1,9}$/.test(text) && Number(text) <= most) return Number(text);
    this.refuse(`invalid ${what} length`);
    return 0;
  }

  refuse(reason: string) {
    this.missing = 0;
    this.logInfo(`protocol error: ${reason}`);
    this.error(`ERR Protocol error: ${reason}`);
    this.closeWhenDone();
  }

  run([first, ...args]: Buffer[]) {
    if (first === undefined) return;
    this.server.commands += 1;
    const name = text(first).toLowerCase();
    const command = COMMANDS.get(name);
    if (command === undefined) {
      this.error(`ERR unknown command '${name}'`);
      return;
    }
    const [arity, method] = command;
    const words = args.length + 1;
    if (words < Math.abs(arity) || (words !== arity && arity > 0)) {
      this.error(`ERR wrong number of arguments for '${name}' command`);
    } else {
      try {
        method.apply(this, args);
      } catch (error) {
        if (!(error instanceof ReplyError)) throw error;
        this.error(error.message);
      }
    }
  }

  // Answers

  status(text: string) {
    this.push(`+${text}\r\n`);
  }

  error(text: string) {
    this.push(`-${text}\r\n`);
  }

  integer(number: number | bigint) {
    this.push(`:${number}\r\n`);
  }

  bulk(value: Buffer | undefined) {
    if (value === undefined) {
      this.push("$-1\r\n");
      return;
    }
    this.push(`$${value.length}\r\n`);
    this.push(value);
    this.push("\r\n");
  }

  array(values: (Buffer | undefined)[]) {
    this.push(`*${values.length}\r\n`);
    for (const value of values) this.bulk(value);
  }

  // The commands

  stringAt(key: Buffer): Buffer | undefined {
    const value = this.keys.get(text(key));
    if (Array.isArray(value)) throw new ReplyError("WRONGTYPE not a string");
    return value;
  }

  listAt(key: Buffer): Buffer[] {
    const value = this.keys.get(text(key)) ?? [];
    if (!Array.isArray(value)) throw new ReplyError("WRONGTYPE not a list");
    return value;
  }

  doPing(message?: Buffer) {
    if (message === undefined) this.status("PONG");
    else this.bulk(message);
  }

  doEcho(message: Buffer) {
    this.bulk(message);
  }

  doSet(key: Buffer, value: Buffer) {
    this.keys.set(text(key), value);
    this.status("OK");
  }

  doGet(key: Buffer) {
    this.bulk(this.stringAt(key));
  }

  doMget(...keys: Buffer[]) {
    this.array(keys.map((key) => this.stringAt(key)));
  }

  doStrlen(key: Buffer) {
    this.integer(this.stringAt(key)?.length ?? 0);
  }

  doAppend(key: Buffer, more: Buffer) {
    const value = Buffer.concat([this.stringAt(key) ?? Buffer.from(""), more]);
    this.keys.set(text(key), value);
    this.integer(value.length);
  }

  doIncr(key: Buffer) {
    this.doIncrby(key, Buffer.from("1"));
  }

  doDecr(key: Buffer) {
    this.doIncrby(key, Buffer.from("-1"));
  }

  doIncrby(key: Buffer, more: Buffer) {
    const total = number(this.stringAt(key) ?? Buffer.from("0")) + number(more);
    this.keys.set(text(key), Buffer.from(`${total}`));
    this.integer(total);
  }

  doDel(...keys: Buffer[]) {
    const found = keys.filter((key) => this.keys.delete(text(key)));
    this.integer(found.length);
  }

  doKeys(pattern: Buffer) {
    if (text(pattern) !== "*") {
      throw new ReplyError("ERR only KEYS * is implemented");
    }
    this.array([...this.keys.keys()].sort().map((key) => Buffer.from(key)));
  }

  doRpush(key: Buffer, ...values: Buffer[]) {
    const items = this.listAt(key).concat(values);
    this.keys.set(text(key), items);
    this.integer(items.length);
  }

  doLpush(key: Buffer, ...values: Buffer[]) {
    const items = values.reverse().concat(this.listAt(key));
    this.keys.set(text(key), items);
    this.integer(items.length);
  }

  doLpop(key: Buffer) {
    this.bulk(this.listAt(key).shift());
  }

  doLrange(key: Buffer, start: Buffer, stop: Buffer) {
    const items = this.listAt(key);
    let first = Number(number(start)), last = Number(number(stop));
    if (first < 0) first = Math.max(first + items.length, 0);
    if (last < 0) last += items.length;
    this.array(items.slice(first, Math.max(last + 1, 0)));
  }

  doSubscribe(channel: Buffer) {
    this.server.listeners.push([this, text(channel)]);
    this.array([Buffer.from("subscribe"), channel]);
  }

  doPublish(channel: Buffer, message: Buffer) {
    const name = text(channel);
    const found = this.server.listeners.filter(([, what]) => what === name);
    for (const [session] of found) {
      session.array([Buffer.from("message"), channel, message]);
    }
    this.integer(found.length);
  }

  doQuit() {
    this.status("OK");
    this.closeWhenDone();
  }

  doShutdown() {
    throw new ExitNow();
  }

  override handleClose() {
    const { listeners } = this.server;
    this.server.listeners = listeners.filter(([who]) => who !== this);
    this.close();
  }
}

// How many words a command has; a negative number says "or more".
type Command = (this: Session, ...args: Buffer[]) => void;
const COMMANDS = new Map<string, [arity: number, method: Command]>([
  ["ping", [-1, Session.prototype.doPing]],
  ["echo", [2, Session.prototype.doEcho]],
  ["set", [3, Session.prototype.doSet]],
  ["get", [2, Session.prototype.doGet]],
  ["mget", [-2, Session.prototype.doMget]],
  ["strlen", [2, Session.prototype.doStrlen]],
  ["append", [3, Session.prototype.doAppend]],
  ["incr", [2, Session.prototype.doIncr]],
  ["decr", [2, Session.prototype.doDecr]],
  ["incrby", [3, Session.prototype.doIncrby]],
  ["del", [-2, Session.prototype.doDel]],
  ["keys", [2, Session.prototype.doKeys]],
  ["rpush", [-3, Session.prototype.doRpush]],
  ["lpush", [-3, Session.prototype.doLpush]],
  ["lpop", [2, Session.prototype.doLpop]],
  ["lrange", [4, Session.prototype.doLrange]],
  ["subscribe", [2, Session.prototype.doSubscribe]],
  ["publish", [3, Session.prototype.doPublish]],
  ["quit", [1, Session.prototype.doQuit]],
  ["shutdown", [1, Session.prototype.doShutdown]],
]);

function text(key: Buffer): string {
  return key.toString();
}

function number(value: Buffer): bigint {
  if (NUMBER.test(text(value))) return BigInt(text(value));
  throw new ReplyError("ERR value is not an integer or out of range");
}

class Server extends Dispatcher {
  keys = new Map<string, Buffer | Buffer[]>();
  listeners: [Session, string][] = [];
  commands = 0;

  constructor() {
    super();
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(50);
  }

  override handleAccepted(conn: Channel) {
    new Session(conn, this);
  }
}

async function main() {
  const server = new Server();
  console.log(`listening on ${server.localAddr!.port}`);
  try {
    await loop();
  } catch (error) {
    if (!(error instanceof ExitNow)) throw error;
    server.logInfo(`${server.commands} commands, ${server.keys.size} keys`);
  }
  closeAll();
}

await main();
