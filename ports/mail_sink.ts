/**
 * Takes mail for anybody, and puts each message into a file of a folder.
 *
 *     deno run --allow-net --allow-sys=hostname --allow-write=FOLDER mail_sink.ts FOLDER LIMIT [utf8]
 */

import { loop } from "@asyncore/asyncore";
import { type Message, SmtpChannel, SmtpServer } from "./smtpd.ts";

class Session extends SmtpChannel {
  override handleError() {
    this.logInfo("a session broke", "error");
    this.close();
  }
}

class Sink extends SmtpServer {
  override channelClass = Session;
  folder: string;
  count = 0;

  constructor(folder: string, limit: number, utf8: boolean) {
    super(
      { hostname: "127.0.0.1", port: 0 },
      {
        dataSizeLimit: limit,
        enableSmtputf8: utf8,
      },
    );
    this.folder = folder;
  }

  override processMessage(
    { peer, mailfrom, rcpttos, data, mailOptions }: Message,
  ): string | void {
    if (rcpttos.includes("full@example.org")) {
      return "452 The mailbox is full";
    }
    if (rcpttos.includes("broken@example.org")) {
      throw new Error("The disk is broken");
    }
    this.count += 1;
    const path = `${this.folder}/${this.count}.eml`;
    Deno.writeFileSync(path, data);
    const recipients = rcpttos.join(", ");
    const options = mailOptions.join(" ");
    this.logInfo(`${this.count}: from ${peer.hostname}`);
    this.logInfo(`${this.count}: ${mailfrom} -> ${recipients}`);
    this.logInfo(`${this.count}: ${data.length} bytes [${options}]`);
  }
}

async function main() {
  const [folder = "", limit] = Deno.args;
  const sink = new Sink(folder, Number(limit), Deno.args.includes("utf8"));
  console.log(`listening on ${sink.localAddr!.port}`);
  await loop();
}

await main();
