/**
 * A SOCKS5 proxy (RFC 1928): CONNECT, without a login or with a password
 * (RFC 1929).
 *
 *     deno run --quiet --allow-net ports/socks5_proxy.ts
 *
 * @module
 */

import { AsyncChat, type Channel, Dispatcher, loop } from "@asyncore/asyncore";

const PASSWORDS = new Map([["alice", "wonderland"]]);
const [NO_LOGIN, LOGIN, NO_METHOD] = [0, 2, 255];
const CONNECT = 1;
const [IPV4, NAME, IPV6] = [1, 3, 4];
const [SUCCESS, FAILURE, NO_NETWORK, NO_HOST, REFUSED] = [0, 1, 3, 4, 5];
const [NO_COMMAND, NO_TYPE] = [7, 8];

const utf8 = new TextDecoder();

/** One of two connections: what it reads goes out at its partner. */
class Side extends AsyncChat {
  partner: Side | null = null;

  constructor(conn: Channel | null = null) {
    super(conn, { allowHalfOpen: true });
  }

  override collectIncomingData(data: Uint8Array) {
    if (this.partner === null) super.collectIncomingData(data);
    else this.partner.push(data);
  }

  override readable(): boolean {
    return this.partner === null ||
      this.partner.bufferedAmount < this.partner.highWaterMark;
  }

  /** The peer has ended its side. Python's `handle_close()` has to tell it apart. */
  override handleEnd() {
    if (this.partner === null) this.close();
    else this.partner.shutdownWrite();
  }

  /** Both sides have ended, or the connection broke. */
  override handleClose() {
    this.close();
    this.partner?.shutdownWrite();
  }
}

class Target extends Side {
  readonly client: Client;

  constructor(client: Client, hostname: string, port: number) {
    super();
    this.client = client;
    client.partner = this;
    this.setTerminator(null);
    this.createSocket();
    try {
      this.connect({ hostname, port });
    } catch (error) {
      this.handleError(error);
    }
  }

  override handleConnect() {
    this.partner = this.client;
    this.client.answerSuccess(this.localAddr!.hostname, this.localAddr!.port);
  }

  override handleError(error: unknown) {
    this.close();
    if (this.partner === null) this.client.answerFailure(error);
    else this.partner.shutdownWrite();
  }
}

class Client extends Side {
  user = "nobody";
  command = 0;
  step: (data: Uint8Array) => void = this.gotGreeting;

  constructor(conn: Channel) {
    super(conn);
    this.expect(2, this.gotGreeting);
  }

  expect(count: number, step: (data: Uint8Array) => void) {
    this.setTerminator(count);
    this.step = step;
  }

  override foundTerminator() {
    this.step(this.takeData());
  }

  gotGreeting(data: Uint8Array) {
    if (data[0] !== 5) {
      console.log(`version ${data[0]} is not 5`);
      this.close();
    } else if (data[1] === 0) {
      this.refuse(5, NO_METHOD);
    } else {
      this.expect(data[1]!, this.gotMethods);
    }
  }

  gotMethods(data: Uint8Array) {
    if (data.includes(LOGIN)) {
      this.push(Uint8Array.of(5, LOGIN));
      this.expect(2, this.gotUserLength);
    } else if (data.includes(NO_LOGIN)) {
      this.push(Uint8Array.of(5, NO_LOGIN));
      this.expect(4, this.gotRequest);
    } else {
      this.refuse(5, NO_METHOD);
    }
  }

  gotUserLength(data: Uint8Array) {
    this.expect(data[1]! + 1, this.gotUser);
  }

  gotUser(data: Uint8Array) {
    this.user = utf8.decode(data.subarray(0, -1));
    if (data.at(-1) === 0) this.gotPassword(new Uint8Array());
    else this.expect(data.at(-1)!, this.gotPassword);
  }

  gotPassword(data: Uint8Array) {
    if (PASSWORDS.get(this.user) === utf8.decode(data)) {
      this.push(Uint8Array.of(1, 0));
      this.expect(4, this.gotRequest);
    } else {
      this.refuse(1, 1);
    }
  }

  gotRequest(data: Uint8Array) {
    this.command = data[1]!;
    if (data[3] === IPV4) this.expect(6, this.gotIpv4);
    else if (data[3] === IPV6) this.expect(18, this.gotIpv6);
    else if (data[3] === NAME) this.expect(1, this.gotNameLength);
    else this.answer(NO_TYPE);
  }

  gotIpv4(data: Uint8Array) {
    this.gotAddress(data.subarray(0, 4).join("."), data);
  }

  gotIpv6(data: Uint8Array) {
    const groups = [0, 2, 4, 6, 8, 10, 12, 14]
      .map((i) => data[i]! * 256 + data[i + 1]!);
    const host = groups.map((group) => group.toString(16)).join(":");
    this.gotAddress(host, data);
  }

  gotNameLength(data: Uint8Array) {
    this.expect(data[0]! + 2, this.gotName);
  }

  gotName(data: Uint8Array) {
    const name = utf8.decode(data.subarray(0, -2));
    if (/^[A-Za-z0-9.-]+$/.test(name)) this.gotAddress(name, data);
    else this.answer(NO_HOST);
  }

  gotAddress(host: string, data: Uint8Array) {
    const port = data.at(-2)! * 256 + data.at(-1)!;
    if (this.command !== CONNECT) {
      this.answer(NO_COMMAND);
      return;
    }
    console.log(`${this.user} connects to ${host} ${port}`);
    this.setTerminator(null); // What follows is for the target.
    new Target(this, host, port);
  }

  answerSuccess(host: string, port: number) {
    const packed = host.includes(":")
      ? [0, 0, 0, 0]
      : host.split(".").map(Number);
    this.push(
      Uint8Array.of(5, SUCCESS, 0, IPV4, ...packed, port >> 8, port & 255),
    );
  }

  answerFailure(error: unknown) {
    this.partner = null;
    if (error instanceof Deno.errors.ConnectionRefused) {
      this.answer(REFUSED);
    } else if (error instanceof RangeError) {
      this.answer(REFUSED); // Deno refuses port 0, as the system does in Python.
    } else if (error instanceof Deno.errors.NetworkUnreachable) {
      this.answer(NO_NETWORK);
    } else if (error instanceof Error && !("code" in error)) {
      this.answer(NO_HOST); // Deno's errors of names have no class of their own.
    } else {
      this.answer(FAILURE);
    }
  }

  answer(code: number) {
    this.refuse(5, code, 0, IPV4, 0, 0, 0, 0, 0, 0);
  }

  refuse(...message: number[]) {
    console.log(`${this.user} is refused with code ${message[1]}`);
    this.setTerminator(null); // What follows is for nobody.
    this.push(Uint8Array.from(message));
    this.closeWhenDone();
  }
}

class SocksServer extends Dispatcher {
  constructor() {
    super();
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(100);
  }

  override handleAccepted(conn: Channel) {
    new Client(conn);
  }
}

const server = new SocksServer();
console.log("listening on", server.localAddr!.port);
await loop();
