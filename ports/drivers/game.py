"""Needs: nc"""

import threading

from support import (
    LIMIT, Lines, Program, connect, reset, run, scene, show,
)


class Player:
    """A player at a plain socket. What the game tells is shown."""

    def __init__(self, port, name):
        self.sock = connect(port)
        self.lines = Lines(self.sock)
        self.name = name
        self.sees("What is your name?")
        self.types(name)
        self.sees("Ways: ")

    def types(self, *lines):
        """All the lines in one packet."""
        self.sock.sendall("".join(line + "\n" for line in lines).encode())

    def sees(self, end, quietly=False):
        """What comes up to a line that begins with `end`: those lines."""
        lines = []
        while not lines or not lines[-1].startswith(end):
            line = self.lines.next()
            if line is None:
                raise EOFError(f"{self.name} waits for {end!r} after {lines}")
            lines.append(line.decode())
            if not quietly:
                print(f"{self.name}: {lines[-1]}")
        return lines

    def does(self, line, end):
        self.types(line)
        self.sees(end)


def nc_plays(port):
    scene("nc plays")
    for lines in (
        "alice\nlook\nquit\n",
        "bob\r\nlook\r\nsay with CR\r\nquit\r\n",
        "1\n\nA very long name\nalice bob\ncarol\nwho\nquit\nlook\n",
        "dave\ndance\nconstructor\n\n  \nLOOK\nsay grüße 😀\nsay  two  spaces \nquit\n",
        "eve\ngo up\ngo north\ngo down\ntake coin\ntake rose\nhave\ndrop rose\ndrop it\n"
        "go south\ngo down\nlook\nquit\n",
        "fred\nsay no end of line",
        "",
    ):
        result = run("nc", "-N", "127.0.0.1", str(port), input=lines.encode())
        show("nc", result.stdout)


def players_meet(alice, bob):
    scene("players meet")
    alice.sees("bob enters")
    alice.does("say hello", "You say")
    bob.sees("alice says")
    bob.does("go north", "Here is a rose")
    alice.sees("bob goes north")
    alice.does("say alone", "You say")
    bob.does("take spade", "You take")
    bob.does("go south", "Here is alice")
    alice.sees("bob comes")
    bob.does("drop spade", "You drop")
    alice.does("take spade", "You take")
    bob.sees("alice takes")
    bob.does("take spade", "There is no spade")


def what_takes_time(alice, bob):
    scene("what takes time ends with a tick")
    for player in (alice, bob):
        player.does("go north", "Here is a rose")
    alice.sees("bob comes")
    alice.types("dig", "look", "say busy?")
    alice.sees("You find")
    bob.sees("alice finds")
    alice.types("dig", "stop", "stop", "have")
    alice.sees("You have")
    bob.sees("alice begins")
    bob.types("dig")
    bob.sees("You find")
    bob.does("dig", "You find nothing")
    alice.sees("bob begins")
    alice.sees("bob finds")
    alice.sees("bob begins")
    scene("a count goes on with each tick")
    alice.does("count 5", "Go!")
    bob.sees("Go!")
    bob.does("count x", "Go!")
    alice.sees("Go!")


def players_leave(port, alice, bob):
    scene("a player leaves while it digs")
    for leave in (
        lambda player: player.does("quit", "Goodbye"),
        lambda player: player.sock.close(),
        lambda player: reset(player.sock),
        lambda player: player.sock.shutdown(1),
    ):
        carol = Player(port, "carol")
        carol.does("go north", "Here is bob")
        carol.types("dig")
        carol.sees("You begin")
        leave(carol)
        bob.sees("carol leaves")
        alice.sees("carol leaves")
        # Longer than it would have dug.
        bob.does("count 5", "Go!")
        alice.sees("Go!")


def one_talks_a_lot(port, alice, bob):
    scene("one talks a lot, and another does not listen")
    alice.does("go south", "Ways")
    bob.sees("alice goes")
    bob.does("go south", "Here is alice")
    alice.sees("bob comes")
    said = [f"say {n} " + "blah " * 20 for n in range(5_000)]
    writer = threading.Thread(target=alice.types, args=said)
    writer.start()
    own = alice.sees("You say: 4999", quietly=True)
    writer.join(LIMIT)
    show("alice", "\n".join(own).encode())
    alice.does("count 2", "Go!")
    heard = bob.sees("Go!", quietly=True)
    show("bob", "\n".join(heard).encode())


def many_play(port, alice):
    scene("many play")
    many = [Player(port, "p" + "abcdefghijklmnopqrst"[n]) for n in range(20)]
    alice.sees("pt enters")
    many[7].types("say who is here?")
    for player in [alice, *many]:
        player.sees("You say" if player is many[7] else "ph says")
    alice.does("who", "Players")
    for player in many:
        player.types("quit")
        player.sees("Goodbye")
        alice.sees(player.name + " leaves")
        player.sock.close()


def main():
    with Program() as program:
        port = program.port
        nc_plays(port)
        alice = Player(port, "alice")
        bob = Player(port, "bob")
        players_meet(alice, bob)
        what_takes_time(alice, bob)
        players_leave(port, alice, bob)
        one_talks_a_lot(port, alice, bob)
        many_play(port, alice)
        scene("the world ends")
        bob.sees("pt leaves", quietly=True)
        bob.types("end")
        for player in (alice, bob):
            player.sees("The world ends")
            show(player.name, player.lines.next())
            player.sock.close()
        print(f"exit code {program.process.wait(LIMIT)}")
    program.show_log()


main()
