/**
 * An FTP server (RFC 959) for a folder, with passive and active data connections.
 *
 *     deno run --quiet --allow-net --allow-read --allow-write ports/ftp_server.ts FOLDER PATIENCE
 *
 * A data connection must come in PATIENCE seconds.
 *
 * @module
 */

import {
  type Acceptor,
  type Address,
  AsyncChat,
  type Channel,
  Dispatcher,
  loop,
  type Producer,
  SimpleProducer,
  socketMap,
} from "@asyncore/asyncore";
import { join, resolve } from "node:path/posix";

const PASSWORDS = new Map([["alice", "wonderland"]]);
const PATIENCE = Number(Deno.args[1]) * 1_000;
const AT_ANY_TIME = ["ABOR", "NOOP", "QUIT"];
const WITHOUT_LOGIN = ["USER", "PASS", "SYST", "FEAT", "NOOP", "QUIT"];

/** A socket, as Python calls it. */
type Sock = Channel | Acceptor;

class FileProducer implements Producer {
  readonly file: Deno.FsFile;

  constructor(file: Deno.FsFile) {
    this.file = file;
  }

  more(): Uint8Array {
    const data = new Uint8Array(32_768);
    return data.subarray(0, this.file.readSync(data) ?? 0);
  }
}

/** A data connection that carries what a producer gives. */
class Sender extends AsyncChat {
  readonly session: Session;

  constructor(sock: Sock, session: Session, producer: Producer) {
    super(sock);
    this.session = session;
    session.data = this;
    this.pushWithProducer(producer);
    this.closeWhenDone();
  }

  override readable(): boolean {
    return false;
  }

  override handleClose() {
    const isComplete = this.closeReason === null;
    this.close();
    this.session.data = null;
    this.session.endTransfer(isComplete ? "226 done" : "426 connection lost");
  }
}

/** A data connection whose bytes go into a file. */
class Receiver extends Dispatcher {
  readonly session: Session;
  readonly file: Deno.FsFile;

  constructor(sock: Sock, session: Session, file: Deno.FsFile) {
    super(sock);
    this.session = session;
    session.data = this;
    this.file = file;
  }

  override writable(): boolean {
    return false;
  }

  override handleRead() {
    const data = this.recv(32_768);
    if (data.length > 0) this.file.writeSync(data);
  }

  override handleClose() {
    this.close();
    this.session.data = null;
    this.session.endTransfer("226 done");
  }
}

/** Waits for the data connection of a client. */
class PassiveOpener extends Dispatcher {
  readonly session: Session;

  constructor(session: Session) {
    super();
    this.session = session;
    this.createSocket();
    this.bind({ hostname: session.localAddr!.hostname, port: 0 });
    this.listen(1);
  }

  override handleAccepted(conn: Channel, addr: Deno.NetAddr) {
    if (addr.hostname !== this.session.addr!.hostname) {
      console.log(`${addr.hostname} is a stranger`);
      conn.close();
      return;
    }
    this.close();
    this.session.dataConnected(conn);
  }
}

/** Makes a data connection to a client. */
class ActiveOpener extends Dispatcher {
  readonly session: Session;

  constructor(session: Session, address: Address) {
    super();
    this.session = session;
    this.createSocket();
    this.connect(address);
  }

  override handleConnect() {
    this.delChannel();
    this.session.dataConnected(this.socket!);
  }

  override handleError() {
    this.close();
    this.session.endTransfer("425 no data connection");
  }
}

class Session extends AsyncChat {
  readonly folder: string;
  cwd = "/";
  user = "";
  isLoggedIn = false;
  isQuitting = false;
  offset = 0;
  address: Address | null = null; // Of PORT.
  opener: PassiveOpener | ActiveOpener | null = null;
  ready: Sock | null = null; // A data connection that waits for a transfer.
  start: ((sock: Sock) => void) | null = null; // A transfer that waits for one.
  deadline = 0;
  data: Sender | Receiver | null = null; // The data connection of a transfer.
  file: Deno.FsFile | null = null;

  constructor(sock: Channel, folder: string) {
    super(sock);
    this.folder = folder;
    this.setTerminator("\r\n");
    this.reply("220 ready");
  }

  reply(line: string) {
    this.push(`${line}\r\n`);
  }

