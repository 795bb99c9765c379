/**
 * The chat room on a bad network: what a member hears was said, in its
 * speaker's order and without a gap; nothing after `/quit`; who does not read
 * holds nobody up; a name is free again when its member is gone; at the end
 * everybody is told, and everything closes.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ChatServer } from "../../../examples/chat_server.ts";
import {
  AsyncChat,
  type Logger,
  shutdown,
  type ShutdownResult,
} from "../../../mod.ts";
import type { SimHost, SimNetwork } from "../../../testing/mod.ts";
import {
  addHost,
  addSteadyHost,
  endWell,
  pick,
  strictLogger,
  testScenario,
} from "./scenario.ts";

const PORT = 23;
/** How long a member waits before it comes again, in ms. */
const PAUSE = 1_500;
/** What makes a room of readers fall behind, in bytes. */
const TALKATIVE = 480;

/** A room whose log is the simulation's. */
class Room extends ChatServer {
  override readonly logger: ChatServer["logger"];

  constructor(log: Logger) {
    super(PORT);
    this.logger = log as unknown as ChatServer["logger"];
  }
}

/** What members have said, by their visits. */
class Minutes {
  /** How many lines were said in a visit before its `/quit`. */
  readonly said: number[] = [];

  open(): number {
    return this.said.push(0) - 1;
  }
}

/** What a member hears in one visit must be in order. */
class Ear {
  readonly #minutes: Minutes;
  /** The number of the last line of each visit. */
  readonly #last = new Map<number, number>();

  constructor(minutes: Minutes) {
    this.#minutes = minutes;
  }

  hear(visit: number, line: number) {
    const said = this.#minutes.said[visit]!;
    assert(line < said, "a line that was not said, or after /quit");
    const last = this.#last.get(visit);
    if (last !== undefined) assertEquals(line, last + 1, "a gap, or no order");
    this.#last.set(visit, line);
  }
}

/** One visit of a member. */
class Member extends AsyncChat {
  readonly #person: Person;
  readonly #ear: Ear;
  readonly #visit: number;
  isIn = false;
  hasQuit = false;
  /** The last word of the room was heard. */
  wasTold = false;
  hasHeardMarker = false;
  /** So the server is no longer one that has crashed meanwhile. */
  hearsBot = false;
  isOver = false;

  constructor(person: Person, host: SimHost) {
    // Only so a member learns that a server is gone to which it says nothing.
    super(null, {
      map: host.map,
      idleTimeout: person.isDeaf ? Infinity : 20_000,
    });
    this.#person = person;
    this.#ear = new Ear(person.minutes);
    this.#visit = person.minutes.open();
    this.setTerminator("\r\n");
    this.createSocket({ connectTimeout: 10_000 });
    this.connect({ hostname: "server", port: PORT });
    this.push(`${person.name}\n`);
  }

  override readable() {
    return !(this.isIn && this.#person.isDeaf) && super.readable();
  }

  override foundTerminator() {
    const line = this.takeText();
    const { name } = this.#person;
    const [, speaker, visit, number] =
      /^<(\w+)> (\d+):(\d+)(?: x+)?$/.exec(line) ??
        [];
    if (speaker) {
      assert(this.isIn && speaker !== name);
      this.#ear.hear(Number(visit), Number(number));
    } else if (line === `* ${name} has come`) this.#comeIn();
    else if (line === `* ${name} is here already. Another name?`) {
      this.callLater(1_000, () => this.push(`${name}\n`));
    } else if (line === "* The room is closing") this.wasTold = true;
    else if (line === "<bot> marker") this.hasHeardMarker = true;
    else if (line === "<bot> hm") this.hearsBot = true;
    else {
      assertMatch(line, /^\* (Welcome\. .*|\w+ has (come|left)|\w+ fell .*)$/);
    }
  }

  #comeIn() {
    assert(!this.isIn);
    this.isIn = true;
    if (!this.#person.isDeaf) this.#talkLater();
  }

  #talkLater() {
    const { sim, isFlooding } = this.#person;
    const delay = isFlooding ? 30 : pick(sim, 200, 2_500);
    this.callLater(delay, () => this.talk());
  }

