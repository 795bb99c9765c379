/**
 * The chat room, with `nc` and plain connections as its guests.
 */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { ChatServer, Guest } from "../examples/chat_server.ts";
import { closeAll, loop, poll } from "../mod.ts";
import { FakeChannel, LogLines } from "./fakes.ts";
import { Caller, Child, testUnix, testWith } from "./peers.ts";
import { bytes } from "./support.ts";

const WELCOME = "* Welcome. What is your name?\r\n";

function openRoom(): Promise<Child> {
  return Child.serve(["--allow-net"], "chat_server");
}

/** A connection that has given its name. */
async function enter({ port }: Child, name: string): Promise<Caller> {
  const guest = await Caller.connect(port);
  await guest.say(`${name}\n`);
  await guest.until(`* ${name} has come\r\n`);
  return guest;
}

/** A room with two guests in it. */
async function annAndBob() {
  await using stack = new AsyncDisposableStack();
  const room = stack.use(await openRoom());
  const ann = stack.use(await enter(room, "ann"));
  const bob = stack.use(await enter(room, "bob"));
  await ann.until("* bob has come\r\n");
  const all = stack.move();
  return { room, ann, bob, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Starts `nc`, and gives it a name. */
async function netcat({ port }: Child, name: string): Promise<Child> {
  const child = new Child("nc", ["127.0.0.1", `${port}`]);
  await child.until("What is your name?");
  await child.write(`${name}\n`);
  await child.until(`* ${name} has come`);
  return child;
}

testWith("nc", "chat_server lets nc sessions talk", async () => {
  await using room = await openRoom();
  await using ann = await netcat(room, "Ann");
  await using bob = await netcat(room, "bob");
  await using eve = await netcat(room, "eve");
  await ann.until("* eve has come");
  await ann.write("spam, spam\n");
  assertEquals(await bob.until("spam"), "<Ann> spam, spam");
  assertEquals(await eve.until("spam"), "<Ann> spam, spam");

  await bob.write("/msg ann just  eggs\n/who\n");
  assertEquals(await ann.until("eggs"), "<bob, to you alone> just eggs");
  assertEquals(await bob.until("*"), "* To Ann alone: just eggs");
  assertEquals(await bob.until("*"), "* Ann, bob, eve");

  await bob.write("/quit\n");
  await ann.until("* bob has left");
  eve.kill("SIGKILL");
  await ann.until("* eve has left");
  const { out } = await bob.end();
  assert(out.endsWith("* Ann, bob, eve"), out);
  assert(!(await eve.end()).out.includes("eggs"), "a secret");
});

Deno.test("chat_server asks for a name until it gets a good one that is free", async () => {
  await using room = await openRoom();
  using ann = await enter(room, "Zoë");
  using bob = await Caller.connect(room.port);
  assertEquals(await bob.until("\r\n"), WELCOME);
  const refusal = "* A name has 1 to 16 letters, digits, _ or -. Yours?\r\n";
  const odd = ["bob\x1b[2J", "bob\u202e", "bob\u200b", "\u3164", "\u0301bob"];
  for (const name of ["two words", "a".repeat(17), "<Zoë>", "-bob", ...odd]) {
    await bob.say(`${name}\n`);
    assertEquals(await bob.until("\r\n"), refusal, JSON.stringify(name));
  }
  for (const name of ["Zoë", "zoë", "ZOË", "Zoe\u0308", "Ｚoë"]) {
    await bob.say(`${name}\n`);
    const shown = name.normalize("NFKC");
    assertEquals(
      await bob.until("\r\n"),
      `* ${shown} is here already. Another name?\r\n`,
    );
  }
  await bob.say("/who\n/msg Zoë boo\n\n  \n");
  await bob.until("* First your name, please\r\n* First your name, please\r\n");
  await bob.say(`${"b".repeat(16)}\r\n`);
  assertEquals(await bob.until("\r\n"), `* ${"b".repeat(16)} has come\r\n`);
  // Of all this the room has noticed nothing.
  assertEquals(await ann.until("\r\n"), `* ${"b".repeat(16)} has come\r\n`);
});

Deno.test("chat_server refuses a line of more than 512 bytes, and its writer stays", async () => {
  await using guests = await annAndBob();
  const { ann, bob } = guests;
  const refusal = "* That line is too long: at most 512 bytes\r\n";
  const longest = "x".repeat(512);
  await bob.say(`${longest}\n${longest}x\n`);
  assertEquals(await ann.until("\r\n"), `<bob> ${longest}\r\n`);
  assertEquals(await bob.until("\r\n"), refusal);
  // One that does not end is refused once, before its end, and costs nothing.
  await bob.say("y".repeat(5_000));
  assertEquals(await bob.until("\r\n"), refusal);
  await bob.say("/quit\nstill here\n");
  assertEquals(await ann.until("\r\n"), "<bob> still here\r\n");
});

Deno.test("chat_server lets no control characters through", async () => {
  await using guests = await annAndBob();
  const { ann, bob } = guests;
  await bob.say("a\x1b[2Jb\x07c\x00d\x7fe\u009bf\u202eg\u2028h\ti\rj\n");
  assertEquals(
    await ann.until("\r\n"),
    "<bob> a�[2Jb�c�d�e�f�g�h i j\r\n",
  );
  const raw = [0x9b, 0x32, 0x4a, 0xff, 0xc3, 0x0a]; // not even UTF-8
  await bob.say(Uint8Array.from(raw));
  assertEquals(await ann.until("\r\n"), "<bob> �2J��\r\n");
  await bob.say("/msg ann \x1b]0;title\x07\n/msg \x1b[2J x\n");
  assertEquals(
    await ann.until("\r\n"),
    "<bob, to you alone> �]0;title�\r\n",
  );
  await bob.until("* There is no �[2J here\r\n");
});

Deno.test("chat_server takes lines however they are cut", async () => {
  await using guests = await annAndBob();
  const { ann, bob } = guests;
  for (const byte of bytes("naïve 🦜\r\n")) await bob.say(Uint8Array.of(byte));
  assertEquals(await ann.until("\r\n"), "<bob> naïve 🦜\r\n");
  await bob.say("one\ntwo\r\n\nthree\nand what has no end is not said");
  await bob.closeWrite();
  assertEquals(
    await ann.until("* bob has left\r\n"),
    "<bob> one\r\n<bob> two\r\n<bob> three\r\n* bob has left\r\n",
  );
});

Deno.test("chat_server hangs up on a web browser, but not on guests who speak of HTTP", async () => {
  await using room = await openRoom();
  using ann = await enter(room, "ann");
  for (const path of ["/", `/${"x".repeat(1_000)}`]) {
    using browser = await Caller.connect(room.port);
    await browser.say(
      `POST ${path} HTTP/1.1\r\nHost: x\r\n\r\neve\r\nI am ann\r\n`,
    );
    const answer = await browser.rest();
    assert(answer.endsWith("\r\n* This is no web server\r\n"), answer);
  }
  using trace = await enter(room, "Trace");
  await trace.say("get well soon\nPOST / HTTP/1.1\n");
  assertEquals(
    await ann.until("HTTP/1.1\r\n"),
    "* Trace has come\r\n<Trace> get well soon\r\n<Trace> POST / HTTP/1.1\r\n",
  );
});

Deno.test("chat_server explains its commands, and answers wrong ones", async () => {
  await using room = await openRoom();
  using ann = await enter(room, "ann");
  await ann.say("/help\n");
  assertMatch(await ann.until("leave\r\n"), /\* \/msg NAME TEXT/);
  await ann.say("/msg\n/msg bob\n/msg bob hi\n");
  assertEquals(
    await ann.until("here\r\n"),
    "* /msg NAME TEXT\r\n* /msg NAME TEXT\r\n* There is no bob here\r\n",
  );
});

/** A room in this process. */
function quietRoom() {
  const room = new ChatServer(0);
  Object.assign(room, { logger: new LogLines() });
  /** Brings a guest that gives its name and reads nothing. */
  const stall = (name: string) => {
    const channel = new FakeChannel();
    channel.take = () => new Promise(() => {});
    channel.push(`${name}\n`);
    return new Guest(channel, room);
  };
  return { room, stall };
}

/** Makes passes until `isDone()`, for at most 30 seconds. */
async function passes(isDone: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!isDone() && performance.now() < deadline) await poll(10);
  assert(isDone());
}

Deno.test("ChatServer keeps at most 256 KiB for a guest that does not read", async () => {
  const { room, stall } = quietRoom();
  const slow = stall("slow");
  await passes(() => slow.name !== "");
  const line = "x".repeat(500);
  let most = 0;
  while (slow.connected) {
    room.tell(line);
    most = Math.max(most, slow.bufferedAmount);
  }
  assert(most >= 256 * 1024, "nobody is put out early");
  assertLess(most, 256 * 1024 + `${line}\r\n`.length);
  assertEquals(slow.bufferedAmount, 0);
  assertEquals(room.names, []);
  closeAll();
  await loop();
});

Deno.test("ChatServer puts any number of guests out at once", async () => {
  const { room, stall } = quietRoom();
  const guests = Array.from({ length: 1_000 }, (_, i) => stall(`guest-${i}`));
  await passes(() => room.names.length === guests.length);
  for (const guest of guests) guest.hear("x".repeat(256 * 1024));
  room.tell("the last straw");
  assertEquals(room.names, []);
  assert(guests.every(({ connected }) => !connected));
  closeAll();
  await loop();
});

testUnix("chat_server tells all guests that it ends", async () => {
  await using guests = await annAndBob();
  const { room, ann, bob } = guests;
  using nameless = await Caller.connect(room.port);
  await bob.say("last words\n");
  await ann.until("last words\r\n");
  room.kill("SIGINT");
  assertEquals(await bob.rest(), "* The room is closing\r\n");
  assertEquals(await ann.rest(), "* The room is closing\r\n");
  await nameless.ignore();
  const out = await room.endWell();
  assertMatch(out, /^listening on 127\.0\.0\.1:\d+\nChatServer: ann came\n/);
  assertMatch(out, /SIGINT: closing/);
});
