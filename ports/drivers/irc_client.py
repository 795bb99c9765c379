"""Drives irc_client: a small IRC server that also drops, resets and refuses."""

import socket
import struct
import sys

from pc_support import LIMIT, Program

ALICE = b":alice!a@host "


class Session:
    """One connection of the bot. What the bot says is printed."""

    def __init__(self, listener):
        self.sock, _ = listener.accept()
        self.sock.settimeout(LIMIT)
        self.rest = b""

    def send(self, *lines):
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def split(self, data, *places):
        """Sends `data` in pieces, each in a packet of its own."""
        for start, end in zip((0, *places), (*places, len(data))):
            self.sock.sendall(data[start:end])

    def line(self):
        while b"\r\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                return b"<end> " + self.rest
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def expect(self, count=1):
        for _ in range(count):
            print("bot: %r" % self.line()[:80])

    def register(self):
        self.expect(2)
        self.send(b":irc.test 001 spam :Welcome")
        self.expect()
        self.send(b":spam!s@host JOIN #eggs")

    def reset(self):
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()


def listen(port=0):
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(LIMIT)
    return listener


def talk(session):
    print("* registers and joins")
    session.register()
    print("* answers PING")
    session.send(b"PING :irc.test", b"PING token", b"PING :two words")
    session.expect(3)
    print("* obeys, in the channel and in private")
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
    print("* takes text of all kinds, and wrong bytes")
    for text in (
        "grüß Gott, 你好, 😀".encode(),
        b"\xff\xfe \xc3 \xe4\xbd \xf0\x9f\x98 \xed\xa0\x80 latin-1: gr\xfc\xdf",
        b"\xef\xbb\xbfmark",
        b"\x02bold\x02 \x1funderlined\x1f",
        b"a\rb\nc\x00d",
    ):
        session.send(ALICE + b"PRIVMSG #eggs :!echo " + text)
        session.expect()
    print("* puts together what packets split")
    line = ALICE + "PRIVMSG #eggs :!echo über 😀".encode() + b"\r\n"
    for place in range(1, len(line)):
        session.split(line, place)
    print({session.line() for _ in range(1, len(line))})
    print("* cuts what a packet joins")
    session.send(*[ALICE + b"PRIVMSG #eggs :!echo %d" % n for n in range(500)])
    lines = [session.line() for _ in range(500)]
    wanted = [b"PRIVMSG #eggs :%d" % n for n in range(500)]
    print("in order: %s" % (lines == wanted))
    print("* sends much")
    session.send(ALICE + b"PRIVMSG #eggs :!flood 5000")
    lines = [session.line() for _ in range(5000)]
    wanted = [b"NOTICE #eggs :line %d " % n + 400 * b"x" for n in range(5000)]
    print("in order: %s" % (lines == wanted))
    print("* ignores what it does not know")
    session.send(b"", b"  ", b":prefix", b":irc.test 372 spam :motd", b"PING :last")
    session.expect()
    print("* comes back after KICK")
    session.send(
        ALICE + b"KICK #eggs bob :wrong one", ALICE + b"KICK #eggs spam :bye now"
    )
    session.expect()


def main():
    listener = listen()
    port = listener.getsockname()[1]
    program = Program(sys.argv[1:], "127.0.0.1", str(port), "spam", "#eggs")
    program.wait_for("ready")
    session = Session(listener)
    talk(session)

    print("* reconnects after the end, in the midst of a line")
    session.send(b"ERROR :Closing Link")
    session.sock.sendall(ALICE + b"PRIVMSG #eggs :!ec")
    session.sock.close()
    session = Session(listener)
    print("* takes another nick where its own is in use")
    session.expect(2)
    session.send(b":irc.test 433 * spam :in use")
    session.expect()
    session.send(b":irc.test 433 * spam_ :in use")
    session.expect()
    session.send(b":irc.test 001 spam__ :Welcome")
    session.expect()
    session.send(b":spam__!s@host JOIN #eggs", ALICE + b"PRIVMSG spam__ :!count")
    session.expect()

    print("* reconnects after a reset")
    session.reset()
    session = Session(listener)
    session.register()

    print("* drops what a dead connection did not take")
    session.send(ALICE + b"PRIVMSG #eggs :!flood 20000")
    session.expect()
    session.reset()
    session = Session(listener)
    session.register()
    session.send(b"PING :still there")
    session.expect()

    print("* waits for a server that refuses")
    listener.close()
    session.sock.close()
    program.wait_for("refused")
    listener = listen(port)
    session = Session(listener)
    session.register()

    print("* is dropped before it has said anything")
    for _ in range(3):
        session.sock.close()
        session = Session(listener)
    session.register()

    print("* quits")
    session.send(ALICE + b"PRIVMSG spam :!quit see you")
    session.expect()
    print("then: %r" % session.line())
    session.sock.close()
    print("exit code %d" % program.process.wait(LIMIT))
    print("--- log")
    print("\n".join(program.lines))


main()
