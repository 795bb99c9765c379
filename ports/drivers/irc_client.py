"""An IRC server that also ends, resets and refuses the connection of the bot."""

import socket

from support import LIMIT, Lines, Program, reset, scene, show

ALICE = b":alice!a@host "


class Session:
    """One connection of the bot. What the bot says is printed."""

    def __init__(self, listener):
        self.sock, _ = listener.accept()
        self.sock.settimeout(LIMIT)
        self.line = Lines(self.sock).next

    def send(self, *lines):
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def split(self, data, *places):
        """Sends `data` in pieces, each in a packet of its own."""
        for start, end in zip((0, *places), (*places, len(data))):
            self.sock.sendall(data[start:end])

    def expect(self, count=1):
        for _ in range(count):
            show("bot", self.line())

    def register(self):
        self.expect(2)
        self.send(b":irc.test 001 spam :Welcome")
        self.expect()
        self.send(b":spam!s@host JOIN #eggs")


def listen(port=0):
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(LIMIT)
    return listener


def talk(session):
    scene("registers and joins")
    session.register()
    scene("answers PING")
    session.send(b"PING :irc.test", b"PING token", b"PING :two words")
    session.expect(3)
    scene("obeys, in the channel and in private")
    session.send(
        ALICE + b"PRIVMSG #eggs :!echo hello there",
        ALICE + b"PRIVMSG spam :!echo hello there",
        ALICE + b"PRIVMSG #eggs :not for the bot",
        ALICE + b"PRIVMSG #eggs :!dance",
        ALICE + b"PRIVMSG #eggs :!constructor",
        ALICE + b"PRIVMSG #eggs :!",
        ALICE + b"PRIVMSG #eggs :!echo",
        ALICE + b"PRIVMSG #eggs :!echo  a :b  c ",
        ALICE + b"JOIN :#eggs",
        ALICE + b"PRIVMSG #eggs :!count",
    )
    session.expect(9)
    scene("takes text of all kinds, and wrong bytes")
    for text in (
        "grüß Gott, 你好, 😀".encode(),
        b"\xff\xfe \xc3 \xe4\xbd \xf0\x9f\x98 \xed\xa0\x80 latin-1: gr\xfc\xdf",
        b"\xef\xbb\xbfmark",
        b"\x02bold\x02 \x1funderlined\x1f",
        b"a\rb\nc\x00d",
    ):
        session.send(ALICE + b"PRIVMSG #eggs :!echo " + text)
        session.expect()
    scene("puts together what packets split")
    line = ALICE + "PRIVMSG #eggs :!echo über 😀".encode() + b"\r\n"
    for place in range(1, len(line)):
        session.split(line, place)
    show("bot", b"\n".join({session.line() for _ in range(1, len(line))}))
    scene("cuts what a packet joins")
    session.send(*[ALICE + b"PRIVMSG #eggs :!echo %d" % n for n in range(500)])
    show("bot", b"\n".join(session.line() for _ in range(500)))
    scene("sends much")
    session.send(ALICE + b"PRIVMSG #eggs :!flood 5000")
    show("bot", b"\n".join(session.line() for _ in range(5000)))
    scene("ignores what it does not know")
    session.send(b"", b"  ", b":prefix", b":irc.test 372 spam :motd")
    session.send(b"\xef\xbb\xbfPING :a mark", b"PING :last")
    session.expect()
    scene("comes back after KICK")
    session.send(
        ALICE + b"KICK #eggs bob :wrong one", ALICE + b"KICK #eggs spam :bye now"
    )
    session.expect()


def drive(program, listener):
    session = Session(listener)
    talk(session)

    scene("reconnects after the end, in the midst of a line")
    session.send(b"ERROR :Closing Link")
    session.sock.sendall(ALICE + b"PRIVMSG #eggs :!ec")
    session.sock.close()
    session = Session(listener)
    scene("takes another nick where its own is in use")
    session.expect(2)
    session.send(b":irc.test 433 * spam :in use")
    session.expect()
    session.send(b":irc.test 433 * spam_ :in use")
    session.expect()
    session.send(b":irc.test 001 spam__ :Welcome")
    session.expect()
    session.send(b":spam__!s@host JOIN #eggs", ALICE + b"PRIVMSG spam__ :!count")
    session.expect()

    scene("reconnects after a reset")
    reset(session.sock)
    session = Session(listener)
    session.register()

    scene("drops what a dead connection did not take")
    session.send(ALICE + b"PRIVMSG #eggs :!flood 20000")
    session.expect()
    reset(session.sock)
    session = Session(listener)
    session.register()
    session.send(b"PING :still there")
    session.expect()

    scene("waits for a server that refuses")
    port = listener.getsockname()[1]
    listener.close()
    session.sock.close()
    program.until("refused")
    listener = listen(port)
    session = Session(listener)
    session.register()

    scene("is dropped before it has said anything")
    for _ in range(3):
        session.sock.close()
        session = Session(listener)
    session.register()

    scene("quits")
    session.send(ALICE + b"PRIVMSG spam :!quit see you")
    session.expect()
    session.expect()
    session.sock.close()
    print("exit code %d" % program.process.wait(LIMIT))


def main():
    listener = listen()
    port = listener.getsockname()[1]
    with Program("localhost", str(port), "spam", "#eggs", ready="ready") as program:
        drive(program, listener)
    program.show_log()


main()
