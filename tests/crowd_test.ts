/**
 * A pass in which many dispatchers have their turns: first all their hooks, and
 * then what they ask of the system.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { AsyncChat, DispatcherWithSend, ExitNow, poll } from "../mod.ts";
import { FakeChannel, passes, quietMap } from "./fakes.ts";
import type { TestMap } from "./support.ts";

/** Writes down what happens in which order, and answers in two pieces. */
class Answerer extends DispatcherWithSend {
  readonly #note: (what: string) => void;
  failure: Error | null = null;

  constructor(
    map: TestMap,
    channel: FakeChannel,
    note: (what: string) => void,
  ) {
    super(channel, { map });
    this.#note = note;
  }
  override handleRead(): void {
    const data = this.recv();
    this.#note("hook");
    if (this.failure) throw this.failure;
    this.send(data);
    this.send(data);
  }
}

/** As many answerers as asked for, all of them with something to read. */
async function crowd(count: number) {
  const map = quietMap();
  const events: string[] = [];
  const members = Array.from({ length: count }, (_, i) => {
    const channel = new FakeChannel();
    const note = (what: string) => void events.push(`${what} ${i}`);
    channel.take = (data) => {
      note("write");
      return data.length;
    };
    return { channel, answerer: new Answerer(map, channel, note) };
  });
  await passes(map, 2);
  for (const { channel } of members) channel.push("x");
  return { map, events, members };
}

Deno.test("Dispatchers that have their turns in one pass send when all of them had theirs", async () => {
  const { map, events, members } = await crowd(3);
  await passes(map, 1);
  const hooks = ["hook 0", "hook 1", "hook 2"];
  assertEquals(events, [...hooks, "write 0", "write 1", "write 2"]);
  // What a hook sends in pieces goes out in one.
  assertEquals(members.map(({ channel }) => channel.sent), ["xx", "xx", "xx"]);
  assertEquals(members.map(({ channel }) => channel.reads), [2, 2, 2]);
});

Deno.test("Dispatcher that is alone in a pass sends at once", async () => {
  const { map, events, members } = await crowd(1);
  await passes(map, 2);
  assertEquals(events[0], "hook 0");
  const [{ channel }] = members as [typeof members[0]];
  assertEquals(channel.writes.length, 2);
  assertEquals(channel.sent, "xx");
});

Deno.test("Dispatchers of a large crowd do not wait for all the others", async () => {
  const { map, events } = await crowd(200);
  await passes(map, 1);
  const first = events.indexOf("write 0");
  assertEquals(first, 64);
  assertEquals(events.filter((event) => event.startsWith("write")).length, 200);
});

Deno.test("ExitNow in a crowd keeps no answer and no reader from going on", async () => {
  const { map, members } = await crowd(3);
  const [first, second, third] = members as [
    typeof members[0],
    typeof members[0],
    typeof members[0],
  ];
  second.answerer.failure = new ExitNow("enough");
  await assertRejects(() => poll(0, map), ExitNow, "enough");
  assertEquals(first.channel.sent, "xx");
  assertEquals(first.channel.reads, 2);
  assertEquals(third.channel.sent, "");
  await passes(map, 1);
  assertEquals(third.channel.sent, "xx");
});

Deno.test("Dispatcher that closes in a crowd still sends what it had accepted", async () => {
  const { map, members } = await crowd(3);
  const [{ answerer, channel }] = members as [typeof members[0]];
  const { handleRead } = answerer;
  answerer.handleRead = () => {
    handleRead.call(answerer);
    answerer.close();
  };
  await passes(map, 3);
  assertEquals(channel.sent, "xx");
  answerer.abort();
});

Deno.test("AsyncChat in a crowd sends in one piece what it pushes in several", async () => {
  const map = quietMap();
  class Chat extends AsyncChat {
    override collectIncomingData(): void {}
    override foundTerminator(): void {
      for (const piece of ["a", "b", "c"]) this.push(piece);
    }
  }
  const channels = [new FakeChannel(), new FakeChannel()];
  for (const channel of channels) {
    new Chat(channel, { map }).setTerminator("\n");
  }
  await passes(map, 2);
  for (const channel of channels) channel.push("\n");
  await passes(map, 3);
  for (const { sent, writes } of channels) {
    assertEquals(sent, "abc");
    assertEquals(writes.length, 1);
  }
});
