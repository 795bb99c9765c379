/**
 * A connection as Web streams: text goes in at one end, and the answer is
 * decoded and cut into lines on its way, however it was cut into packets.
 *
 *     deno run --allow-net examples/stream_pipeline.ts [HOST PORT]
 *     deno task example stream_pipeline [HOST PORT]    (where JSR cannot be reached)
 *
 * Without an address it talks to a server of its own, a pipeline too, in the
 * same loop. With one, it sends standard input there:
 *
 *     printf 'GET / HTTP/1.0\r\n\r\n' | deno task example stream_pipeline example.com 80
 *
 * @module
 */

import { type Channel, Dispatcher, loop, toStreams } from "@asyncore/asyncore";
import { TextLineStream } from "@std/streams";
import { parsePort, runCommand } from "./command_line.ts";
import { reasonOf } from "./logging.ts";
import { quote } from "./quote.ts";

const USAGE = `\
Usage: stream_pipeline.ts [HOST PORT] [--help]

Sends text to a server, and prints the lines that come back.

  HOST PORT  a server, which gets standard input; by default one that runs in
             the same loop gets a text of its own`;

const TEXT = `\
One café, one crème brûlée,
two spoons, three wishes:
that a line may be as long as it likes,
that its end may be found in the middle of a packet,
and that a letter of two bytes may arrive in two halves.
`;

/** Takes one client, and answers each of its lines in capitals. */
class CapitalServer extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen();
  }

  override handleAccepted(conn: Channel) {
    this.close();
    const { readable, writable } = toStreams(new Dispatcher(conn));
    readable
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())
      .pipeThrough(
        new TransformStream<string, string>({
          transform(line, output) {
            output.enqueue(`${line.toUpperCase()}\n`);
          },
        }),
      )
      .pipeThrough(new TextEncoderStream())
      .pipeTo(writable)
      .catch((error) => this.logInfo(reasonOf(error), "error"));
  }
}

/** Sends a text, and prints the lines that come back. */
async function converse(
  client: Dispatcher,
  text: ReadableStream<Uint8Array>,
): Promise<void> {
  const { readable, writable } = toStreams(client);
  const lines = readable
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  const print = async () => {
    let number = 0;
    for await (const line of lines) {
      console.log(`${++number}: ${quote(line, 120)}`);
    }
  };
  // The streams flow while the loop runs, and the loop ends when they have.
  await Promise.all([text.pipeTo(writable), print(), loop()]);
}

async function main(
  hostname: string | undefined,
  port: string | undefined,
): Promise<number> {
  const isAlone = hostname === undefined;
  const address = isAlone ? null : { hostname, port: parsePort(port, 1) };
  const client = new Dispatcher();
  client.createSocket();
  try {
    client.connect(address ?? new CapitalServer().addr!);
    await converse(
      client,
      isAlone ? new Blob([TEXT]).stream() : Deno.stdin.readable,
    );
  } catch (error) {
    console.error(`The conversation failed: ${reasonOf(error)}`);
    return 1;
  }
  return 0;
}

if (import.meta.main) {
  await runCommand(
    { help: USAGE, operands: ["HOST", "PORT"], isOptional: true },
    (_, [hostname, port]) => main(hostname, port),
  );
}
