/**
 * How events reach a dispatcher's hooks: one at a time, errors to
 * `handleError()`, and `handleClose()` once.
 *
 * @module
 */

import { ExitNow, type Pollable, type Reactor } from "./reactor.ts";
import { isPromise, toPromise } from "./thenable.ts";

/** The socket whose dispatcher's hooks are called. */
export interface HookTarget {
  readonly pollable: Pollable;
  readonly reactor: Reactor;
  readonly closed: boolean;
  /** It is in a map, so it may be told of events. */
  readonly joined: boolean;
  /** A hook's promise is pending: no event until it settles. */
  held: boolean;
  /** Runs `tell` in a map, and when no hook's promise is pending. */
  whenMay(tell: () => void): void;
  close(): void;
  /** Closes what an override of `close()` has left open. */
  closeAnyway(): void;
  /** Notes whether `close()` is called from now on, where a class overrides it. */
  watchClose(): CloseWatch | null;
  /** All promises of hooks have settled: events may go on. */
  settled(): void;
}

/** Looks whether an override of `close()` is called. */
export interface CloseWatch {
  /** Stops looking; whether it was called. */
  stop(): boolean;
}

/** Equal to nothing that can be thrown. */
const NONE = {};

/** Calls one hook of a dispatcher. */
export type Hook = (pollable: Pollable) => unknown;

/** Calls the hooks of one socket. */
export class Hooks {
  readonly #target: HookTarget;
  /** How many promises of hooks are pending. */
  #pending = 0;
  #afterwards: (() => void)[] | null = null;
  /** A hook is being called. */
  #isCalling = false;
  /** Those of the socket that was made while a hook of this one was busy. */
  #successor: Hooks | null = null;
  /** The other way round, as long as that hook is busy. */
  #former: Hooks | null = null;
  /** Whether `handleClose()` has had its one call. */
  #close: "due" | "running" | "done" = "due";

  constructor(target: HookTarget) {
    this.#target = target;
  }

  /** The last error that was handed to `handleError()`. */
  lastFailure: unknown = NONE;

  /** `handleClose()` has run to its end. */
  get isCloseDone(): boolean {
    return this.#close === "done";
  }

  /**
   * Calls a hook; then, however it ended, `after`.
   *
   * @throws {ExitNow} What the hook threw, if it is one.
   */
  run(hook: Hook, after?: () => void): void {
    const isNested = this.#isCalling;
    this.#isCalling = true;
    try {
      const result = hook(this.#target.pollable);
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

  /** `handleClose()` has had its call, or is having it. */
  get hasClosed(): boolean {
    return this.#close !== "due";
  }

  /** No hook of the dispatcher is under way, whichever socket it is for. */
  get mayRun(): boolean {
    return !this.isBusy && this.#former === null;
  }

  /** Has the hooks of the dispatcher's next socket wait for those of this one. */
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
   * Hands an error to `handleError()`, when no hook's promise is pending. If
   * that fails too, closes.
   *
   * @throws {ExitNow} If the error is one: only the loop's caller handles it.
   */
  fail(error: unknown): void {
    if (error instanceof ExitNow) throw error;
    this.whenSettled(() => this.#tellError(error));
  }

  #tellError(error: unknown): void {
    const { pollable, reactor, closed } = this.#target;
    this.lastFailure = error;
    if (closed) {
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
    this.#target.close();
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

  /** However handleClose() ended, the socket is closed after it. */
  #failClosing(error: unknown, watch: CloseWatch | null): void {
    this.#close = "done";
    this.inAnyCase(
      () => this.fail(error),
      () => this.whenSettled(() => this.#finishClose(watch)),
    );
  }

  /** Runs `close()`, unless `handleClose()` has; an override may be async, too. */
  #finishClose(watch: CloseWatch | null): void {
    this.#close = "done";
    const hasRun = watch?.stop() ?? false;
    const target = this.#target;
    if (target.closed) return;
    if (hasRun) {
      target.closeAnyway();
      return;
    }
    try {
      const result: unknown = target.pollable.close();
      if (!isPromise(result)) target.closeAnyway();
      else {
        this.#follow(result, () => target.closeAnyway(), (error) => {
          target.close();
          this.fail(error);
        });
      }
    } catch (error) {
      target.close();
      throw error;
    }
  }

  /**
   * {@linkcode close} at the loop's initiative; nothing stays open after it. A
   * dispatcher that has left its map hears of it when it is back.
   */
  closeForGood(): void {
    const target = this.#target;
    if (!target.joined && !target.closed) {
      target.whenMay(() => this.closeForGood());
      return;
    }
    this.inAnyCase(() => {
      try {
        this.close();
      } catch (error) {
        this.fail(error);
      }
    }, () => this.whenSettled(() => target.close()));
  }

  /** {@linkcode fail} with an error that leaves nothing to go on with. */
  failForGood(error: unknown): void {
    this.inAnyCase(
      () => this.fail(error),
      () => this.whenSettled(() => this.closeForGood()),
    );
  }

  /** Goes on with `then` also when `run` throws, an ExitNow for example. */
  inAnyCase(run: () => void, then: () => void): void {
    try {
      run();
    } catch (error) {
      this.#outside(then); // What it throws must not take the place of `error`.
      throw error;
    }
    then();
  }

  #follow(
    promise: PromiseLike<unknown>,
    after?: () => void,
    onError: (error: unknown) => void = (error) => this.fail(error),
  ): void {
    this.#target.held = true;
    if (++this.#pending === 1 && this.#successor) this.#holdSuccessor();
    toPromise(promise).then(
      () => this.#settle(after),
      (error) => this.#settle(() => onError(error)),
    );
  }

  #settle(then?: () => void): void {
    this.#pending--;
    this.#target.held = this.#pending > 0;
    if (then) this.#outside(then);
    // Each of these may call a hook whose promise the others have to wait for.
    while (this.#pending === 0) {
      const next = this.#afterwards?.shift();
      if (next === undefined) break;
      this.#outside(next);
    }
    if (this.#pending > 0) return;
    this.#afterwards = null;
    if (!this.isBusy) this.#makeWay();
    this.#outside(() => this.#target.settled());
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
