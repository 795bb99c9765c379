"""A game for players who type commands; the program steps the loop itself.

    python3 -W ignore game.py
"""

import asynchat
import asyncore
import re
import sched
import socket
import time

TICK = 0.05  # seconds

PLACES = {
    "hall": {"north": "garden", "down": "cellar"},
    "garden": {"south": "hall"},
    "cellar": {"up": "hall"},
}


class Player(asynchat.async_chat):
    def __init__(self, sock, game):
        asynchat.async_chat.__init__(self, sock)
        self.game = game
        self.name = None
        self.place = "hall"
        self.things = []
        self.task = None
        self.set_terminator(b"\n")
        self.tell("What is your name?")

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        line = self._get_data().decode("utf-8", "replace").rstrip("\r")
        if self.name is None:
            self.enter(line)
            return
        verb, _, rest = line.partition(" ")
        if verb == "":
            return
        method = getattr(self, "do_" + verb, None)
        if method is None:
            self.tell("You cannot %s." % verb)
        elif self.task is not None and verb not in ("stop", "quit"):
            self.tell("You are busy.")
        else:
            method(rest)

    def tell(self, text):
        self.push(text.encode() + b"\r\n")

    def enter(self, name):
        if not re.fullmatch("[A-Za-z]{1,12}", name):
            self.tell("Letters only, twelve at most.")
        elif name in self.game.players:
            self.tell("That name is taken.")
        else:
            self.name = name
            self.game.tell_all("%s enters the game." % name)
            self.game.players[name] = self
            self.do_look("")

    def others(self):
        players = self.game.players.values()
        return [who for who in players if who.place == self.place and who is not self]

    def tell_others(self, text):
        for player in self.others():
            player.tell(text)

    def handle_close(self):
        if self.task is not None:
            self.game.scheduler.cancel(self.task)
            self.task = None
        self.close()
        if self.game.players.pop(self.name, None) is not None:
            self.game.things[self.place] += self.things
            self.game.tell_all("%s leaves the game." % self.name)
            self.game.log_info("%s has left" % self.name)

    # What players can do

    def do_look(self, rest):
        self.tell("You are in the %s." % self.place)
        self.tell("Ways: %s" % ", ".join(PLACES[self.place]))
        for thing in self.game.things[self.place]:
            self.tell("Here is a %s." % thing)
        for player in self.others():
            self.tell("Here is %s." % player.name)

    def do_go(self, way):
        place = PLACES[self.place].get(way)
        if place is None:
            self.tell("There is no such way.")
            return
        self.tell_others("%s goes %s." % (self.name, way))
        self.place = place
        self.tell_others("%s comes." % self.name)
        self.do_look("")

    def do_take(self, thing):
        here = self.game.things[self.place]
        if thing not in here:
            self.tell("There is no %s." % thing)
            return
        here.remove(thing)
        self.things.append(thing)
        self.tell("You take the %s." % thing)
        self.tell_others("%s takes the %s." % (self.name, thing))

    def do_drop(self, thing):
        if thing not in self.things:
            self.tell("You have no %s." % thing)
            return
        self.things.remove(thing)
        self.game.things[self.place].append(thing)
        self.tell("You drop the %s." % thing)
        self.tell_others("%s drops the %s." % (self.name, thing))

    def do_have(self, rest):
        self.tell("You have: %s" % (", ".join(self.things) or "nothing"))

    def do_say(self, text):
        self.tell("You say: %s" % text)
        self.tell_others("%s says: %s" % (self.name, text))

    def do_who(self, rest):
        self.tell("Players: %s" % ", ".join(sorted(self.game.players)))

    def do_dig(self, rest):
        self.tell("You begin to dig.")
        self.tell_others("%s begins to dig." % self.name)
        self.task = self.game.scheduler.enter(3 * TICK, 1, self.dug)

    def dug(self):
        self.task = None
        buried = self.game.buried[self.place]
        if not buried:
            self.tell("You find nothing.")
            return
        thing = buried.pop(0)
        self.things.append(thing)
        self.tell("You find a %s." % thing)
        self.tell_others("%s finds a %s." % (self.name, thing))

    def do_stop(self, rest):
        if self.task is None:
            self.tell("You do nothing.")
            return
        self.game.scheduler.cancel(self.task)
        self.task = None
        self.tell("You stop.")

    def do_count(self, rest):
        self.game.counting = int(rest) if re.fullmatch("[1-9]", rest) else 3
        self.tell("The count begins with the next tick.")

    def do_quit(self, rest):
        self.tell("Goodbye.")
        self.close_when_done()

    def do_end(self, rest):
        self.game.tell_all("The world ends.")
        self.game.running = False


class Game(asyncore.dispatcher):
    def __init__(self, scheduler):
        asyncore.dispatcher.__init__(self)
        self.scheduler = scheduler
        self.players = {}
        self.things = {"hall": ["lamp"], "garden": ["spade", "rose"], "cellar": []}
        self.buried = {"hall": [], "garden": ["coin", "bone"], "cellar": ["chest"]}
        self.counting = None
        self.running = True
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Player(sock, self)

    def tell_all(self, text):
        for player in list(self.players.values()):
            player.tell(text)

    def tick(self):
        self.scheduler.enter(TICK, 1, self.tick)
        if self.counting is None:
            return
        self.tell_all("%d" % self.counting if self.counting > 0 else "Go!")
        self.counting = self.counting - 1 if self.counting > 0 else None


def main():
    scheduler = sched.scheduler(time.monotonic, time.sleep)
    game = Game(scheduler)
    print("listening on %d" % game.socket.getsockname()[1], flush=True)
    scheduler.enter(TICK, 1, game.tick)
    while game.running:
        asyncore.loop(timeout=0.05, use_poll=True, count=1)
        scheduler.run(blocking=False)
    game.log_info("%d in the map" % len(asyncore.socket_map))
    asyncore.close_all()
    game.log_info("%d in the map" % len(asyncore.socket_map))


main()
