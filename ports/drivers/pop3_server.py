"""Needs: curl"""

import contextlib
import os
import poplib
import tempfile

from support import (
    Program, connect, pattern, read_all, read_until, reset, run, scene,
    show, until,
)

SMALL = b"From: bob@example.org\r\nSubject: tea\r\n\r\nCome at five.\r\nBob\r\n"
DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\nno.dot\r\n\r\n.\r\nlast line without end"
LATIN = b"Subject: caf\xe9\r\n\r\n\x00\x80\xff\n.bare line feed\n\r\n"
# poplib counts the lines of a message one by one: a long one has long lines.
LARGE = b"Subject: large\r\n\r\n" + b"".join(
    pattern(900, seed).replace(b"\r", b"r").replace(b"\n", b"n") + b"\r\n"
    for seed in range(4_000)
)


@contextlib.contextmanager
def serving():
    """A server whose users have mail."""
    with tempfile.TemporaryDirectory() as folder:
        mail = {"alice": [SMALL, DOTS, LATIN, LARGE], "bob": []}
        for user, messages in mail.items():
            os.mkdir(os.path.join(folder, user))
            for number, message in enumerate(messages):
                path = os.path.join(folder, user, f"{number}.eml")
                with open(path, "wb") as file:
                    file.write(message)
        with Program(folder) as program:
            program.folder = folder
            yield program
        program.show_log()


def log_in(program):
    """A client of poplib's, logged in."""
    client = poplib.POP3("127.0.0.1", program.port, timeout=20)
    client.user("alice")
    client.pass_("wonderland")
    return client


def log_in_when_free(program):
    """Waits for the server to notice that the last client has left."""

    def logged_in():
        with contextlib.suppress(poplib.error_proto):
            return log_in(program)

    return until(logged_in)


def attempt(method, *arguments):
    """Calls a method of a client: the result, or the error."""
    try:
        return method(*arguments)
    except poplib.error_proto as error:
        return error


def talk(program, *parts):
    """What a plain client gets that sends these, and then only listens."""
    with connect(program.port) as sock:
        for part in parts:
            sock.sendall(part)
        return read_all(sock)


def poplib_reads_all():
    scene("poplib logs in, and reads and deletes messages")
    with serving() as program:
        client = poplib.POP3("127.0.0.1", program.port, timeout=20)
        show("welcome", client.getwelcome())
        show("user", client.user("alice"))
        show("pass", client.pass_("wonderland"))
        show("stat", client.stat())
        show("list", client.list())
        show("list 2", client.list(2))
        show("uidl", client.uidl())
        show("uidl 3", client.uidl(3))
        show("top", client.top(1, 1))
        show("top of dots", client.top(2, 3))
        for number in range(1, 5):
            reply, lines, octets = client.retr(number)
            show(f"retr {number}", reply)
            show(f"retr {number}", b"\n".join(lines))
            show(f"retr {number}", octets)
        show("dele", client.dele(2))
        show("stat", client.stat())
        show("retr 2", attempt(client.retr, 2))
        show("rset", client.rset())
        show("stat", client.stat())
        show("dele", client.dele(4))
        show("noop", client.noop())
        show("quit", client.quit())
        show("files", sorted(os.listdir(os.path.join(program.folder, "alice"))))


def passwords():
    scene("wrong passwords, APOP, and a locked maildrop")
    with serving() as program:
        client = poplib.POP3("127.0.0.1", program.port, timeout=20)
        show("stat", attempt(client.stat))
        show("pass", attempt(client.pass_, "wonderland"))
        show("user", client.user("alice"))
        show("pass", attempt(client.pass_, "looking-glass"))
        show("apop", attempt(client.apop, "alice", "looking-glass"))
        show("apop", attempt(client.apop, "nobody", ""))
        show("apop", client.apop("alice", "wonderland"))
        show("pass again", attempt(client.pass_, "wonderland"))
        show("second client", attempt(log_in, program))
        show("quit", client.quit())
        client = log_in(program)
        show("third client", client.stat())
        client.close()


def wrong_commands():
    scene("commands that are wrong")
    with serving() as program:
        client = log_in(program)
        for command in (
            "", " ", "XYZZY", "RETR", "RETR x", "RETR 0", "RETR 99", "RETR -1",
            "RETR 1 2", "TOP 1", "TOP 1 x", "TOP 9 1", "DELE", "LIST 7",
            "UIDL one", "constructor", "__class__", "noop", "nOoP rest",
            "caf\u00e9",
        ):
            show(repr(command), attempt(client._shortcmd, command))
        show("quit", client.quit())


def pipelined():
    scene("all commands in one packet")
    with serving() as program:
        login = b"USER alice\r\nPASS wonderland\r\n"
        show("client", talk(
            program,
            login + b"STAT\r\nLIST\r\nRETR 1\r\nTOP 2 99\r\nDELE 1\r\nUIDL\r\n"
            b"RETR 1\r\nRSET\r\nSTAT\r\nNOOP\r\nQUIT\r\nNOOP\r\nSTAT\r\n",
        ))

        scene("large messages in one packet")
        show("client", talk(program, login + b"RETR 4\r\n" * 5 + b"QUIT\r\n"))

        scene("hundreds of commands in one packet")
        show("client", talk(program, login + b"LIST\r\n" * 900 + b"QUIT\r\n"))

        scene("commands that come byte by byte")
        text = login + b"RETR 2\r\nQUIT\r\n"
        show("client", talk(program, *[bytes([byte]) for byte in text]))

        scene("a client that ends its side behind its commands")
        with connect(program.port) as sock:
            read_until(sock, b"\r\n")
            sock.sendall(login + b"STAT\r\n")
            for _ in range(3):
                show("client", read_until(sock, b"\r\n"))
            sock.shutdown(1)
            show("client", read_all(sock))


def lost_clients():
    scene("a client that resets in the midst of a message frees the maildrop")
    with serving() as program:
        sock = connect(program.port)
        sock.sendall(b"USER alice\r\nPASS wonderland\r\nRETR 4\r\n")
        read_until(sock, b"Subject: large\r\n")
        reset(sock)
        client = log_in_when_free(program)
        show("the next client", client.stat())
        client.dele(1)
        # Without QUIT, nothing is removed.
        client.close()
        client = log_in_when_free(program)
        show("the last client", client.stat())
        show("quit", client.quit())


def curl_reads():
    scene("curl reads mail")
    with serving() as program:
        url = f"pop3://alice:wonderland@127.0.0.1:{program.port}/"
        for path in ("", "1", "2", "4", "5"):
            result = run("curl", "-sS", url + path)
            show(f"curl {path}", result.stdout)
            show("curl's errors", result.stderr)
        result = run(
            "curl", "-sS", "-X", "UIDL", url, "--next",
            "-sS", "-l", "-X", "DELE", url + "1",
        )
        show("curl", result.stdout)
        show("curl's errors", result.stderr)


poplib_reads_all()
passwords()
wrong_commands()
pipelined()
lost_clients()
curl_reads()
