/**
 * A client on Deno's own connections: for TLS, and for systems whose calls
 * {@linkcode SystemClient} does not know. It costs about as much as a server.
 *
 * @module
 */

import { Histogram } from "../histogram.ts";
import {
  type Client,
  newMessage,
  type Place,
  stamp,
  startTraffic,
  type Traffic,
} from "./traffic.ts";

const AT_ONCE = 128;

/** Sends `message` and awaits its echo in `inbox`. */
async function exchange(
  conn: Deno.Conn,
  message: Uint8Array,
  inbox: Uint8Array,
): Promise<void> {
  const sending = message.length > 64 * 1024 ? writeAll(conn, message) : null;
  if (!sending) await writeAll(conn, message);
  for (let at = 0; at < message.length;) {
    const length = await conn.read(inbox.subarray(at));
    if (length === null) throw new Error("The server has ended a connection");
    at += length;
  }
  await sending;
  for (let i = 0; i < message.length; i++) {
    if (inbox[i] !== message[i]) {
      throw new Error("What comes back is not what was sent");
    }
  }
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length;) at += await conn.write(data.subarray(at));
}

async function connectTo({ port, ca }: Place): Promise<Deno.Conn> {
  const address = { hostname: "127.0.0.1", port };
  const conn = ca === undefined
    ? await Deno.connect(address)
    : await Deno.connectTls({ ...address, caCerts: [ca] });
  // TLS connections lack it.
  if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay();
  return conn;
}

/** See the module's comment. */
export class DenoClient implements Client {
  #conns: Deno.Conn[] = [];

  async connect(
    place: Place,
    count: number,
    greetEvery: number,
  ): Promise<Traffic> {
    const latencies = new Histogram();
    const finish = startTraffic();
    const open = async (number: number) => {
      const time = performance.now();
      const conn = await connectTo(place);
      if ((number + 1) % greetEvery === 0 || number === count - 1) {
        await exchange(conn, Uint8Array.of(1), new Uint8Array(1));
        latencies.add((performance.now() - time) * 1_000);
      }
      return conn;
    };
    for (let from = 0; from < count; from += AT_ONCE) {
      const length = Math.min(AT_ONCE, count - from);
      const opening = Array.from({ length }, (_, i) => open(from + i));
      this.#conns.push(...await Promise.all(opening));
    }
    return finish(count, latencies);
  }

  async ping(active: number, size: number, seconds: number): Promise<Traffic> {
    const stride = Math.floor(this.#conns.length / active);
    let messages = 0;
    const latencies = new Histogram();
    const finish = startTraffic();
    const end = performance.now() + seconds * 1_000;
    await Promise.all(Array.from({ length: active }, async (_, i) => {
      const conn = this.#conns[i * stride]!;
      const message = newMessage(size);
      const inbox = new Uint8Array(size);
      for (let now = performance.now(), number = 0; now < end;) {
        stamp(message, number++);
        const started = now;
        await exchange(conn, message, inbox);
        now = performance.now();
        latencies.add((now - started) * 1_000);
        messages++;
      }
    }));
    return finish(messages, latencies);
  }

  async churn(
    place: Place,
    slots: number,
    size: number,
    seconds: number,
  ): Promise<Traffic> {
    let messages = 0;
    const latencies = new Histogram();
    const finish = startTraffic();
    const end = performance.now() + seconds * 1_000;
    await Promise.all(Array.from({ length: slots }, async () => {
      const message = newMessage(size);
      const inbox = new Uint8Array(size);
      for (let now = performance.now(); now < end;) {
        const started = now;
        const conn = await connectTo(place);
        await exchange(conn, message, inbox);
        now = performance.now();
        conn.close();
        latencies.add((now - started) * 1_000);
        messages++;
      }
    }));
    return finish(messages, latencies);
  }
}
