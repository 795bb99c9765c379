/** Whatever a hook throws, at any point of a connection's trial, harms nobody else. */

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import {
  AsyncChat,
  type AsyncChatOptions,
  channelFrom,
  closeAll,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  loop,
  shutdown,
  toStreams,
} from "../../mod.ts";
import {
  codedError,
  Echo,
  FakeChannel,
  LogLines,
  quietMap,
  Recorder,
} from "../fakes.ts";
import { raise, Trial, WAYS, withError } from "../hook_matrix.ts";
import { MockClock } from "../../testing/mock_clock.ts";
import {
  bytes,
  connectedPair,
  rawConnect,
  ScopedMap,
  text,
  turn,
  turns,
  until,
} from "../support.ts";

// Who fails

type Options = AsyncChatOptions;

/** Reads what arrives. */
function reading(trial: Trial, made: Dispatcher): Dispatcher {
  return trial.spyOn(made, { handleRead: () => void made.recv() });
}

const plain = (trial: Trial, options?: Options) =>
  trial.spyOn(new Dispatcher(null, { map: trial.map, ...options }));

const reader = (trial: Trial, options?: Options) =>
  reading(trial, new Dispatcher(null, { map: trial.map, ...options }));

const sender = (trial: Trial, options?: Options) =>
  reading(trial, new DispatcherWithSend(null, { map: trial.map, ...options }));

/** Is asked in each pass. */
const asked = (trial: Trial) => {
  const made = new Dispatcher(null, { map: trial.map });
  const writable = () => !made.connected;
  const handleRead = () => void made.recv();
  return trial.spyOn(made, { readable: () => true, writable, handleRead });
};

const chat = (trial: Trial, options?: Options) => {
  const made = new AsyncChat(null, { map: trial.map, ...options });
  made.setTerminator("\n");
  const ignore = () => {};
  const hooks = { collectIncomingData: ignore, foundTerminator: ignore };
  return trial.spyOn(made, hooks);
};

type Make = typeof plain;

const connecting = (make: Make) => (trial: Trial) => {
  const subject = make(trial);
  subject.createSocket();
  subject.connect({ port: 7 });
  return subject;
};

const connected = (make: Make, options?: Options) => (trial: Trial) => {
  const subject = make(trial, options);
  subject.setSocket(trial.channel);
  return subject;
};

const aClient = connecting(reader);
const aReader = connected(reader);
const aChat = connected(chat);

const listening = (trial: Trial) => {
  const subject = plain(trial);
  subject.createSocket();
  subject.bind({ port: 0 });
  subject.listen();
};

const file = (trial: Trial) =>
  reading(trial, new FileDispatcher(trial.channel, { map: trial.map }));

const datagrams = (trial: Trial) => {
  const addr = { transport: "udp", hostname: "127.0.0.1", port: 7 } as const;
  const { channel } = trial;
  const socket = {
    addr,
    receive: async (target: Uint8Array) => {
      const length = await channel.read(target);
      return [target.subarray(0, length!), addr] as [Uint8Array, Deno.Addr];
    },
    send: (data: Uint8Array) => channel.write(data),
    close: () => channel.close(),
  };
  const made = new DatagramDispatcher(null, { map: trial.map });
  trial.spyOn(made, { handleRead: () => void made.recvFrom() });
  made.setSocket(socket);
};

/** Its streams are written and read to the end, and it is noted how they end. */
const streamed = (open: (trial: Trial) => Dispatcher) => (trial: Trial) => {
  const { readable, writable } = toStreams(open(trial));
  const note = (name: string) => (error: unknown) =>
    trial.note(withError(name, error));
  const writer = writable.getWriter();
  writer.write(bytes("spam")).catch(() => {});
  const reading = (async () => {
    for await (const _ of readable);
    await writer.close().catch(() => {});
  })();
  reading.catch(note("readable"));
  writer.closed.catch(note("writable"));
};

// What happens

const says = (what: string | Error | null) => ({ channel }: Trial) =>
  channel.push(what);
