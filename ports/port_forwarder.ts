/**
 * Forwards each connection to a port of this machine, both ways, with the end
 * of each direction.
 *
 *     deno run --quiet --allow-net ports/port_forwarder.ts TARGET_PORT
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type Channel, Dispatcher, loop } from "@asyncore/asyncore";

/** While so many bytes wait for the partner, no more are read. */
const MOST_BUFFERED = 65536;

/** One of two connections: what it reads goes into its partner's buffer. */
abstract class Side extends Dispatcher {
  abstract readonly name: string;
  abstract readonly partner: Side;
  buffer: Uint8Array = Buffer.alloc(0);
  count = 0;
  hasReadEnd = false;
  hasSentEnd = false;
  isLast = false;

  constructor(conn: Channel | null = null) {
    super(conn, { allowHalfOpen: true });
  }

  override readable(): boolean {
    return !this.hasReadEnd && this.partner.buffer.length < MOST_BUFFERED;
  }

  override handleRead(): void {
    const data = this.recv(8192);
    this.count += data.length;
    this.partner.buffer = Buffer.concat([this.partner.buffer, data]);
  }

  override writable(): boolean {
    if (!this.connected || this.buffer.length > 0) return true;
    return this.isLast || this.partner.hasReadEnd && !this.hasSentEnd;
  }

  override handleWrite(): void {
    if (this.buffer.length > 0) {
      const sent = this.send(this.buffer);
      this.buffer = this.buffer.subarray(sent);
    } else if (this.isLast) {
      this.finish();
    } else if (this.partner.hasReadEnd && !this.hasSentEnd) {
      this.hasSentEnd = true;
      this.shutdownWrite();
      if (this.hasReadEnd) this.finish();
    }
  }

  override handleEnd(): void {
    this.logInfo(`${this.name} has ended`);
    this.hasReadEnd = true;
  }

  override handleClose(): void {
    if (this.hasSentEnd) {
      this.hasReadEnd = true;
      this.finish();
      return;
    }
    this.logInfo(`${this.name} is lost`);
    this.close();
    this.partner.isLast = true;
  }

  finish(): void {
    this.logInfo(`${this.name} has sent ${this.count} bytes`);
    this.close();
  }
}

class Client extends Side {
  readonly name = "client";
  readonly partner: Side;

  constructor(conn: Channel, port: number) {
    super(conn);
    this.partner = new Target(this, port);
  }
}

class Target extends Side {
  readonly name = "target";
  readonly partner: Side;

  constructor(client: Side, port: number) {
    super();
    this.partner = client;
    this.createSocket();
    this.connect({ hostname: "127.0.0.1", port });
  }

  override handleConnect(): void {
    this.logInfo("target is connected");
  }

  override handleError(): void {
    this.logInfo("target cannot be reached", "error");
    this.close();
    this.partner.isLast = true;
  }
}

class Forwarder extends Dispatcher {
  targetPort: number;

  constructor(targetPort: number) {
    super();
    this.targetPort = targetPort;
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(5);
    console.log(`listening on ${this.addr!.port}`);
  }

  override handleAccepted(conn: Channel, addr: Deno.NetAddr): void {
    this.logInfo(`client from ${addr.hostname}`);
    new Client(conn, this.targetPort);
  }
}

new Forwarder(Number(Deno.args[0]));
await loop();