  override foundTerminator() {
    // Telnet's signals stand before ABOR, and are no text.
    const line = this.takeText().replace(/^\ufffd+/, "");
    const [, word = "", argument = ""] = /^([^ ]*) ?(.*)$/s.exec(line) ?? [];
    const verb = word.toUpperCase();
    console.log(`> ${verb === "PASS" ? "PASS" : line}`);
    const method = COMMANDS.get(verb);
    if (method === undefined || line.includes("\0")) {
      this.reply("500 unknown command");
    } else if (!this.isLoggedIn && !WITHOUT_LOGIN.includes(verb)) {
      this.reply("530 log in first");
    } else if (this.isBusy() && !AT_ANY_TIME.includes(verb)) {
      this.reply("503 a transfer is under way");
    } else {
      method.call(this, argument);
    }
  }

  // The login, and the folder

  ftpUser(argument: string) {
    this.user = argument;
    this.reply("331 and the password?");
  }

  ftpPass(argument: string) {
    if (PASSWORDS.get(this.user) === argument) {
      this.isLoggedIn = true;
      this.reply("230 welcome");
    } else {
      this.reply("530 wrong name or password");
    }
  }

  ftpSyst() {
    this.reply("215 UNIX Type: L8");
  }

  ftpFeat() {
    this.reply("211-Features:\r\n REST STREAM\r\n SIZE\r\n211 End");
  }

  ftpNoop() {
    this.reply("200 fine");
  }

  ftpType(argument: string) {
    const isKnown = /^([AI]|L 8)$/i.test(argument);
    this.reply(isKnown ? "200 all types are binary" : "504 unknown type");
  }

  ftpPwd() {
    this.reply(`257 "${this.cwd.replaceAll('"', '""')}"`);
  }

  ftpCwd(argument: string) {
    const path = resolve(this.cwd, argument);
    if (statOf(this.folder + path)?.isDirectory) {
      this.cwd = path;
      this.reply("250 here you are");
    } else {
      this.reply("550 no such folder");
    }
  }

  ftpSize(argument: string) {
    const stat = statOf(this.folder + resolve(this.cwd, argument));
    if (stat?.isFile) this.reply(`213 ${stat.size}`);
    else this.reply("550 no such file");
  }

  // The data connection

  ftpPasv() {
    this.dropData();
    this.opener = new PassiveOpener(this);
    const { hostname, port } = this.opener.localAddr!;
    const numbers = [...hostname.split("."), port >> 8, port & 255].join(",");
    this.reply(`227 Entering Passive Mode (${numbers})`);
  }

  ftpPort(argument: string) {
    if (!/^[0-9]{1,3}(,[0-9]{1,3}){5}$/.test(argument)) {
      this.reply("501 six numbers, please");
      return;
    }
    const numbers = argument.split(",");
    const hostname = numbers.slice(0, 4).join(".");
    const port = Number(numbers[4]) * 256 + Number(numbers[5]);
    if (hostname !== this.addr!.hostname || port < 1024 || port > 65_535) {
      this.reply("504 only to a port of your own");
      return;
    }
    this.dropData();
    this.address = { hostname, port };
    this.reply("200 I will connect");
  }

  dataConnected(sock: Sock) {
    this.opener = null;
    if (this.start === null) {
      this.ready = sock;
    } else {
      const start = this.start;
      this.start = null;
      start(sock);
    }
  }

  isBusy(): boolean {
    return this.start !== null || this.data !== null;
  }

  checkDeadline() {
    if (this.start !== null && performance.now() > this.deadline) {
      this.endTransfer("425 no data connection");
    }
  }

  // Transfers

  begin(start: (sock: Sock) => void) {
    this.offset = 0;
    if (this.opener === null && this.ready === null && this.address === null) {
      this.endTransfer("425 PASV or PORT first");
      return;
    }
    this.reply("150 here it comes");
    this.start = start;
    this.deadline = performance.now() + PATIENCE;
    if (this.ready !== null) {
      const sock = this.ready;
      this.ready = null;
      this.dataConnected(sock);
    } else if (this.address !== null) {
      this.opener = new ActiveOpener(this, this.address);
    }
  }

  endTransfer(line: string) {
    this.dropData();
    this.reply(line);
    if (this.isQuitting) this.ftpQuit();
  }

  dropData() {
    this.opener?.close();
    this.ready?.close();
    this.data?.abort(); // Python's close() drops what is not sent.
    this.file?.close();
    this.address = this.start = null;
    this.opener =
      this.ready =
      this.data =
      this.file =
        null;
  }