const isReset = says(new Deno.errors.ConnectionReset("reset"));
const BROKEN = new Error("broken");
const NO_DESCRIPTORS = codedError("EMFILE");
const breaks = says(BROKEN);
const accepts = (trial: Trial) => trial.network.acceptor.push(trial.client());
const acceptFails = (error: Error) => ({ network }: Trial) =>
  network.acceptor.push(error);
const connects = ({ network, channel }: Trial) => network.succeed(channel);
const isRefused = ({ network }: Trial) =>
  network.fail(new Deno.errors.ConnectionRefused("refused"));
const secondPasses = ({ clock }: Trial) => clock.advance(1_000);
const shutsDown = ({ map }: Trial) => void shutdown({ map, deadline: 1_000 });
const closesAll = (trial: Trial) => {
  trial.neighboursHear = "";
  closeAll(trial.map);
};
const closes = ({ subject }: Trial) => subject.close();
const sends = ({ subject }: Trial) => subject.send(bytes("spam"));
const sendsInVain = (trial: Trial) => {
  trial.channel.take = () => Promise.reject(new Error("full"));
  trial.subject.send(bytes("spam"));
};
const produces = (isAsync: boolean) => (trial: Trial) => {
  const pieces = ["one", "two", ""];
  const more = () => trial.call("more()", () => pieces.shift()) as string;
  const subject = trial.subject as AsyncChat;
  subject.pushWithProducer({ more: isAsync ? async () => await more() : more });
  subject.push("three");
};
const startsTimer = (trial: Trial) => {
  trial.subject.callLater(9, () => trial.call("callLater()", () => {}) as void);
  return secondPasses(trial);
};
const startsInterval = (trial: Trial) => {
  trial.subject.callEvery(
    600,
    () => trial.call("callEvery()", () => {}) as void,
  );
  return secondPasses(trial);
};

// What follows

/** Cannot wait, so it does not reject. */
const SYNC = ["readable", "writable", "logInfo"];

/**
 * Checks the calls after a hook has failed. A line is `hook way, way: calls`.
 *
 * The ways:
 * - `throws`, `rejects`: instead of its work; `fails`: both, each in a trial;
 * - `works and fails`: does its work first, and throws then, or rejects when the
 *   other hooks have had their turn;
 * - `exits`: throws an ExitNow instead of its work; `works and exits`: does its
 *   work, and rejects with an ExitNow when the others have had their turn;
 * - `is ignored`: fails, and handleError() does nothing;
 * - `fails twice`: fails, and so does handleError(), with the error `eggs`.
 *
 * The calls, in order:
 * - a name: that hook was called; `handleError(spam)` and `onError(spam)`: with
 *   the error of the failed hook;
 * - `caller(spam)`: the call that the test made failed with that error;
 * - `loop`: loop() threw the ExitNow, and was called again;
 * - `sent(spam)`: the channel has got these bytes;
 * - `;`: all is quiet, and another message and another client come. The calls
 *   behind it show that the dispatcher has stayed.
 *
 * The line `handleRead exits: loop handleRead ; handleRead` of "Dispatcher that
 * hears" as a script:
 * 1. The peer sends "spam". The failing handleRead() throws an ExitNow.
 * 2. loop() throws it, and is called again: `loop`.
 * 3. The bytes are still there, and are read now: `handleRead`.
 * 4. The peer sends "more": `; handleRead`.
 */
function live(
  name: string,
  open: (trial: Trial) => unknown,
  happens: (trial: Trial) => unknown,
): (table: TemplateStringsArray) => void {
  const check = (line: string) => {
    const [, hook, ways, calls] = /^ *(\S+) (.+): *(.*)$/.exec(line)!;
    Deno.test(`${name} harms nobody when its ${hook} ${ways}`, async () => {
      for (const way of ways!.split(", ").flatMap((way) => WAYS[way]!)) {
        if (way.isAsync && SYNC.includes(hook!)) continue;
        assertEquals(await new Trial(hook!, way).run(open, happens), calls);
      }
    });
  };
  return ([table]) => table!.trim().split("\n").forEach(check);
}

