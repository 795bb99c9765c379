/** What all dispatchers of the soak have in common: a side that watches them. */

import type { Dispatcher, SocketMap } from "../../mod.ts";
import type { Fault } from "./plan.ts";
import type { Party, Side } from "./side.ts";

/** How long a closed dispatcher lingers, in ms: on a busy machine, too. */
const LINGER = 15_000;

// deno-lint-ignore no-explicit-any -- TypeScript asks for it in a mixin.
type DispatcherClass = abstract new (...args: any[]) => Dispatcher;

/** What is known only outside of the dispatcher. */
export interface Surroundings {
  /** The map that it moves to. */
  otherMap: SocketMap;
}

/** What the soak does with a dispatcher of any class. */
export interface WatchedDispatcher extends Dispatcher, Party {
  /** Puts it under the eyes of `side`. */
  attend(side: Side, surroundings: Surroundings): void;
  /** Starts what the plan says. */
  begin(): void;
  /** Sends what tells the server which connection this is. */
  greet(header: Uint8Array): void;
}

/** Lets a dispatcher of `Base` do what its side's plan says. */
function acting<T extends DispatcherClass>(Base: T) {
  abstract class Acting extends Base implements WatchedDispatcher {
    side!: Side;
    #surroundings!: Surroundings;
    protected header: Uint8Array | null = null;

    attend(side: Side, surroundings: Surroundings): void {
      this.side = side;
      side.party = this;
      this.#surroundings = surroundings;
      const { fault } = side;
      if (fault?.kind !== "hookError" || fault.place !== "timer") return;
      this.callLater(fault.ms, () => {
        throw side.hooks.errorAt("timer");
      });
    }
    greet(header: Uint8Array): void {
      this.header = header;
    }
    begin(): void {
      this.side.begin();
      this.goOn();
    }
    /** Sends more, if that is up to us. */
    protected goOn(): void {}
    /** Pauses if it is time to, and then goes on. */
    protected rest(): void {
      this.side.rest((ms, then) => this.callLater(ms, then), () => this.goOn());
    }

    endWriting(): void {
      this.shutdownWrite();
    }
    finish(): void {
      this.close();
    }
    act({ kind }: Fault): void {
      if (kind === "abort") this.abort();
      else if (kind === "closePending") this.close();
      else if (kind === "idle") void this.fallSilent();
    }
    protected fallSilent(): void | Promise<void> {}
    move(): void {
      if (this.socket) this.addChannel(this.#surroundings.otherMap);
    }
    get isGone(): boolean {
      return this.socket === null && !this.connecting && !this.closing;
    }
  }
  return Acting;
}

/** Has a side told, too, of what happens to the dispatcher. */
export function watched<T extends DispatcherClass>(Base: T) {
  abstract class Watched extends acting(Base) {
    override handleConnect(): void | Promise<void> {
      return this.side.hooks.run("handleConnect", () => {
        this.side.connects++;
        this.#sayHello();
        this.begin();
      });
    }
    #sayHello(): void {
      const { length } = this.header!;
      if (this.send(this.header!) === length) return;
      this.side.complain("send() refuses to take bytes in handleConnect()");
    }
    override handleEnd(): void | Promise<void> {
      return this.side.hooks.run("handleEnd", () => {
        this.side.onPeerEnd();
        if (this.side.plan.startsLast) this.begin();
      });
    }
    override handleClose(): void | Promise<void> {
      this.side.closes++;
      return this.side.hooks.run("handleClose", () => this.close());
    }
    override handleTimeout(kind: "idle" | "lifetime"): void | Promise<void> {
      this.side.onTimeout(kind);
      return super.handleTimeout(kind);
    }
    override handleError(error: unknown): void | Promise<void> {
      return this.side.hooks.onError(error, () => super.handleError(error));
    }
    override close(): void {
      this.side?.onClose();
      super.close();
    }
    override abort(): void {
      this.side?.onClose();
      super.abort();
    }
  }
  return Watched;
}

/** The options of a dispatcher by its side's plan. */
export function optionsOf({ plan }: Side, map: SocketMap) {
  const { allowHalfOpen, idleTimeout, lifetime } = plan;
  const { highWaterMark, maxLength } = plan;
  return {
    map,
    linger: LINGER,
    allowHalfOpen,
    idleTimeout,
    lifetime,
    highWaterMark,
    maxLength,
  };
}
