/** Classes with a `delChannel()` of their own, which `close()` calls. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { AsyncChat, closeAll, Dispatcher, loop } from "../mod.ts";
import { FakeAcceptor, FakeChannel, loopToEnd, Recorder } from "./fakes.ts";
import { over, setUp } from "./scenes.ts";

/** Writes down that it leaves its map, and whether it could still send then. */
class Registered extends Recorder {
  override delChannel(): void {
    this.note(`delChannel ${this.send("bye")}`);
    super.delChannel();
  }
}

Deno.test("close() calls an overridden delChannel(), once, while the socket is open", async () => {
  const { channel, handler, map } = over(Registered);
  handler.close();
  handler.close();
  assertEquals(handler.trace, ["delChannel 3"]);
  await loopToEnd(map);
  assertEquals(channel.sent, "bye");
  assert(channel.closed);
});

Deno.test("close() calls an overridden delChannel() where the loop calls close()", async () => {
  const { channel, handler, map } = over(Registered);
  channel.push(null);
  await loopToEnd(map);
  assertEquals(handler.trace, ["handleRead", "handleClose", "delChannel 3"]);
});

Deno.test("close() calls the delChannel() of a chat and of a listener", async () => {
  const { map } = setUp();
  const left: string[] = [];
  class Chat extends AsyncChat {
    override delChannel(): void {
      left.push("chat");
    }
  }
  class Server extends Dispatcher {
    override delChannel(): void {
      left.push("server");
    }
  }
  new Chat(new FakeChannel(), { map });
  new Server(new FakeAcceptor(), { map });
  closeAll(map);
  assertEquals([left, map.size], [["chat", "server"], 0]);
  await loop({ map });
});

Deno.test("close() leaves the map though delChannel() throws, and throws its error", async () => {
  class Failing extends Recorder {
    override delChannel(): void {
      throw new Error("spam");
    }
  }
  const { channel, handler, map } = over(Failing);
  assertThrows(() => handler.close(), Error, "spam");
  assertEquals(map.size, 0);
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("close() in delChannel() does not call delChannel() again", async () => {
  class Closing extends Recorder {
    override delChannel(): void {
      this.note("delChannel");
      this.close();
    }
  }
  const { channel, handler, map } = over(Closing);
  handler.delChannel();
  assertEquals(handler.trace, ["delChannel", "delChannel"]);
  await loopToEnd(map);
  assert(channel.closed);
});

Deno.test("close() tells the map of an async delChannel() that rejects", async () => {
  const failure = new Error("spam");
  class Late extends Recorder {
    override delChannel(): void | Promise<void> {
      return Promise.reject(failure);
    }
  }
  const { channel, handler, map } = over(Late);
  handler.close();
  await loop({ map });
  assert(channel.closed);
  assertEquals(map.errors, [failure]);
});