  ftpList() {
    this.sendText(this.names().map((name) => this.describe(name)).join(""));
  }

  ftpNlst() {
    this.sendText(this.names().map((name) => `${name}\r\n`).join(""));
  }

  names(): string[] {
    const entries = [...Deno.readDirSync(this.folder + this.cwd)];
    return entries.map((entry) => entry.name).sort();
  }

  /** A line of a listing. */
  describe(name: string): string {
    const stat = Deno.statSync(join(this.folder + this.cwd, name));
    const kind = stat.isDirectory ? "d" : "-";
    const date = stat.mtime!.toUTCString(); // Thu, 01 Jan 1970 00:00:00 GMT
    const when = `${date.slice(8, 11)} ${date.slice(5, 7)} ${
      date.slice(17, 22)
    }`;
    return `${kind}rw-r--r-- 1 ftp ftp ${stat.size} ${when} ${name}\r\n`;
  }

  sendText(text: string) {
    const producer = new SimpleProducer(new TextEncoder().encode(text));
    this.begin((sock) => new Sender(sock, this, producer));
  }

  ftpRest(argument: string) {
    if (/^[0-9]{1,15}$/.test(argument)) {
      this.offset = Number(argument);
      this.reply(`350 from ${this.offset}`);
    } else {
      this.reply("501 a number, please");
    }
  }

  ftpRetr(argument: string) {
    const file = this.openFile(argument, { read: true });
    if (file === null) return;
    const producer = new FileProducer(file);
    this.begin((sock) => new Sender(sock, this, producer));
  }

  ftpStor(argument: string) {
    const isNew = this.offset === 0;
    const options = { write: true, create: isNew, truncate: isNew };
    const file = this.openFile(argument, options);
    if (file === null) return;
    this.begin((sock) => new Receiver(sock, this, file));
  }

  openFile(argument: string, options: Deno.OpenOptions): Deno.FsFile | null {
    const path = this.folder + resolve(this.cwd, argument);
    try {
      // Deno opens folders, too, but cannot read them.
      if (statOf(path)?.isDirectory) throw new Deno.errors.IsADirectory(path);
      this.file = Deno.openSync(path, options);
      this.file.seekSync(this.offset, Deno.SeekMode.Start);
    } catch {
      this.reply("550 no such file");
    }
    return this.file;
  }

  ftpAbor() {
    if (this.isBusy()) this.endTransfer("426 aborted");
    this.reply("226 no transfer is under way");
  }

  ftpQuit() {
    this.isQuitting = true;
    if (!this.isBusy()) {
      this.reply("221 bye");
      this.closeWhenDone();
    }
  }

  override handleClose() {
    this.close();
    this.dropData();
  }
}

/** The methods that Python finds by `getattr()`. */
const COMMANDS = new Map<string, (this: Session, argument: string) => void>([
  ["USER", Session.prototype.ftpUser],
  ["PASS", Session.prototype.ftpPass],
  ["SYST", Session.prototype.ftpSyst],
  ["FEAT", Session.prototype.ftpFeat],
  ["NOOP", Session.prototype.ftpNoop],
  ["TYPE", Session.prototype.ftpType],
  ["PWD", Session.prototype.ftpPwd],
  ["CWD", Session.prototype.ftpCwd],
  ["SIZE", Session.prototype.ftpSize],
  ["PASV", Session.prototype.ftpPasv],
  ["PORT", Session.prototype.ftpPort],
  ["LIST", Session.prototype.ftpList],
  ["NLST", Session.prototype.ftpNlst],
  ["REST", Session.prototype.ftpRest],
  ["RETR", Session.prototype.ftpRetr],
  ["STOR", Session.prototype.ftpStor],
  ["ABOR", Session.prototype.ftpAbor],
  ["QUIT", Session.prototype.ftpQuit],
]);

function statOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch {
    return null;
  }
}

class FtpServer extends Dispatcher {
  readonly folder: string;

  constructor(folder: string) {
    super();
    this.folder = folder;
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(100);
  }

  override handleAccepted(conn: Channel) {
    new Session(conn, this.folder);
  }
}

const server = new FtpServer(Deno.args[0]!);
console.log("listening on", server.localAddr!.port);
while (socketMap.size + socketMap.lingering > 0) {
  await loop({ timeout: 250, count: 1 });
  for (const channel of [...socketMap]) {
    if (channel instanceof Session) channel.checkDeadline();
  }
}