  talk() {
    const { sim, minutes, isFlooding } = this.#person;
    if (sim.random() < 0.1 && !isFlooding) return this.quit();
    const number = minutes.said[this.#visit]!++;
    const rest = isFlooding ? "x".repeat(TALKATIVE) : "";
    this.push(`${this.#visit}:${number} ${rest}\n`);
    this.#talkLater();
  }

  quit() {
    this.hasQuit = true;
    const number = this.#person.minutes.said[this.#visit]!;
    this.push(`/quit\n${this.#visit}:${number} \n`);
  }

  override handleClose() {
    this.isOver = true;
    this.close();
    this.#person.leave(this.map);
  }
}

/** Somebody who comes, leaves, and comes again. */
class Person {
  readonly sim: SimNetwork;
  readonly name: string;
  readonly minutes: Minutes;
  member: Member | null = null;
  /** Reads nothing once it is in. */
  isDeaf = false;
  /** Says much at a time. */
  isFlooding = false;
  /** Does not come again. */
  isTired = false;
  readonly #host: SimHost;

  constructor(sim: SimNetwork, name: string, minutes: Minutes) {
    this.sim = sim;
    this.name = name;
    this.minutes = minutes;
    this.#host = addHost(sim, name, (host) => this.come(host));
  }

  come(host = this.#host) {
    if (!this.isTired) this.member = new Member(this, host);
  }

  leave(map: SimHost["map"]) {
    map.callLater(PAUSE, () => this.come());
  }

  get isIn(): boolean {
    const member = this.member!;
    const isHere = this.#host.isUp && member.map === this.#host.map;
    return isHere && member.connected && member.hearsBot && !member.hasQuit;
  }
}

/** Says something each second, so that a connection that is none is noticed. */
class Bot extends AsyncChat {
  isOver = false;

  constructor(host: SimHost) {
    super(null, { map: host.map });
    this.createSocket();
    this.connect({ hostname: "server", port: PORT });
    this.push("bot\n");
    this.callEvery(1_000, () => this.push("hm\n"));
  }

  override collectIncomingData() {}

  override handleClose() {
    this.close();
    this.isOver = true;
  }
}

testScenario("chat_server tells everybody everything", async (sim) => {
  const minutes = new Minutes();
  let room!: Room;
  const server = addHost(sim, "server", () => {
    room = new Room(strictLogger(sim, "server"));
  });
  const people = ["ann", "bob", "eve"].map((name) =>
    new Person(sim, name, minutes)
  );
  const eve = people[2]!;
  eve.isDeaf = sim.random() < 0.3;
  const isFlooded = eve.isDeaf && sim.random() < 0.1;
  people[0]!.isFlooding = isFlooded;
  await sim.run({ limit: isFlooded ? 25_000 : 10_000 });

  sim.calm();
  await sim.run({ until: () => server.isUp });
  const botHost = addSteadyHost(sim, "bot");
  const bot = new Bot(botHost);
  people[0]!.isFlooding = false;
  const readers = people.filter(({ isDeaf }) => !isDeaf);
  const areIn = () => readers.every(({ isIn }) => isIn);
  await sim.run({ until: areIn, limit: 120_000 });
  bot.push("marker\n");
  for (const person of people) person.isTired = true;
  const members = readers.map(({ member }) => member!);
  const isHeard = () =>
    members.every((one) => one.hasHeardMarker || one.hasQuit);
  await sim.run({ until: isHeard, limit: 10_000 });

  const [leaver] = people;
  if (!leaver!.member!.hasQuit) leaver!.member!.quit();
  const isFree = () => !room.names.includes(leaver!.name);
  await sim.run({ until: isFree, limit: 10_000 });

  let result: ShutdownResult | null = null;
  server.run(() => shutdown().then((ended) => void (result = ended)));
  const areTold = () =>
    result !== null && [bot, ...members].every(({ isOver }) => isOver);
  await sim.run({ until: areTold, limit: 15_000 });
  // What a deaf member did not take is lost, and counts.
  assert(result!.aborted <= Number(eve.isDeaf), `${result!.aborted} aborted`);
  await endWell(sim);
  for (const one of members) assert(one.wasTold || one.hasQuit);
});
