/**
 * A pass in which many dispatchers have their turns: first all their hooks, and
 * then what they ask of the system; and how nobody is left out for the others.
 */

import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import {
  AsyncChat,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  loop,
  poll,
} from "../mod.ts";
import {
  Echo,
  FakeChannel,
  loopToEnd,
  passes,
  quietMap,
  watch,
} from "./fakes.ts";
import { channels, setUp } from "./scenes.ts";
import { loopUntil, PATIENCE, TestServer, turns, work } from "./support.ts";

/** As many dispatchers as asked for, all of which have something to answer. */
async function crowd(count: number) {
  const map = quietMap();
  const events: string[] = [];
  const members = channels(count).map((channel, i) => {
    channel.take = (data) => {
      events.push(`write ${i}`);
      return data.length;
    };
    const answerer = new DispatcherWithSend(channel, { map });
    answerer.handleRead = () => {
      const data = answerer.recv();
      events.push(`hook ${i}`);
      answerer.send(data);
      answerer.send(data);
    };
    return { channel, answerer };
  });
  await passes(map, 2);
  for (const { channel } of members) channel.push("x");
  return { map, events, members };
}

const HOOKS_FIRST = [
  ...["hook 0", "hook 1", "hook 2"],
  ...["write 0", "write 1", "write 2"],
];

/** Two chats that both answer a line in the same pass, and their channels. */
async function crowdOfChats(
  answer: (chat: AsyncChat) => void,
): Promise<FakeChannel[]> {
  const map = quietMap();
  class Chat extends AsyncChat {
    override collectIncomingData(): void {}
    override foundTerminator(): void {
      answer(this);
    }
  }
  const pair = channels(2);
  for (const channel of pair) new Chat(channel, { map }).setTerminator("\n");
  await passes(map, 2);
  for (const channel of pair) channel.push("\n");
  await passes(map, 4);
  return pair;
}

Deno.test("Dispatchers that have their turns in one pass send when all of them had theirs", async () => {
  const { map, events, members } = await crowd(3);
  await passes(map, 1);
  assertEquals(events, HOOKS_FIRST);
  // What a hook sends in pieces goes out in one.
  assertEquals(members.map(({ channel }) => channel.sent), ["xx", "xx", "xx"]);
  assertEquals(members.map(({ channel }) => channel.reads), [2, 2, 2]);
});

Deno.test("Dispatcher that is alone in a pass sends at once", async () => {
  const { map, events, members } = await crowd(1);
  await passes(map, 2);
  assertEquals(events[0], "hook 0");
  const writes = members[0]!.channel.writes.map(({ length }) => length);
  assertEquals(writes, [1, 1]);
});

Deno.test("Dispatchers of a large crowd do not wait for all the others", async () => {
  const { map, events } = await crowd(200);
  await passes(map, 1);
  const first = events.indexOf("write 0");
  assertEquals(first, 65); // The 65th to answer finds that 64 wait.
  assertEquals(events.filter((event) => event.startsWith("write")).length, 200);
});

Deno.test("ExitNow in a crowd keeps no answer and no reader from going on", async () => {
  const { map, members } = await crowd(3);
  const [first, second, third] = members;
  second!.answerer.handleRead = () => {
    second!.answerer.recv();
    throw new ExitNow("enough");
  };
  await assertRejects(() => poll(0, map), ExitNow, "enough");
  assertEquals(first!.channel.sent, "xx");
  assertEquals(first!.channel.reads, 2);
  assertEquals(third!.channel.sent, "");
  await passes(map, 1);
  assertEquals(third!.channel.sent, "xx");
});

Deno.test("Dispatcher that closes in a crowd still sends what it had accepted", async () => {
  const { map, members } = await crowd(3);
  const { answerer, channel } = members[0]!;
  const { handleRead } = answerer;
  answerer.handleRead = () => {
    handleRead();
    answerer.close();
  };
  await passes(map, 3);
  assertEquals(channel.sent, "xx");
  answerer.abort();
});

Deno.test("AsyncChat in a crowd sends in one piece what it pushes in several", async () => {
  const chats = await crowdOfChats((chat) => {
    for (const piece of ["a", "b", "c"]) chat.push(piece);
  });
  for (const { sent, writes } of chats) {
    assertEquals(sent, "abc");
    assertEquals(writes.length, 1);
  }
});

Deno.test("Dispatchers with a write event in one pass send when all of them had theirs", async () => {
  const map = quietMap();
  const events: string[] = [];
  for (const [i, channel] of channels(3).entries()) {
    channel.take = (data) => {
      events.push(`write ${i}`);
      return data.length;
    };
    const classic = new Dispatcher(channel, { map });
    let isDue = true;
    classic.writable = () => isDue;
    classic.handleWrite = () => {
      isDue = false;
      events.push(`hook ${i}`);
      classic.send(new Uint8Array(1));
    };
  }
  await passes(map, 2);
  assertEquals(events, HOOKS_FIRST);
});

Deno.test("AsyncChat in a crowd that discards what it pushed still ends its side", async () => {
  const chats = await crowdOfChats((chat) => {
    chat.push("spam");
    chat.shutdownWrite();
    chat.discardBuffers();
  });
  assertEquals(chats.map(({ writeEnded }) => writeEnded), [true, true]);
});