live("Dispatcher that connects", aClient, connects)`
  handleConnect fails, works and fails: handleError(spam) handleClose close
  handleConnect exits, works and exits: loop ; handleRead
  handleConnect is ignored: handleError(spam) ; handleRead
  handleConnect fails twice: handleError(spam) onError(eggs)
  handleWrite fails: handleError(spam) handleClose close
  handleWrite exits: loop handleWrite ; handleRead handleWrite
  logInfo fails: onError(spam) ; handleRead
  logInfo exits: loop ; handleRead
`;
live("Dispatcher with predicates that connects", connecting(asked), connects)`
  readable fails: handleError(spam) handleClose close
  readable exits: loop handleConnect ; handleRead
  writable fails: handleError(spam) handleClose close
  writable exits: loop handleConnect ; handleRead
`;
live("Dispatcher with predicates that hears", connected(asked), says("spam"))`
  readable fails, works and fails: handleError(spam) handleClose close
  readable exits: loop ; handleRead
  readable is ignored: handleError(spam) ; handleRead
  readable fails twice: handleError(spam) onError(eggs)
  writable fails, works and fails: handleError(spam) handleClose close
  writable exits: loop ; handleRead
  writable is ignored: handleError(spam) ; handleRead
  writable fails twice: handleError(spam) onError(eggs)
`;
live("Dispatcher that is refused", aClient, isRefused)`
  handleError fails: onError(spam)
  handleError works and fails: handleClose close onError(spam)
  handleError exits, works and exits: handleClose close loop
  handleClose fails, is ignored: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
  close fails: handleError(spam)
  close works and fails: onError(spam)
  close exits, works and exits: loop
  logger throws: onError(spam) handleClose close
  logger rejects: handleClose close onError(spam)
  logger exits, works and exits: handleClose close loop
`;
live("Dispatcher that hears", aReader, says("spam"))`
  handleRead fails, works and fails: handleError(spam) handleClose close
  handleRead exits: loop handleRead ; handleRead
  handleRead works and exits: loop ; handleRead
  handleRead is ignored: handleError(spam) handleRead ; handleRead
  handleRead fails twice: handleError(spam) onError(eggs)
  handleReadEvent fails: handleError(spam) handleClose close
  handleReadEvent exits: loop handleRead ; handleRead
`;
live(
  "Dispatcher whose peer ends",
  connected(reader, { allowHalfOpen: true }),
  says(null),
)`
  handleEnd fails, works and fails: handleError(spam) handleClose close
  handleEnd exits: loop
  handleEnd works and exits: loop handleClose close
  handleEnd is ignored: handleError(spam)
  handleEnd fails twice: handleError(spam) onError(eggs)
  handleClose fails, is ignored: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
  handleClose fails twice: handleError(spam) onError(eggs)
  close fails, is ignored: handleError(spam)
  close works and fails: onError(spam)
  close exits, works and exits: loop
  close fails twice: handleError(spam) onError(eggs)
`;
live("Dispatcher that is reset", aReader, isReset)`
  handleClose fails: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
`;
live("Dispatcher that cannot be read", aReader, breaks)`
  handleError fails: onError(spam)
  handleError works and fails: handleClose close onError(spam)
  handleError exits: loop handleRead handleClose close
  handleError works and exits: handleClose close loop
  handleClose fails, is ignored: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
`;
live("Dispatcher that cannot be written", aReader, sendsInVain)`
  handleError fails: onError(spam)
  handleError works and fails: handleClose close onError(spam)
  handleError exits: loop ; handleRead
  handleError works and exits: handleClose close loop
`;
live("Dispatcher that closes", aReader, closes)`
  close fails: caller(spam) ; handleRead
  close works and fails: caller(spam)
  close exits: caller(exit) ; handleRead
  close works and exits: caller(exit)
`;
live(
  "Dispatcher that is idle",
  connected(reader, { idleTimeout: 1_000 }),
  secondPasses,
)`
  handleTimeout fails: handleError(spam) handleClose close
  handleTimeout works and fails: handleClose close onError(spam)
  handleTimeout exits: loop ; handleRead
  handleTimeout works and exits: handleClose close loop
  handleTimeout is ignored: handleError(spam) ; handleRead
  handleTimeout fails twice: handleError(spam) onError(eggs)
`;
live("Dispatcher in shutdown()", aReader, shutsDown)`
  handleShutdown fails: handleError(spam) handleClose close
  handleShutdown works and fails: handleClose close onError(spam)
  handleShutdown exits: loop ; handleRead
  handleShutdown works and exits: handleClose close loop
  handleShutdown is ignored: handleError(spam) ; handleRead
  handleShutdown fails twice: handleError(spam) onError(eggs)
  handleClose fails: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
`;
live("Dispatcher in closeAll()", aReader, closesAll)`
  close throws: caller(spam)
  close rejects: onError(spam)
  close exits: caller(exit)
  close works and exits: loop
`;
live("Dispatcher with a timer", aReader, startsTimer)`
  callLater() fails, works and fails: onError(spam) ; handleRead
  callLater() exits, works and exits: loop ; handleRead
`;
live("Dispatcher with an interval", aReader, startsInterval)`
  callEvery() fails, works and fails: onError(spam) ; handleRead
  callEvery() exits, works and exits: loop ; handleRead
`;
live(
  "DispatcherWithSend that sends",
  connected(sender, { highWaterMark: 2 }),
  sends,
)`
  handleDrain fails, works and fails: handleError(spam) handleClose close sent(spam)
  handleDrain exits, works and exits: loop sent(spam) ; handleRead
  handleDrain is ignored: handleError(spam) sent(spam) ; handleRead
  handleDrain fails twice: handleError(spam) onError(eggs) sent(spam)
`;
live("AsyncChat that hears", aChat, says("a\n\n"))`
  collectIncomingData fails, works and fails: handleError(spam) handleClose close
  collectIncomingData exits, works and exits: loop foundTerminator foundTerminator ; collectIncomingData foundTerminator
  collectIncomingData is ignored: handleError(spam) foundTerminator foundTerminator ; collectIncomingData foundTerminator
  collectIncomingData fails twice: handleError(spam) onError(eggs)
  foundTerminator fails, works and fails: handleError(spam) handleClose close
  foundTerminator exits, works and exits: loop foundTerminator ; collectIncomingData foundTerminator
  foundTerminator is ignored: handleError(spam) foundTerminator ; collectIncomingData foundTerminator
  foundTerminator fails twice: handleError(spam) onError(eggs)
`;
live(
  "AsyncChat that overflows",
  connected(chat, { maxLength: 2 }),
  says("too much"),
)`
  handleOverflow fails: handleError(spam) handleClose close
  handleOverflow works and fails: handleClose close onError(spam)
  handleOverflow exits: loop collectIncomingData handleOverflow handleClose close
  handleOverflow works and exits: handleClose close loop
  handleOverflow is ignored: handleError(spam) collectIncomingData handleOverflow handleClose close
  handleOverflow fails twice: handleError(spam) onError(eggs)
`;
live("AsyncChat with a producer", aChat, produces(false))`
  more() fails, works and fails: handleError(spam) handleClose close
  more() exits, works and exits: loop sent(three) ; collectIncomingData foundTerminator
  more() is ignored: handleError(spam) sent(three) ; collectIncomingData foundTerminator
  more() fails twice: handleError(spam) onError(eggs)
`;
live("AsyncChat with an async producer", aChat, produces(true))`
  more() fails, works and fails: handleError(spam) handleClose close
  more() exits, works and exits: loop sent(three) ; collectIncomingData foundTerminator
  more() is ignored: handleError(spam) sent(three) ; collectIncomingData foundTerminator
  more() fails twice: handleError(spam) onError(eggs)
`;
live("AsyncChat whose peer ends", aChat, says(null))`
  handleClose fails: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
  close fails: handleError(spam)
  close works and fails: onError(spam)
  close exits, works and exits: loop
`;
live("Dispatcher that listens", listening, accepts)`
  readable fails: handleError(spam) handleClose close
  readable exits: loop ; handleAccepted client.close
  handleAccept fails: handleError(spam) handleClose close client.close
  handleAccept works and fails: handleAccepted client.close handleError(spam) handleClose close
  handleAccept exits: loop handleAccept handleAccepted client.close ; handleAccept handleAccepted client.close
  handleAccept works and exits: handleAccepted client.close loop ; handleAccept handleAccepted client.close
  handleAccepted fails: client.close handleError(spam) handleClose close
  handleAccepted works and fails: client.close client.close handleError(spam) handleClose close
  handleAccepted exits: loop ; handleAccepted client.close
  handleAccepted works and exits: client.close loop ; handleAccepted client.close
  handleAccepted is ignored: client.close handleError(spam) ; handleAccepted client.close
  handleAccepted fails twice: client.close handleError(spam) onError(eggs)
`;
live("Dispatcher that cannot accept", listening, acceptFails(BROKEN))`
  handleError fails: onError(spam)
  handleError works and fails: handleClose close onError(spam)
  handleError exits, works and exits: handleClose close loop
  handleClose fails, is ignored: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
  close fails: handleError(spam)
  close works and fails: onError(spam)
  close exits, works and exits: loop
`;
live(
  "Dispatcher that lacks descriptors",
  listening,
  acceptFails(NO_DESCRIPTORS),
)`
  logger throws, rejects: onError(spam)
  logger exits, works and exits: loop
`;
live("Dispatcher that listens, in shutdown()", listening, shutsDown)`
  close fails, works and fails: onError(spam)
  close exits, works and exits: loop
`;
live("Dispatcher that listens, in closeAll()", listening, closesAll)`
  close throws: caller(spam)
  close rejects: onError(spam)
  close exits: caller(exit)
  close works and exits: loop
`;
live("FileDispatcher that reads", file, says("spam"))`
  handleRead fails, works and fails: handleError(spam) handleClose close
  handleRead exits: loop handleRead ; handleRead
  handleRead works and exits: loop ; handleRead
`;
live("FileDispatcher at the end", file, says(null))`
  handleClose fails: handleError(spam) close
  handleClose works and fails: close onError(spam)
  handleClose exits, works and exits: close loop
`;
live("DatagramDispatcher that hears", datagrams, says("spam"))`
  handleRead fails, works and fails: handleError(spam) handleClose close
  handleRead exits: loop handleRead ; handleRead
  handleRead works and exits: loop ; handleRead
`;
live("DatagramDispatcher that cannot be read", datagrams, breaks)`
  handleError fails: onError(spam)
  handleError works and fails: handleClose close onError(spam)
  handleError exits: loop handleRead handleClose close onError()
  handleError works and exits: handleClose close loop
`;
live(
  "Dispatcher with toStreams() that connects",
  streamed(connecting(plain)),
  connects,
)`
  handleConnect fails, works and fails: handleClose close writable(spam) readable(spam)
  handleConnect exits, works and exits: loop sent(spam)
  handleWrite throws: handleClose close readable(spam) writable(spam) sent(spam)
  handleWrite exits: loop handleWrite sent(spam) ; handleWrite
`;
live(
  "Dispatcher with toStreams() whose peer ends",
  streamed(connected(plain, { allowHalfOpen: true })),
  says(null),
)`
  handleWrite throws: handleClose close writable(spam) sent(spam)
`;
live(
  "Dispatcher with toStreams() that is reset",
  streamed(connected(plain)),
  isReset,
)`
  handleClose throws: onError(spam) close writable() readable() sent(spam)
  handleClose exits: close writable() loop readable() sent(spam)
  close throws: onError(spam) writable() readable() sent(spam)
  close exits: writable() loop readable() sent(spam)
`;

