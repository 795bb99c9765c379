/**
 * Takes lines in with a `conn.read()` loop that looks for line feeds: the least
 * that the task needs. Answers a line `END` with the number of lines before it.
 *
 * @module
 */

import { answerMarks } from "./control.mjs";

const LINE_FEED = 10;
const decoder = new TextDecoder();
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
answerMarks(listener.addr.port);

for (;;) takeLines(await listener.accept()).catch(() => {});

async function takeLines(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  let count = 0;
  let held = 0; // How many bytes of an unfinished line the buffer begins with.
  for (let length; (length = await conn.read(buffer.subarray(held)));) {
    const filled = held + length;
    let start = 0;
    for (;;) {
      const end = buffer.subarray(0, filled).indexOf(LINE_FEED, start);
      if (end < 0) break;
      // Its own copy, as a program that keeps the line needs.
      const line = buffer.slice(start, end - 1);
      start = end + 1;
      if (line.length === 3 && decoder.decode(line) === "END") {
        await conn.write(new TextEncoder().encode(`${count}\n`));
        count = 0;
      } else count++;
    }
    buffer.copyWithin(0, start, filled);
    held = filled - start;
  }
  conn.close();
}
