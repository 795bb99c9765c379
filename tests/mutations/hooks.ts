/**
 * Hooks that throw.
 *
 * @module
 */

import type { Mutation } from "./mutation.ts";

const TEST = "tests/hook_matrix_test.ts";

export const HOOKS: Mutation[] = [
  {
    promise: "what a hook throws goes to its handleError()",
    file: "hooks.ts",
    from: "    } catch (error) {\n      this.fail(error);\n    } finally {",
    to: "    } finally {",
    test: TEST,
    filter: "Dispatcher whose handleRead() fails, at",
  },
  {
    promise: "what a hook's promise rejects with goes to its handleError()",
    file: "hooks.ts",
    from:
      "      const result = hook(this.#target.pollable);\n      if (isPromise(result)) this.#follow(result);",
    to: "      hook(this.#target.pollable);",
    test: TEST,
    filter: "Dispatcher whose handleConnect() fails, at",
  },
  {
    promise: "what a predicate throws goes to its handleError()",
    file: "endpoint.ts",
    from: "refuse(error: unknown): void {\n    this.hooks.fail(error);",
    to: "refuse(error: unknown): void {\n    throw error;",
    test: TEST,
    filter: "Dispatcher whose readable() fails, at",
  },
  {
    promise: "a dispatcher whose handleError() throws is closed hard",
    file: "hooks.ts",
    from: "    this.#target.abort();\n    this.#target.reactor.report(error);",
    to: "    this.#target.reactor.report(error);",
    test: TEST,
    filter: "Dispatcher whose handleConnect() fails, at",
  },
  {
    promise: "what handleError() throws is told to onError()",
    file: "hooks.ts",
    from: "    this.#target.abort();\n    this.#target.reactor.report(error);",
    to: "    this.#target.abort();",
    test: TEST,
    filter: "Dispatcher whose handleConnect() fails, at",
  },
  {
    promise: "a handleError() that rejects is as one that throws",
    file: "hooks.ts",
    from:
      "        this.#follow(result, undefined, (second) => this.#failHard(second));",
    to: "        this.#follow(result);",
    test: TEST,
    filter: "Dispatcher whose handleConnect() fails, at",
  },
  {
    promise: "what a hook throws after close() is told to onError()",
    file: "hooks.ts",
    from:
      "    if (closed) {\n      reactor.report(error);\n      return;\n    }",
    to: "    if (closed) return;",
    test: TEST,
    filter: "Dispatcher whose handleRead() fails, at",
  },
  {
    promise: "no handleError() runs after close()",
    file: "hooks.ts",
    from:
      "    if (closed) {\n      reactor.report(error);\n      return;\n    }\n",
    to: "",
    test: TEST,
    filter: "Dispatcher whose handleClose() fails, at",
  },
  {
    promise: "what a timer throws is told to onError(), and the loop goes on",
    file: "reactor.ts",
    from:
      "      if (error instanceof ExitNow) throw error;\n      this.report(error);",
    to: "      throw error;",
    test: TEST,
    filter: "Dispatcher whose callLater() fails, at",
  },
  {
    promise: "what a timer's promise rejects with is told to onError()",
    file: "reactor.ts",
    from:
      "        timer.busy = false;\n        this.outside(() => {\n          throw error;\n        });",
    to: "        timer.busy = false;",
    test: TEST,
    filter: "Dispatcher whose callEvery() fails, at",
  },
  {
    promise: "a connection whose handleAccepted() throws is closed",
    file: "dispatcher.ts",
    from:
      "    } catch (error) {\n      closeQuietly(conn);\n      throw error;\n    }",
    to: "    } catch (error) {\n      throw error;\n    }",
    test: TEST,
    filter: "listens whose handleAccepted() fails, at",
  },
  {
    promise: "a connection whose handleAccepted() rejects is closed",
    file: "dispatcher.ts",
    from:
      "      return Promise.resolve(result).catch((error) => {\n        closeQuietly(conn);\n",
    to: "      return Promise.resolve(result).catch((error) => {\n",
    test: TEST,
    filter: "listens whose handleAccepted() fails, at",
  },
  {
    promise: "an ExitNow is not told to handleError()",
    file: "hooks.ts",
    from:
      "    if (error instanceof ExitNow) throw error;\n    const { pollable",
    to: "    const { pollable",
    test: TEST,
    filter: "ExitNow from any hook of a FileDispatcher",
  },
  {
    promise: "an ExitNow that a promise rejects with leaves the loop",
    file: "reactor.ts",
    from:
      "      if (error instanceof ExitNow) this.#exitWith(error);\n      else this.outside",
    to: "      this.outside",
    test: TEST,
    filter: "ExitNow from any hook of a FileDispatcher",
  },
  {
    promise:
      "who was ready when an ExitNow left the loop has its turn in the next",
    file: "reactor.ts",
    from: "    while (at < entries.length) next().push(entries[at++]!);",
    to: "",
    test: TEST,
    filter: "ExitNow from any hook of a Dispatcher, at",
  },
  {
    promise: "an ExitNow from handleShutdown() leaves the loop, not shutdown()",
    file: "shutdown.ts",
    from: "      this.#reactor.outside(() => entry.shutdown());",
    to: "      entry.shutdown();",
    test: TEST,
    filter: "ExitNow from any hook of a Dispatcher, at",
  },
  {
    promise: "shutdown() closes a listener whose close() throws",
    file: "shutdown.ts",
    from:
      "      if (entry.joined) entry.abort(); // An override that does not close.\n",
    to: "",
    test: TEST,
    filter: "listens whose close() fails, at",
  },
  {
    promise: "closeAll() closes one whose close() throws",
    file: "loop.ts",
    from: "entry.abort();\n  if (errors.length > 0)",
    to: "void entry;\n  if (errors.length > 0)",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "closeAll() goes on behind a close() that throws",
    file: "loop.ts",
    from:
      "      if (!ignoreAll || error instanceof ExitNow) errors.push(error);",
    to: "      throw error;",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "a conversation goes on behind what a hook failed with",
    file: "async_chat.ts",
    from:
      "    } catch (error) {\n      endpoint.notifyAt(Infinity, WOKEN); // To go on, if it stays open.\n      throw error;\n    }\n  }\n\n  async #parseAfter",
    to:
      "    } catch (error) {\n      throw error;\n    }\n  }\n\n  async #parseAfter",
    test: TEST,
    filter: "AsyncChat whose foundTerminator() fails, at",
  },
  {
    promise: "a conversation goes on behind what a hook rejected",
    file: "async_chat.ts",
    from:
      "      await result;\n    } catch (error) {\n      endpoint.notifyAt(Infinity, WOKEN);\n",
    to: "      await result;\n    } catch (error) {\n",
    test: TEST,
    filter: "AsyncChat whose foundTerminator() fails, at",
  },
  {
    promise: "what a producer throws is told",
    file: "async_chat.ts",
    from: "    this.#failure = { error };\n    this.#watch(endpoint);",
    to: "    void error;\n    this.#watch(endpoint);",
    test: TEST,
    filter: "AsyncChat whose more() fails, at",
  },
  {
    promise: "what follows a producer that failed is sent",
    file: "async_chat.ts",
    from:
      "      endpoint.notifyAt(Infinity, WOKEN); // To go on, if it stays open.\n      throw error;\n    }\n    this.#pump",
    to: "      throw error;\n    }\n    this.#pump",
    test: TEST,
    filter: "AsyncChat whose more() fails, at",
  },
  {
    promise: "a failed connect leaves nobody behind whose handleClose() fails",
    file: "endpoint.ts",
    from:
      "      this.hooks.whenSettled(() => this.hooks.closeForGood());\n    }\n  }",
    to: "    }\n  }",
    test: TEST,
    filter: "Dispatcher whose handleClose() fails, at",
  },
  {
    promise: "what an async close() rejects with is told",
    file: "hooks.ts",
    from:
      "      const result: unknown = target.pollable.close();\n      if (isPromise(result)) this.#follow(result);",
    to: "      target.pollable.close();",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "an ExitNow from handleError() leaves the loop",
    file: "hooks.ts",
    from:
      "    if (error instanceof ExitNow) throw error;\n    this.#target.abort();",
    to: "    this.#target.abort();",
    test: TEST,
    filter: "ExitNow from any hook of a Dispatcher, at",
  },
  {
    promise: "a dispatcher whose close() does not close is closed",
    file: "hooks.ts",
    from:
      "      target.close(); // For an override that throws, or forgets super.close().\n",
    to: "      // Nothing.\n",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "a dispatcher is closed although its handleClose() failed",
    file: "hooks.ts",
    from:
      "    this.fail(error);\n    this.whenSettled(() => this.#finishClose());\n  }",
    to: "    this.fail(error);\n  }",
    test: TEST,
    filter: "Dispatcher whose handleClose() fails, at",
  },
  {
    promise: "a default handleClose() waits for an async close()",
    file: "dispatcher.ts",
    from: "    return this.close();\n  }",
    to: "    this.close();\n  }",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "an AsyncChat's handleClose() waits for an async close()",
    file: "async_chat.ts",
    from: "    return this.close();",
    to: "    this.close();",
    test: TEST,
    filter: "AsyncChat whose close() fails, at",
  },
  {
    promise: "what a logger's promise rejects with is told",
    file: "dispatcher.ts",
    from: "    if (isPromise(logged)) reactorOf(this.#map).follow(logged);",
    to: "    void logged;",
    test: TEST,
    filter: "Dispatcher whose logger fails, at",
  },
  {
    promise: "an onError() that throws leaves it to the console",
    file: "loop.ts",
    from: "      } catch (second) {\n        failed(second);\n      }",
    to: "      } catch {\n        // Nothing.\n      }",
    test: TEST,
    filter: "Dispatcher whose handleConnect() fails, at",
  },
  {
    promise: "an onError() that rejects leaves it to the console",
    file: "loop.ts",
    from: "        if (!isPromise(told)) return;\n",
    to: "        return;\n",
    test: TEST,
    filter: "onError() that rejects",
  },
  {
    promise:
      "a logger that rejects what onError() tells it leaves it to the console",
    file: "log.ts",
    from:
      "  if (isPromise(logged)) {\n    logged.then(undefined, (second) => reportError(null, second));\n  }\n",
    to: "",
    test: TEST,
    filter: "Logger that rejects",
  },
  {
    promise: "a predicate that gives a promise is an error",
    file: "endpoint.ts",
    from: "  if (!isPromise(answer)) return answer as boolean;\n",
    to: "  if (!isPromise(answer) || answer) return answer as boolean;\n",
    test: TEST,
    filter: "gives a promise",
  },
  {
    promise: "an ExitNow from handleRead() leaves nobody deaf",
    file: "endpoint.ts",
    from: "      if (!this.held && this.joined) this.#goOnReading();\n    }",
    to: "    }\n    if (!this.held && this.joined) this.#goOnReading();",
    test: TEST,
    filter: "ExitNow from any hook of a Dispatcher, at",
  },
  {
    promise: "a predicate that throws delays nothing that has arrived",
    file: "endpoint.ts",
    from: "    this.#want(this.#wantsRead, false);",
    to: "",
    test: TEST,
    filter: "Dispatcher whose writable() fails, at",
  },
  {
    promise:
      "a loop whose waits end by promises alone gives the runtime its turns",
    file: "reactor.ts",
    from: "const isTurnDue = ++this.#waits % WAITS_PER_TURN === 0;",
    to: "const isTurnDue = false;",
    test: TEST,
    filter: "always has something leaves",
  },
  {
    promise: "an async hook that takes nothing leaves the others their turns",
    file: "reactor.ts",
    from: "const isTurnDue = ++this.#waits % WAITS_PER_TURN === 0;",
    to: "const isTurnDue = false;",
    test: TEST,
    filter: "takes nothing leaves",
  },
  {
    promise: "nothing goes unnoticed that happens while the timeout is set",
    file: "reactor.ts",
    from:
      "    const waiting = new Promise<void>((resolve) => this.#resume = resolve);\n    this.#arm(now);\n    return waiting;",
    to:
      "    this.#arm(now);\n    return new Promise<void>((resolve) => this.#resume = resolve);",
    test: TEST,
    filter: "while its clock sets",
  },
  {
    promise: "what the streams cannot tell is told to onError()",
    file: "streams.ts",
    from:
      "        if (!this.#canTell(error)) endpoint.reactor.report(error);\n",
    to: "",
    test: TEST,
    filter: "toStreams() whose handleClose() fails, at",
  },
  {
    promise: "the streams flow though handleConnect() left the loop",
    file: "streams.ts",
    from:
      "          if (error instanceof ExitNow) this.#connected.resolve();\n",
    to: "",
    test: TEST,
    filter: "ExitNow from any hook of a Dispatcher with toStreams()",
  },
  {
    promise: "an async close() that the streams call is followed",
    file: "streams.ts",
    from: "    if (isPromise(result)) this.#endpoint.reactor.follow(result);",
    to: "    void result;",
    test: TEST,
    filter: "toStreams() whose close() fails, at",
  },
  {
    promise:
      "a datagram lost while a hook was pending goes to the log when it is closed then",
    file: "datagram_dispatcher.ts",
    from: "    else this.map.callLater(0, () => hooks.whenSettled(tell));",
    to:
      "    else this.map.callLater(0, () => hooks.whenSettled(() => hooks.fail(error)));",
    test: TEST,
    filter: "DatagramDispatcher whose handleWrite() fails, at",
  },
  {
    promise: "shutdown() follows an async close() of a listener",
    file: "shutdown.ts",
    from: "        if (isPromise(result)) this.#reactor.follow(result);",
    to: "        void result;",
    test: TEST,
    filter: "listens whose close() fails, at",
  },
  {
    promise: "closeAll() follows an async close()",
    file: "loop.ts",
    from: "      if (isPromise(result)) reactor.follow(result);",
    to: "      void result;",
    test: TEST,
    filter: "Dispatcher whose close() fails, at",
  },
  {
    promise: "who was closed by its readable() is not asked writable()",
    file: "predicates.ts",
    from: 'typeof readable === "boolean" && allSettled[place] === settled',
    to: 'typeof readable === "boolean"',
    test: "tests/predicates_test.ts",
    filter: "when readable() has closed it",
  },
  {
    promise: "the same answers start another read when one has ended",
    file: "endpoint.ts",
    from:
      "    this.#armed = false;\n    this.reactor.predicates.settle(this, Settled.never);\n",
    to: "    this.#armed = false;\n",
    test: "tests/predicates_test.ts",
    filter: "whatever happens",
  },
  {
    promise: "who waits for the promise of a hook is not asked",
    file: "endpoint.ts",
    from:
      "    this.#held = isHeld;\n    this.reactor.predicates.settle(this, Settled.never);\n",
    to: "    this.#held = isHeld;\n",
    test: "tests/predicates_test.ts",
    filter: "not asked while the promise",
  },
  {
    promise: "a changed answer is acted on, however long it was the same",
    file: "predicates.ts",
    from: "if (writable !== false || readable !== (settled === reading)) {",
    to: "if (writable !== false) {",
    test: "tests/predicates_test.ts",
    filter: "turns true after long",
  },
  {
    promise: "who comes back before its first pass is asked last",
    file: "reactor.ts",
    from: "if (entry.place === NEWCOMER) {",
    to: "if (entry.place > 0) {",
    test: "tests/predicates_test.ts",
    filter: "whatever happens",
  },
  {
    promise: "hooks run together, and then what they ask of the system",
    file: "reactor.ts",
    from: "this.#inCrowd = this.#ready.length + this.#writers.length > 1;",
    to: "",
    test: "tests/crowd_test.ts",
    filter: "when all of them had theirs",
  },
  {
    promise: "nobody's answer waits for the hooks of thousands",
    file: "reactor.ts",
    from: "if (this.#senders.length === MOST_TOGETHER) this.#startAll();",
    to: "",
    test: "tests/crowd_test.ts",
    filter: "do not wait for all",
  },
  {
    promise: "an ExitNow keeps nobody's answer back",
    file: "reactor.ts",
    from: "      this.#inCrowd = false;\n      this.#startAll();\n",
    to:
      "      this.#inCrowd = false;\n      if (this.#ready.length === 0) this.#startAll();\n",
    test: "tests/crowd_test.ts",
    filter: "ExitNow in a crowd",
  },
  {
    promise: "what fails while the writable is being closed is told once",
    file: "streams.ts",
    from:
      "      await this.#sent();\n      this.#checkSending();\n      this.#writeEnding = true;\n",
    to:
      "      this.#writeEnding = true;\n      await this.#sent();\n      this.#checkSending();\n",
    test: TEST,
    filter: "toStreams() whose handleWrite() fails",
  },
  {
    promise: "the deadlines of a connection end with it, whatever comes next",
    file: "endpoint.ts",
    from: "new HeapTimer(timers, delay, false, callback, this.timers);",
    to: "new HeapTimer(timers, delay, false, callback, null);",
    test: "tests/limits_test.ts",
    filter: "former connection",
  },
  {
    promise: "a timer that a closed dispatcher starts never runs",
    file: "endpoint.ts",
    from: "      if (this.closed) this.#timers.end();\n",
    to: "",
    test: "tests/limits_test.ts",
    filter: "after its end",
  },
  {
    promise: "what a predicate throws after it has closed is told",
    file: "predicates.ts",
    from: "this.#entries[place]!.refuse(error);",
    to: "if (pollables[place] !== null) this.#entries[place]!.refuse(error);",
    test: "tests/predicates_test.ts",
    filter: "settled predicate that closes",
  },
  {
    promise: "what is discarded before it began to go out holds no end back",
    file: "outbound.ts",
    from: "      this.pending = 0;\n      this.#allDone();\n",
    to: "      this.pending = 0;\n",
    test: "tests/crowd_test.ts",
    filter: "discards what it pushed",
  },
  {
    promise: "a crash asks no predicate of its host any more",
    file: "testing/sim_life.ts",
    from: "      reactor.predicates.remove(entry);\n",
    to: "",
    test: "tests/sim_hosts_test.ts",
    filter: "inside a predicate",
  },
  {
    promise: "what came of a wait is gone on with without another turn",
    file: "reactor.ts",
    from: "    if (work && hadTurn) return;\n",
    to: "",
    test: "tests/cost_test.ts",
    filter: "answers without another turn",
  },
  {
    promise: "work without end leaves the runtime its turns",
    file: "reactor.ts",
    from: "    this.#hadTurn = false;\n    // What came",
    to: "    // What came",
    test: "tests/cost_test.ts",
    filter: "writable for good",
  },
  {
    promise: "memory that is freed stays for the next large messages",
    file: "memory.ts",
    from: "    new ArrayBuffer(BLOCK).transfer(0);\n",
    to: "",
    test: "tests/memory_test.ts",
  },
  {
    promise: "a read that finds no memory costs its own dispatcher",
    file: "inbound.ts",
    from: "    try {\n      this.#buffer ??= new Uint8Array(this.#nextSize);\n",
    to: "    this.#buffer ??= new Uint8Array(this.#nextSize);\n    try {\n",
    test: "tests/errors_test.ts",
    filter: "finds no memory",
  },
];
