/**
 * The mail server under clients that try again: what it answered 250 to is
 * stored, whole and as it was sent, whatever crashes; nothing else is, except
 * whole messages whose answer was lost (RFC 5321, section 6.1).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type IncomingMail,
  type MailStore,
  SmtpSession,
} from "../../../examples/smtp_session.ts";
import { AsyncChat, type Channel, type Logger } from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import {
  addHost,
  endWell,
  Listener,
  pick,
  pickOne,
  sleep,
  strictLogger,
  testScenario,
} from "./scenario.ts";

const PORT = 25;
/** How long a client waits before it tries again, in ms. */
const PAUSE = 3_000;

const TRACE =
  /^Return-Path: <ann@example\.org>\r\nDelivered-To: <bob@example\.org>\r\nReceived: from client ([ -~]+)\r\n\tby localhost with ESMTP id ([\w-]+);\r\n\t[ -~]+ \+0000\r\n/;

const toBytes = (text: string) =>
  Uint8Array.from(text, (char) => char.charCodeAt(0));

/** The server's disk: it takes its time, and may be full. */
class Store implements MailStore {
  /** The names of messages that are not complete. */
  readonly parts = new Set<string>();
  readonly #sim: SimNetwork;
  readonly #host: SimHost;

  constructor(sim: SimNetwork, host: SimHost) {
    this.#sim = sim;
    this.#host = host;
  }

  create(): IncomingMail {
    const { parts } = this;
    const { disk } = this.#host;
    const id = crypto.randomUUID();
    const path = `${id}.eml`;
    let content = "";
    parts.add(id);
    return {
      id,
      path,
      add: (data): void | Promise<void> => {
        content += String.fromCharCode(...data);
        if (this.#sim.random() < 0.1) return this.#work();
      },
      save: async () => {
        await this.#work();
        parts.delete(id);
        if (this.#sim.random() < 0.05) throw new Error("No space left");
        disk.set(path, content);
        await disk.sync();
      },
      discard: async () => {
        await this.#work();
        parts.delete(id);
      },
    };
  }

  #work(): Promise<void> {
    return sleep(this.#host, pick(this.#sim, 0, 100));
  }
}

/** A session whose log is the simulation's. */
class Session extends SmtpSession {
  override readonly logger: SmtpSession["logger"];

  constructor(conn: Channel, address: string, store: MailStore, log: Logger) {
    super(conn, address, store);
    this.logger = log as unknown as SmtpSession["logger"];
  }
}

/** A message that a client has to send. */
interface Letter {
  text: string;
  isAccepted: boolean;
}

function makeLetter(sim: SimNetwork, name: string): Letter {
  const lines = [".", "..", ".a", "", "spam", "\n.\r", "x".repeat(1_500)];
  let text = `Subject: ${name}\r\n\r\n`;
  for (let left = pick(sim, 0, 12); left > 0; left--) {
    text += `${pickOne(sim, lines)}\r\n`;
  }
  return { text, isAccepted: false };
}

/** Sends letters one after the other, until all are accepted. */
class Mailer extends AsyncChat {
  readonly #sim: SimNetwork;
  readonly #letters: Letter[];
  #letter: Letter | undefined;
  /** What to say at the next replies that are no refusal. */
  #script: string[] = ["EHLO client"];

  constructor(sim: SimNetwork, host: SimHost, letters: Letter[]) {
    super(null, { map: host.map, idleTimeout: 60_000 });
    this.#sim = sim;
    this.#letters = letters;
    this.setTerminator("\r\n");
    this.createSocket({ connectTimeout: 20_000 });
    this.connect({ hostname: "server", port: PORT });
  }

  override foundTerminator() {
    const reply = this.takeText();
    if (reply[3] === "-") return;
    assertMatch(reply, /^(220|221|250|354|421|451) /);
    if (/^4/.test(reply)) return this.tryAgain();
    if (reply.startsWith("250 Stored")) this.#letter!.isAccepted = true;
    const next = this.#script.shift();
    if (next !== undefined) this.push(next + "\r\n");
    else if (reply.startsWith("221")) this.close();
    else if (reply.startsWith("354")) this.#sendLetter();
    else this.#beginLetter();
  }

  #beginLetter() {
    this.#letter = this.#letters.find(({ isAccepted }) => !isAccepted);
    if (this.#letter === undefined) return this.push("QUIT\r\n");
    const commands = [
      "MAIL FROM:<ann@example.org>",
      "RCPT TO:<bob@example.org>",
      "DATA",
    ];
    if (this.#sim.random() < 0.5) this.push(commands.shift() + "\r\n");
    this.#script = commands.splice(0);
    if (this.#script.length === 2) return;
    this.push(this.#script.shift() + "\r\n");
  }

  #sendLetter() {
    const lines = this.#letter!.text.replaceAll(/(?<=^|\r\n)\./g, "..");
    this.push(toBytes(`${lines}.\r\n`));
  }

  tryAgain() {
    this.close();
    this.map.callLater(PAUSE, this.again);
  }

  override handleClose() {
    this.tryAgain();
  }

  again = () => {};
}

/** A client that goes on where it was, also after a crash. */
function addClient(sim: SimNetwork, name: string, letters: Letter[]) {
  addHost(sim, name, (host) => {
    const send = () => {
      if (letters.every(({ isAccepted }) => isAccepted)) return;
      const mailer = new Mailer(sim, host, letters);
      mailer.again = send;
    };
    send();
  });
}

/** What is stored is what was sent, under the headers of this server. */
function checkDisk({ disk }: SimHost, letters: Letter[]) {
  const texts = new Set<string>();
  for (const path of disk.keys()) {
    const content = disk.get(path) as string;
    const [trace, , name] = TRACE.exec(content) ?? [];
    assertEquals(`${name}.eml`, path, content);
    texts.add(content.slice(trace!.length));
  }
  const known = new Set(letters.map(({ text }) => text));
  for (const text of texts) {
    assert(known.has(text), `a message that nobody sent: ${text}`);
  }
  for (const { text, isAccepted } of letters) {
    if (isAccepted) assert(texts.has(text), `lost: ${text}`);
  }
}

testScenario("smtp_server stores what it accepts", async (sim) => {
  let store!: Store;
  const server = addHost(sim, "server", (host) => {
    const log = strictLogger(sim, "server");
    store = new Store(sim, host);
    new Listener(PORT, (conn, addr) => {
      new Session(conn, (addr as Deno.NetAddr).hostname, store, log);
    });
  });
  const letters: Letter[] = [];
  for (const name of ["ann", "eve"]) {
    const own = Array.from(
      { length: pick(sim, 1, 3) },
      (_, i) => makeLetter(sim, `${name} ${i}`),
    );
    letters.push(...own);
    addClient(sim, name, own);
  }
  await sim.run({ limit: 30_000 });
  if (server.isUp) checkDisk(server, letters);
  sim.calm();
  const isDone = () => letters.every(({ isAccepted }) => isAccepted);
  await sim.run({ until: isDone, limit: 600_000 });
  await endWell(sim);
  checkDisk(server, letters);
  assertEquals([...store.parts], [], "a part of a message is left");
});
