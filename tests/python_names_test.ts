/** Hooks that a port has left in Python's spelling. */

import { assertEquals, assertMatch } from "@std/assert";
import {
  AsyncChat,
  type Channel,
  DatagramDispatcher,
  Dispatcher,
  DispatcherWithSend,
  FileDispatcher,
  type SocketMap,
} from "../mod.ts";
import { FakeSocket } from "./datagrams.ts";
import { FakeAcceptor, FakeChannel, passes } from "./fakes.ts";
import { setUp } from "./scenes.ts";

/** What is left in Python's spelling, and what the line says. */
const LEFT: [string, (map: SocketMap) => Dispatcher, RegExp][] = [
  ["handle_read() of a Dispatcher", (map) => {
    class Left extends Dispatcher {
      handle_read(): void {}
    }
    return new Left(new FakeChannel(), { map });
  }, /^warn: <Left connected> has handle_read\(\): .* called handleRead\(\)$/],
  ["handle_write_event() of a base class", (map) => {
    class Base extends DispatcherWithSend {
      handle_write_event(): void {}
    }
    class Left extends Base {}
    return new Left(new FakeChannel(), { map });
  }, /has handle_write_event\(\): .* called handleWriteEvent\(\)$/],
  ["handle_accepted() of a listener", (map) => {
    class Left extends Dispatcher {
      handle_accepted(): void {}
    }
    return new Left(new FakeAcceptor(), { map });
  }, /has handle_accepted\(\): .* called handleAccepted\(\)$/],
  ["found_terminator() of an AsyncChat", (map) => {
    class Left extends AsyncChat {
      found_terminator(): void {}
    }
    return new Left(new FakeChannel(), { map });
  }, /has found_terminator\(\): .* called foundTerminator\(\)$/],
  ["collect_incoming_data on the object", (map) => {
    class Left extends AsyncChat {
      collect_incoming_data = () => {};
    }
    return new Left(new FakeChannel(), { map });
  }, /has collect_incoming_data\(\): .* called collectIncomingData\(\)$/],
  ["handle_error() of a DatagramDispatcher", (map) => {
    class Left extends DatagramDispatcher {
      handle_error(): void {}
    }
    return new Left(new FakeSocket(), { map });
  }, /has handle_error\(\): .* called handleError\(\)$/],
  ["handle_close() of a FileDispatcher", (map) => {
    class Left extends FileDispatcher {
      handle_close(): void {}
    }
    return new Left(new FakeChannel(), { map });
  }, /has handle_close\(\): .* called handleClose\(\)$/],
];

for (const [what, make, line] of LEFT) {
  Deno.test(`A warning tells of ${what}`, async () => {
    const { lines, map } = setUp();
    const left = make(map);
    await passes(map, 2);
    assertEquals(lines.length, 1);
    assertMatch(lines[0]!, line);
    left.abort();
  });
}

Deno.test("A hook in Python's spelling is warned of once for each class", async () => {
  const { lines, map } = setUp();
  class Left extends Dispatcher {
    handle_close(): void {}
  }
  class Other extends Left {}
  for (const Class of [Left, Left, Other, Left]) {
    new Class(new FakeChannel(), { map });
    await passes(map);
  }
  assertEquals(lines.map((line) => line.split(/[< ]/)[2]), ["Left", "Other"]);
});

/** Calls the hooks of Python's spelling, as a port may do on purpose. */
class Adapter extends Dispatcher {
  constructor(channel: Channel, map: SocketMap) {
    super(channel, { map });
  }
  override handleRead(): void {
    this.handle_read();
  }
  handle_read(): void {}
}

Deno.test("A method with an underscore that is no hook left behind brings no warning", async () => {
  const { lines, map } = setUp();
  class Handler extends Adapter {
    override handle_read(): void {
      this.recv();
    }
    handle_request(): void {}
    found_terminator(): void {} // A Dispatcher has no such hook.
  }
  new Handler(new FakeChannel(), map);
  await passes(map, 2);
  assertEquals(lines, []);
});