// Over real sockets

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** Opens a dispatcher on a real socket, whose other end is returned. */
type Open = (subject: Dispatcher) => Promise<{ close(): void }>;

/** The other end does something. */
const overPair =
  (acts: (peer: Deno.Conn) => unknown): Open => async (subject) => {
    const [ours, peer] = await connectedPair();
    subject.setSocket(ours);
    await acts(peer);
    return peer;
  };

const REAL: [hook: string, Open][] = [
  ["handleRead", overPair((peer) => peer.write(bytes("spam")))],
  ["handleEnd", overPair((peer) => peer.closeWrite())],
  ["handleClose", overPair((peer) => peer.closeWrite())],
  ["handleConnect", async (subject) => {
    const listener = Deno.listen(LOOPBACK);
    subject.createSocket();
    subject.connect(listener.addr);
    (await listener.accept()).close();
    return listener;
  }],
  ["handleAccepted", (subject) => {
    subject.createSocket();
    subject.bind(LOOPBACK);
    subject.listen();
    return rawConnect(subject.addr);
  }],
];

/** What is said to an echo comes back. */
async function exchange(conn: Deno.Conn, what: string): Promise<void> {
  await conn.write(bytes(what));
  const buffer = new Uint8Array(64);
  const length = await conn.read(buffer);
  assertEquals(text(buffer.subarray(0, length!)), what);
}

