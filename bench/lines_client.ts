/**
 * The load of `bench/lines.ts`: for each line `PORT COUNT LENGTH` on standard
 * input, sends COUNT lines of LENGTH bytes to PORT as fast as they are taken,
 * and prints how many ms it took until the server had counted them.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";

const CHUNK = 64 * 1024;

for await (const order of createInterface({ input: process.stdin })) {
  const [port, count, length] = order.split(" ").map(Number);
  console.log(await load(port!, count!, length!));
}

async function load(port: number, count: number, length: number) {
  const line = "x".repeat(length - 2) + "\r\n";
  const perChunk = Math.ceil(CHUNK / length);
  const chunk = new TextEncoder().encode(line.repeat(perChunk));
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const start = performance.now();
  for (let left = count; left > 0; left -= perChunk) {
    const lines = Math.min(left, perChunk);
    await writeAll(conn, chunk.subarray(0, lines * length));
  }
  await writeAll(conn, new TextEncoder().encode("END\r\n"));
  const answer = new Uint8Array(32);
  const answered = await conn.read(answer);
  const time = performance.now() - start;
  const counted = new TextDecoder().decode(answer.subarray(0, answered ?? 0));
  if (Number(counted) !== count) {
    throw new Error(`Sent ${count} lines, the server counted ${counted}`);
  }
  return time;
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length;) at += await conn.write(data.subarray(at));
}
