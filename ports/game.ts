/**
 * A game for players who type commands; the program steps the loop itself.
 *
 *     deno run --allow-net game.ts
 */

import {
  AsyncChat,
  type Channel,
  closeAll,
  Dispatcher,
  loop,
  socketMap,
  type Timer,
} from "@asyncore/asyncore";

const TICK = 50; // milliseconds

const PLACES = new Map([
  ["hall", new Map([["north", "garden"], ["down", "cellar"]])],
  ["garden", new Map([["south", "hall"]])],
  ["cellar", new Map([["up", "hall"]])],
]);

class Player extends AsyncChat {
  game: Game;
  name = "";
  place = "hall";
  things: string[] = [];
  task: Timer | null = null;

  constructor(conn: Channel, game: Game) {
    super(conn);
    this.game = game;
    this.setTerminator("\n");
    this.tell("What is your name?");
  }

  override foundTerminator() {
    const line = this.takeText().replace(/\r+$/, "");
    if (this.name === "") {
      this.enter(line);
      return;
    }
    const [verb = "", ...words] = line.split(" ");
    if (verb === "") return;
    const method = VERBS.get(verb);
    if (method === undefined) {
      this.tell(`You cannot ${verb}.`);
    } else if (this.task !== null && !["stop", "quit"].includes(verb)) {
      this.tell("You are busy.");
    } else {
      method.call(this, words.join(" "));
    }
  }

  tell(text: string) {
    this.push(`${text}\r\n`);
  }

  enter(name: string) {
    if (!/^[A-Za-z]{1,12}$/.test(name)) {
      this.tell("Letters only, twelve at most.");
    } else if (this.game.players.has(name)) {
      this.tell("That name is taken.");
    } else {
      this.name = name;
      this.game.tellAll(`${name} enters the game.`);
      this.game.players.set(name, this);
      this.doLook();
    }
  }

  others(): Player[] {
    const players = [...this.game.players.values()];
    return players.filter((who) => who.place === this.place && who !== this);
  }

  tellOthers(text: string) {
    for (const player of this.others()) player.tell(text);
  }

  override handleClose() {
    this.task = null; // callLater() of a dispatcher ends with it.
    this.close();
    if (this.game.players.delete(this.name)) {
      this.game.things.get(this.place)!.push(...this.things);
      this.game.tellAll(`${this.name} leaves the game.`);
      this.game.logInfo(`${this.name} has left`);
    }
  }

  // The commands of players

  doLook() {
    this.tell(`You are in the ${this.place}.`);
    this.tell(`Ways: ${[...PLACES.get(this.place)!.keys()].join(", ")}`);
    for (const thing of this.game.things.get(this.place)!) {
      this.tell(`Here is a ${thing}.`);
    }
    for (const player of this.others()) this.tell(`Here is ${player.name}.`);
  }

  doGo(way: string) {
    const place = PLACES.get(this.place)!.get(way);
    if (place === undefined) {
      this.tell("There is no such way.");
      return;
    }
    this.tellOthers(`${this.name} goes ${way}.`);
    this.place = place;
    this.tellOthers(`${this.name} comes.`);
    this.doLook();
  }

  doTake(thing: string) {
    const here = this.game.things.get(this.place)!;
    if (!here.includes(thing)) {
      this.tell(`There is no ${thing}.`);
      return;
    }
    here.splice(here.indexOf(thing), 1);
    this.things.push(thing);
    this.tell(`You take the ${thing}.`);
    this.tellOthers(`${this.name} takes the ${thing}.`);
  }

  doDrop(thing: string) {
    if (!this.things.includes(thing)) {
      this.tell(`You have no ${thing}.`);
      return;
    }
    this.things.splice(this.things.indexOf(thing), 1);
    this.game.things.get(this.place)!.push(thing);
    this.tell(`You drop the ${thing}.`);
    this.tellOthers(`${this.name} drops the ${thing}.`);
  }

  doHave() {
    this.tell(`You have: ${this.things.join(", ") || "nothing"}`);
  }

  doSay(text: string) {
    this.tell(`You say: ${text}`);
    this.tellOthers(`${this.name} says: ${text}`);
  }

  doWho() {
    this.tell(`Players: ${[...this.game.players.keys()].sort().join(", ")}`);
  }

  doDig() {
    this.tell("You begin to dig.");
    this.tellOthers(`${this.name} begins to dig.`);
    this.task = this.callLater(3 * TICK, () => this.dug());
  }

  dug() {
    this.task = null;
    const thing = this.game.buried.get(this.place)!.shift();
    if (thing === undefined) {
      this.tell("You find nothing.");
      return;
    }
    this.things.push(thing);
    this.tell(`You find a ${thing}.`);
    this.tellOthers(`${this.name} finds a ${thing}.`);
  }

  doStop() {
    if (this.task === null) {
      this.tell("You do nothing.");
      return;
    }
    this.task.cancel();
    this.task = null;
    this.tell("You stop.");
  }

  doCount(rest: string) {
    this.game.counting = /^[1-9]$/.test(rest) ? Number(rest) : 3;
    this.tell("The count begins with the next tick.");
  }

  doQuit() {
    this.tell("Goodbye.");
    this.closeWhenDone();
  }

  doEnd() {
    this.game.tellAll("The world ends.");
    this.game.running = false;
  }
}

type Verb = (this: Player, rest: string) => void;
const VERBS = new Map<string, Verb>([
  ["look", Player.prototype.doLook],
  ["go", Player.prototype.doGo],
  ["take", Player.prototype.doTake],
  ["drop", Player.prototype.doDrop],
  ["have", Player.prototype.doHave],
  ["say", Player.prototype.doSay],
  ["who", Player.prototype.doWho],
  ["dig", Player.prototype.doDig],
  ["stop", Player.prototype.doStop],
  ["count", Player.prototype.doCount],
  ["quit", Player.prototype.doQuit],
  ["end", Player.prototype.doEnd],
]);

class Game extends Dispatcher {
  players = new Map<string, Player>();
  things = new Map([
    ["hall", ["lamp"]],
    ["garden", ["spade", "rose"]],
    ["cellar", []],
  ]);
  buried = new Map([
    ["hall", []],
    ["garden", ["coin", "bone"]],
    ["cellar", ["chest"]],
  ]);
  counting: number | null = null;
  running = true;

  constructor() {
    super();
    this.createSocket();
    this.setReuseAddr();
    this.bind({ hostname: "127.0.0.1", port: 0 });
    this.listen(5);
  }

  override handleAccepted(conn: Channel) {
    new Player(conn, this);
  }

  tellAll(text: string) {
    for (const player of [...this.players.values()]) player.tell(text);
  }

  tick() {
    socketMap.callLater(TICK, () => this.tick());
    if (this.counting === null) return;
    this.tellAll(this.counting > 0 ? `${this.counting}` : "Go!");
    this.counting = this.counting > 0 ? this.counting - 1 : null;
  }
}

async function main() {
  const game = new Game();
  console.log(`listening on ${game.localAddr!.port}`);
  socketMap.callLater(TICK, () => game.tick());
  while (game.running) {
    await loop({ timeout: 50, count: 1 });
  }
  game.logInfo(`${socketMap.size} in the map`);
  closeAll();
  game.logInfo(`${socketMap.size} in the map`);
}

await main();
