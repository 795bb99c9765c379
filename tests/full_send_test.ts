/** A `send()` that takes nothing for want of room, and whether a warning tells. */

import { assertEquals, assertMatch } from "@std/assert";
import {
  AsyncChat,
  Dispatcher,
  DispatcherWithSend,
  type SocketMap,
  toStreams,
} from "../mod.ts";
import { stuckChannel } from "./scenes.ts";
import { connecting, setUp } from "./setups.ts";
import { turns } from "./support.ts";

/** As much as is on its way at most. */
const FULL = new Uint8Array(64 * 1024);

/** A new class of Dispatcher, with hooks of its own. */
function classWith(hooks: Partial<Dispatcher> = {}): typeof Dispatcher {
  class Sender extends Dispatcher {}
  Object.assign(Sender.prototype, hooks);
  return Sender;
}

Deno.test("send() that takes nothing is warned of once for each class without handleWrite()", () => {
  const { log, map } = setUp();
  for (const Class of [classWith(), classWith()]) {
    for (let i = 0; i < 2; i++) {
      const sender = new Class(stuckChannel(), { map });
      sender.ignoreLogTypes = new Set(["warning"]);
      assertEquals(sender.send(FULL), FULL.length);
      assertEquals([sender.send("spam"), sender.send("spam")], [0, 0]);
      sender.abort();
    }
  }
  assertEquals(log.lines.length, 2);
  assertMatch(
    log.lines[0]!,
    /^warn: <Sender connected> sent none of 4 bytes, as 65536 are on their way, and Sender has no handleWrite\(\)/,
  );
});

/** The dispatchers that send later, and the sends that lose nothing. */
const QUIET: Record<string, (map: SocketMap) => Dispatcher> = {
  "with a handleWrite()": (map) => {
    const hooks = { handleWrite() {} };
    return new (classWith(hooks))(stuckChannel(), { map });
  },
  "with a handleWriteEvent()": (map) => {
    const hooks = { handleWriteEvent() {} };
    return new (classWith(hooks))(stuckChannel(), { map });
  },
  "that is a DispatcherWithSend": (map) =>
    new DispatcherWithSend(stuckChannel(), { map }),
  "that is an AsyncChat": (map) => new AsyncChat(stuckChannel(), { map }),
  "that is closed": (map) => {
    const sender = new (classWith())(stuckChannel(), { map });
    sender.close();
    return sender;
  },
};

for (const [what, make] of Object.entries(QUIET)) {
  Deno.test(`send() of a dispatcher ${what} brings no warning`, () => {
    const { log, map } = setUp();
    const sender = make(map);
    for (let i = 0; i < 3; i++) sender.send(FULL);
    assertEquals(log.lines, []);
    sender.abort();
  });
}

Deno.test("send() before the connection stands brings no warning", () => {
  const { client, log } = connecting();
  for (let i = 0; i < 3; i++) assertEquals(client.send(FULL), 0);
  assertEquals(log.lines, []);
  client.abort();
});

Deno.test("send() of no bytes brings no warning", () => {
  const { log, map } = setUp();
  const sender = new (classWith())(stuckChannel(), { map });
  sender.send(FULL);
  sender.send("");
  assertEquals(log.lines, []);
  sender.abort();
});

Deno.test("send() of a dispatcher whose streams are in use brings no warning", async () => {
  const { log, map } = setUp();
  const sender = new (classWith())(stuckChannel(), { map });
  const { writable } = toStreams(sender);
  const writing = writable.getWriter().write(FULL).catch(() => {});
  await turns();
  assertEquals(sender.send("spam"), 0);
  assertEquals(log.lines, []);
  sender.abort();
  await writing;
});