Deno.test("Dispatcher with linger 0 sends in a crowd what it would send alone", async () => {
  const sent: string[] = [];
  for (const count of [1, 2]) {
    const map = quietMap();
    const made = channels(count);
    for (const channel of made) {
      const last = new DispatcherWithSend(channel, { map, linger: 0 });
      last.handleRead = () => {
        last.send(last.recv());
        last.close();
      };
    }
    await passes(map, 2);
    for (const channel of made) channel.push("x");
    await passes(map, 3);
    sent.push(...made.map(({ sent }) => sent));
  }
  assertEquals(sent, ["x", "x", "x"]);
});

Deno.test("Dispatchers that have just had their turn leave room for those who had none", async () => {
  const { map, members } = await crowd(100);
  await poll(1, map);
  // The first come first.
  assertEquals(
    members.map(({ channel }) => channel.reads),
    members.map((_, i) => i < 32 ? 2 : 1),
  );
  for (const { channel } of members) channel.push("y");
  for (let i = 0; i < 4; i++) await poll(1, map);
  assertEquals(
    members.map(({ channel }) => channel.sent),
    members.map(() => "xxyy"),
  );
});

Deno.test("Dispatchers of a large crowd are all read again where a pass must not wait", async () => {
  const { map, members } = await crowd(100);
  await poll(1, map);
  for (const { channel } of members) channel.push("y");
  await poll(0, map);
  assertEquals(
    members.map(({ channel }) => [channel.sent, channel.reads]),
    members.map(() => ["xxyy", 3]),
  );
});

Deno.test("Dispatcher that joins a crowd of classic ones is served as often as they are", async () => {
  const map = quietMap();
  const classic = () => {
    const channel = new FakeChannel();
    const it = Object.assign(new Dispatcher(channel, { map }), { turns: 0 });
    const waiting: Uint8Array[] = [];
    channel.push("x");
    return Object.assign(it, {
      readable: () => true,
      writable: () => waiting.length > 0,
      handleRead: () => {
        it.turns++;
        waiting.push(it.recv());
        channel.push("x"); // There is always more.
      },
      handleWrite: () => void it.send(waiting.shift()!),
    });
  };
  const crowd = Array.from({ length: 200 }, classic);
  await loop({ map, count: 200 });
  const before = crowd.map(({ turns }) => turns);
  const newcomer = classic();
  await loop({ map, count: 200 });
  const turns = crowd.map(({ turns }, i) => turns - before[i]!);
  assertGreater(2 * newcomer.turns, Math.max(...turns));
  assertGreater(2 * Math.min(...turns), Math.max(...turns));
  for (const member of [...map]) member.abort();
});

Deno.test("Dispatcher that is not readable any more is not read when its turn comes", async () => {
  const map = quietMap();
  let isReadable = true;
  const crowd = channels(100);
  for (const channel of crowd) {
    const classic = new Dispatcher(channel, { map });
    classic.readable = () => isReadable;
    classic.writable = () => false;
    classic.handleRead = () => void classic.recv();
  }
  const others = channels(100);
  for (const channel of others) new Echo(channel, { map });
  await passes(map, 2);
  for (const channel of crowd) channel.push("x");
  await poll(1, map);
  for (const channel of others) channel.push("x");
  await poll(1, map); // Of the first, 64 are read again, and 36 are to come.
  isReadable = false;
  await poll(1, map);
  const again = crowd.filter(({ reads }) => reads > 1).length;
  assertEquals(again, 64);
  for (const member of [...map]) member.abort();
});

Deno.test("Dispatchers of a large crowd are read again, though nobody else has anything", async () => {
  const { clock, map } = setUp();
  const crowd = channels(100);
  for (const channel of crowd) new Echo(channel, { map });
  watch(loop({ map }));
  await turns();
  for (const channel of crowd) channel.push("x");
  await turns();
  assertEquals(crowd.filter(({ reads }) => reads > 1).length, 64);
  await clock.advance(1);
  await turns();
  assertEquals(crowd.map(({ reads }) => reads), crowd.map(() => 2));
  closeAll(map);
});

Deno.test("Dispatchers by the hundred are served alike", async () => {
  const [workers, each] = [3, 120];
  const counts: number[] = [];
  const map = quietMap();
  let left = 20_000;
  class Counting extends DispatcherWithSend {
    readonly #id = counts.push(0) - 1;
    override handleRead(): void {
      // Slower than its peers, so that most of them wait.
      work(0.03);
      this.send(this.recv());
      // The first messages come while some are still connecting.
      if (counts.length < workers * each) return;
      counts[this.#id]!++;
      left--;
    }
  }
  const server = new TestServer(map, (conn) => new Counting(conn, { map }));
  const url = new URL("../bench/crowd_client.ts", import.meta.url);
  const threads = Array.from({ length: workers }, () => {
    const thread = new Worker(url, { type: "module" });
    thread.postMessage({ addr: server.addr, count: each });
    return thread;
  });
  await loopUntil(map, () => left <= 0, 2 * PATIENCE);
  for (const thread of threads) thread.terminate();
  closeAll(map);
  await loopToEnd(map);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  assertGreater(10 * least, most, `${least} to ${most} messages each`);
});