for (const [hook, open] of REAL) {
  Deno.test(`Dispatcher on a real socket harms nobody when its ${hook} fails`, async () => {
    for (
      const fail of [
        () => raise(new Error()),
        () => Promise.reject(new Error()),
      ]
    ) {
      await using map = new ScopedMap({ logger: new LogLines() });
      const [ours, peer] = await connectedPair();
      new Echo(ours, { map });
      const done = loop({ map });
      await exchange(peer, "before");
      const subject = new Dispatcher(null, { map, allowHalfOpen: true });
      let calls = 0;
      Object.assign(subject, { [hook]: () => [++calls, fail()][1] });
      const end = await open(subject);
      await until(() => calls > 0 && map.size === 1, hook);
      await exchange(peer, "after");
      for (const conn of [peer, end]) conn.close();
      await done;
    }
  });
}

// Hooks that never come to rest

/** After so many calls without a turn of the runtime, there will be none. */
const WITHOUT_END = 10_000;

Deno.test("handleRead() that is async and takes nothing leaves the others their turns", async () => {
  const map = quietMap();
  const channel = new FakeChannel();
  const hesitant = new Dispatcher(null, { map });
  let calls = 0;
  hesitant.handleRead = async () => {
    if (++calls === WITHOUT_END) hesitant.abort();
    // However many promises it waits for, none of them is a turn.
    for (let i = 0; i < 10; i++) await null;
  };
  hesitant.setSocket(channel);
  const done = loop({ map });
  channel.push("spam");
  while (calls === 0) await turn();
  await turn();
  assertLess(calls, WITHOUT_END);
  hesitant.abort();
  await done;
});

Deno.test("Dispatcher over a stream that always has something leaves the others their turns", async () => {
  const map = quietMap();
  let pulls = 0;
  const readable = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (++pulls < WITHOUT_END) controller.enqueue(bytes("spam"));
      else controller.close();
    },
  }, { highWaterMark: 0 });
  const reader = new Recorder(map, channelFrom({ readable }));
  const done = loop({ map });
  while (pulls === 0) await turn();
  await turn();
  assertLess(pulls, WITHOUT_END);
  reader.abort();
  await done;
});

Deno.test("loop() notices what happens while its clock sets the timeout", async () => {
  const clock = new MockClock();
  const map = quietMap({ clock });
  const recorder = new Recorder(map);
  let passes = 0;
  recorder.readable = () => ++passes > 0;
  recorder.setSocket(new FakeChannel());
  const setTimeout = clock.setTimeout.bind(clock);
  clock.setTimeout = (callback, delay) => {
    clock.setTimeout = setTimeout;
    map.wake();
    return setTimeout(callback, delay);
  };
  const done = loop({ map });
  await turns();
  assertGreater(passes, 1, "wake() ends the wait that is just beginning");
  recorder.abort();
  await done;
});
