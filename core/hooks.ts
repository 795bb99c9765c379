/**
 * Calls a dispatcher's hooks: one at a time. Errors go to `handleError()`, and
 * `handleClose()` runs only once.
 *
 * A dispatcher can have a new socket while a hook of the old one still runs.
 * Example: in `handleRead()`, `recv()` at the end of the stream runs
 * `handleClose()`, which closes and calls `createSocket()`. Then `handleRead()`
 * goes on. The new socket's hooks are the successor of the old ones, and wait
 * until these, their former ones, are no longer busy.
 *
 * @module
 */

import type { TimeoutKind } from "./limits.ts";
import type { HookResult, Pollable } from "./entry.ts";
import { ExitNow, type Reactor } from "./reactor.ts";
import type { WAKE } from "./symbols.ts";
import { isPromise, toPromise } from "./thenable.ts";

/** The hooks of a dispatcher that the loop calls. */
export interface Hooked extends Pollable {
  /** Runs when the peer has ended its side, and this side stays open. */
  handleEnd(): HookResult;
  /** Runs when urgent data has arrived. */
  handleExptEvent(): HookResult;
  /** Runs when the connection was idle for too long, or has lasted too long. */
  handleTimeout(kind: TimeoutKind): HookResult;
  /** Runs when `shutdown()` was called. */
  handleShutdown(): HookResult;
  /** Goes on with work that waited for room, or for its turn. */
  [WAKE](): HookResult;
}

/** A socket, as its hooks need it. */
export interface HookTarget {
  readonly pollable: Hooked;
  readonly reactor: Reactor;
  readonly closed: boolean;
  /** It is in a map, so it may get events. */
  readonly joined: boolean;
  /** Holds events back while a hook's promise is pending. */
  hold(isHeld: boolean): void;
  /** Runs `tell` as soon as it is in a map and no hook's promise is pending. */
  whenMay(tell: () => void): void;
  close(): void;
  /**
   * Takes back what a failed hook has handed to a dispatcher that has had no turn
   * yet: its constructor may have thrown.
   *
   * @returns Whether this socket is open again.
   */
  takeBack(): boolean;
  /** Closes the socket if an override of `close()` has left it open, and warns. */
  closeAnyway(): void;
  /** Watches whether `close()` is called from now on, if a class overrides it. */
  watchClose(): CloseWatch | null;
  /** Runs when all promises of hooks have settled, so events may go on. */
  resume(): void;
}

/** Watches whether an override of `close()` is called. */
export interface CloseWatch {
  /** Stops watching, and returns whether it was called. */
  stop(): boolean;
}

/** No thrown value is equal to this object. */
const NONE = {};

/** Calls one hook of a dispatcher. */
export type Hook = (pollable: Hooked) => unknown;

/** Calls the hooks of one socket. */
export class Hooks {
  /** The socket. A socket that becomes another one passes its hooks on. */
  target!: HookTarget;
  /** How many promises of hooks are pending. */
  #pending = 0;
  #afterwards: (() => void)[] | null = null;
  /** A hook is being called. */
  #isCalling = false;
  /** The hooks of the dispatcher's next socket, if it was made while these are busy. */
  #successor: Hooks | null = null;
  /** The hooks of the dispatcher's socket before, as long as they are busy. */
  #former: Hooks | null = null;
  /** The state of the one call of `handleClose()`. */
  #close: "due" | "running" | "done" = "due";

  /** The last error that `handleError()` got. */
  lastFailure: unknown = NONE;

  /** `handleClose()` has ended. */
  get isCloseDone(): boolean {
    return this.#close === "done";
  }

  /**
   * Calls a hook. When it has ended, calls `after`, even if the hook failed.
   *
   * @throws {ExitNow} If the hook throws it.
   */
  run(hook: Hook, after?: () => void): void {
    const isNested = this.#isCalling;
    this.#isCalling = true;
    try {
      const result = hook(this.target.pollable);
      if (isPromise(result)) this.#follow(result);
    } catch (error) {
      this.fail(error);
    } finally {
      this.#called(isNested);
      if (after) this.whenSettled(after);
    }
  }

