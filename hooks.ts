/**
 * How events reach a dispatcher's hooks: one at a time, errors to
 * `handleError()`, and `handleClose()` once.
 *
 * @module
 */

import { ExitNow, isPromise, type Pollable, type Reactor } from "./reactor.ts";

/** The socket whose dispatcher's hooks are called. */
export interface HookTarget {
  readonly pollable: Pollable;
  readonly reactor: Reactor;
  readonly closed: boolean;
  /** A hook's promise is pending: no event until it settles. */
  held: boolean;
  close(): void;
  abort(): void;
  /** All promises of hooks have settled: events may go on. */
  settled(): void;
}

/** Calls one hook of a dispatcher. */
export type Hook = (pollable: Pollable) => unknown;

/** Calls the hooks of one socket. */
export class Hooks {
  readonly #target: HookTarget;
  /** How many promises of hooks are pending. */
  #pending = 0;
  #afterwards: (() => void)[] | null = null;
  /** Whether `handleClose()` has had its one call. */
  #close: "due" | "running" | "done" = "due";

  constructor(target: HookTarget) {
    this.#target = target;
  }

  /** The last error that was handed to `handleError()`. */
  lastFailure: unknown = undefined;

  /**
   * Calls a hook; then, however it ended, `after`.
   *
   * @throws {ExitNow} What the hook threw, if it is one.
   */
  run(hook: Hook, after?: () => void): void {
    try {
      const result = hook(this.#target.pollable);
      if (isPromise(result)) this.#follow(result);
    } catch (error) {
      this.fail(error);
    } finally {
      if (after) this.whenSettled(after);
    }
  }

  /** Holds back events until `promise` settles; its errors are the caller's. */
  hold(promise: PromiseLike<unknown>): void {
    this.#follow(promise, undefined, () => {});
  }

  /** Runs `then` when no hook's promise is pending. */
  whenSettled(then: () => void): void {
    if (this.#pending === 0) then();
    else (this.#afterwards ??= []).push(then);
  }

  /**
   * Hands an error to `handleError()`. If that fails too, closes hard.
   *
   * @throws {ExitNow} If the error is one: only the loop's caller handles it.
   */
  fail(error: unknown): void {
    if (error instanceof ExitNow) throw error;
    const { pollable, reactor, closed } = this.#target;
    this.lastFailure = error;
    if (closed) {
      reactor.report(error);
      return;
    }
    try {
      const result = pollable.handleError(error);
      if (isPromise(result)) {
        this.#follow(result, undefined, (second) => this.#failHard(second));
      }
    } catch (second) {
      this.#failHard(second);
    }
  }

  #failHard(error: unknown): void {
    if (error instanceof ExitNow) throw error;
    this.#target.abort();
    this.#target.reactor.report(error);
  }

  /**
   * Runs `handleClose()`, once in a socket's life, and closes what it left
   * open.
   *
   * @throws What `handleClose()` or `close()` threw.
   */
  close(): void {
    const target = this.#target;
    if (target.closed || this.#close === "running") return;
    if (this.#close === "due") {
      this.#close = "running";
      try {
        const result = target.pollable.handleClose();
        if (isPromise(result)) {
          this.#follow(
            result,
            () => this.#finishClose(),
            (error) => this.#failClosing(error),
          );
          return;
        }
      } catch (error) {
        this.#failClosing(error);
        return;
      }
    }
    this.#finishClose();
  }

  /** However handleClose() ended, the socket is closed after it. */
  #failClosing(error: unknown): void {
    this.#close = "done";
    this.fail(error);
    this.whenSettled(() => this.#finishClose());
  }

  #finishClose(): void {
    this.#close = "done";
    const target = this.#target;
    try {
      if (target.closed) return;
      const result: unknown = target.pollable.close();
      if (isPromise(result)) this.#follow(result);
    } finally {
      target.close(); // For an override that throws, or forgets super.close().
    }
  }

  /** {@linkcode close} at the loop's initiative; nothing stays open after it. */
  closeForGood(): void {
    try {
      this.close();
    } catch (error) {
      try {
        this.fail(error);
      } finally {
        this.whenSettled(() => this.#target.abort());
      }
    }
  }

  #follow(
    promise: PromiseLike<unknown>,
    after?: () => void,
    onError: (error: unknown) => void = (error) => this.fail(error),
  ): void {
    this.#pending++;
    this.#target.held = true;
    promise.then(
      () => this.#settle(after),
      (error) => this.#settle(() => onError(error)),
    );
  }

  #settle(then?: () => void): void {
    this.#pending--;
    this.#target.held = this.#pending > 0;
    if (then) this.#outside(then);
    if (this.#pending > 0) return;
    const afterwards = this.#afterwards;
    this.#afterwards = null;
    for (const then of afterwards ?? []) this.#outside(then);
    this.#target.settled();
  }

  #outside(run: () => void): void {
    this.#target.reactor.outside(() => {
      try {
        run();
      } catch (error) {
        this.fail(error);
      }
    });
  }
}