  #called(isNested: boolean): void {
    this.#isCalling = isNested;
    if (!this.isBusy) this.#makeWay();
  }

  #makeWay(): void {
    if (this.#successor !== null) this.#successor.#former = null;
    this.#successor = null;
  }

  /** A hook is being called, or its promise is pending. */
  get isBusy(): boolean {
    return this.#isCalling || this.#pending > 0;
  }

  /** `handleClose()` was called. */
  get hasClosed(): boolean {
    return this.#close !== "due";
  }

  /** No hook of the dispatcher is under way, for this socket or the one before. */
  get mayRun(): boolean {
    return !this.isBusy && this.#former === null;
  }

  /** Makes the hooks of the dispatcher's next socket wait for these. */
  precede(next: Hooks): void {
    this.#makeWay();
    this.#successor = next;
    next.#former = this;
    if (this.#pending > 0) this.#holdSuccessor();
  }

  #holdSuccessor(): void {
    const settled = new Promise<void>((resolve) => this.whenSettled(resolve));
    this.#successor?.hold(settled);
  }

  /** Holds events back until `promise` settles. The caller handles its rejection. */
  hold(promise: PromiseLike<unknown>): void {
    this.#follow(promise, undefined, () => {});
  }

  /** Runs `then` when no hook's promise is pending. */
  whenSettled(then: () => void): void {
    if (this.#pending === 0) then();
    else (this.#afterwards ??= []).push(then);
  }

  /**
   * Calls `handleError()` as soon as no hook's promise is pending. If that fails,
   * closes the socket.
   *
   * @throws {ExitNow} If `error` is an ExitNow: only the loop's caller handles it.
   */
  fail(error: unknown): void {
    if (error instanceof ExitNow) throw error;
    this.whenSettled(() => this.#tellError(error));
  }

  #tellError(error: unknown): void {
    const { pollable, reactor } = this.target;
    this.lastFailure = error;
    if (this.target.closed && !this.target.takeBack()) {
      reactor.report(error);
      return;
    }
    const isNested = this.#isCalling;
    this.#isCalling = true;
    try {
      const result = pollable.handleError(error);
      if (isPromise(result)) {
        this.#follow(result, undefined, (second) => this.#failHard(second));
      }
    } catch (second) {
      this.#failHard(second);
    } finally {
      this.#called(isNested);
    }
  }

  #failHard(error: unknown): void {
    if (error instanceof ExitNow) throw error;
    this.target.takeBack(); // handleError() may have handed it on.
    this.target.close();
    this.target.reactor.report(error);
  }

  /**
   * Runs `handleClose()`, once in a socket's life. If it leaves the socket open,
   * closes it.
   *
   * @throws The error of `handleClose()` or of `close()`.
   */
  close(): void {
    const target = this.target;
    if (target.closed || this.#close !== "due") return;
    this.#close = "running";
    let watch: CloseWatch | null = null;
    const isNested = this.#isCalling;
    this.#isCalling = true;
    try {
      watch = target.watchClose();
      const result = target.pollable.handleClose();
      if (isPromise(result)) {
        this.#follow(
          result,
          () => this.#finishClose(watch),
          (error) => this.#failClosing(error, watch),
        );
        return;
      }
    } catch (error) {
      this.#failClosing(error, watch);
      return;
    } finally {
      this.#called(isNested);
    }
    this.#finishClose(watch);
  }

  /** handleClose() has failed: tells of the error, and closes the socket. */
  #failClosing(error: unknown, watch: CloseWatch | null): void {
    this.#close = "done";
    this.inAnyCase(
      () => this.fail(error),
      () => this.whenSettled(() => this.#finishClose(watch)),
    );
  }

  /** Runs `close()`, unless `handleClose()` has done so. It may be async, too. */
  #finishClose(watch: CloseWatch | null): void {
    this.#close = "done";
    const hasRun = watch?.stop() ?? false;
    if (this.target.closed) return;
    if (hasRun) {
      this.target.closeAnyway();
      return;
    }
    const { pollable } = this.target;
    // An override may make another kind of socket of it, and leave that open.
    const closeAnyway = () => {
      if (!this.target.closed) this.target.closeAnyway();
    };
    try {
      const result: unknown = pollable.close();
      if (!isPromise(result)) closeAnyway();
      else {
        this.#follow(result, closeAnyway, (error) => {
          this.target.close();
          this.fail(error);
        });
      }
    } catch (error) {
      this.target.close();
      throw error;
    }
  }

  /**
   * {@linkcode close} at the loop's initiative: the socket is closed afterwards,
   * even if a hook throws. If the dispatcher has left its map, it runs when the
   * dispatcher has joined one.
   */
  closeInAnyCase(): void {
    const target = this.target;
    if (!target.joined && !target.closed) {
      target.whenMay(() => this.closeInAnyCase());
      return;
    }
    this.inAnyCase(() => {
      try {
        this.close();
      } catch (error) {
        this.fail(error);
      }
    }, () => this.whenSettled(() => this.#closeTarget()));
  }

  /** Closes the socket if the hooks have left it open. */
  #closeTarget(): void {
    if (!this.target.closed) this.target.close();
  }

  /** {@linkcode fail} with an error that ends the socket. */
  closeWithError(error: unknown): void {
    this.inAnyCase(
      () => this.fail(error),
      () =>
        this.whenSettled(() => {
          if (!this.target.closed) this.closeInAnyCase();
        }),
    );
  }

  /** Runs `then` after `run`, even if `run` throws, such as an ExitNow. */
  inAnyCase(run: () => void, then: () => void): void {
    try {
      run();
    } catch (error) {
      this.#outside(then); // An error of `then` must not replace `error`.
      throw error;
    }
    then();
  }

  #follow(
    promise: PromiseLike<unknown>,
    after?: () => void,
    onError: (error: unknown) => void = (error) => this.fail(error),
  ): void {
    this.target.hold(true);
    if (++this.#pending === 1 && this.#successor) this.#holdSuccessor();
    toPromise(promise).then(
      () => this.#settle(after),
      (error) => this.#settle(() => onError(error)),
    );
  }

  #settle(then?: () => void): void {
    this.#pending--;
    this.target.hold(this.#pending > 0);
    if (then) this.#outside(then);
    // Each callback may call a hook. The next ones wait for its promise.
    while (this.#pending === 0) {
      const next = this.#afterwards?.shift();
      if (next === undefined) break;
      this.#outside(next);
    }
    if (this.#pending > 0) return;
    this.#afterwards = null;
    if (!this.isBusy) this.#makeWay();
    this.#outside(() => this.target.resume());
  }

  #outside(run: () => void): void {
    this.target.reactor.outside(() => {
      try {
        run();
      } catch (error) {
        this.fail(error);
      }
    });
  }
}
