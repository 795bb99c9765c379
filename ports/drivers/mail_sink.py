"""Needs: curl"""

import os
import re
import smtplib
import tempfile

from support import (
    Program, connect, pattern, read_all, read_until, reset, run, scene, show,
)

HOST = re.compile(rb"(?m)^(250[- ]|220 )(?!SIZE|OK|HELP|8BIT|SMTPUTF8|Supp|Synt)\S+")
BOUNDARY = "\r\n.\r\n"


def told(who, data):
    """Shows answers, without the name of this machine."""
    show(who, HOST.sub(rb"\1HOST", data))


class Sink:
    """A sink with a folder of its own."""

    def __init__(self, limit, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.program = Program(self.folder.name, str(limit), *options)
        self.port = self.program.port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.stop()
        for name in sorted(os.listdir(self.folder.name), key=lambda name: int(name[:-4])):
            with open(os.path.join(self.folder.name, name), "rb") as file:
                show(name, file.read())
        self.folder.cleanup()
        self.program.show_log()

    def says(self, *lines, end=b""):
        """A whole session in one packet: what the sink answers."""
        sock = connect(self.port)
        sock.sendall(b"".join(line + b"\r\n" for line in lines) + end)
        if not end:
            sock.shutdown(1)
        told(" | ".join(repr(line)[2:60] for line in lines), read_all(sock))
        sock.close()


class Session:
    """A client that waits for each answer, or not."""

    def __init__(self, sink):
        self.sock = connect(sink.port)
        told("greeting", read_until(self.sock, b"\r\n"))

    def say(self, line):
        line = line if isinstance(line, bytes) else line.encode()
        self.sock.sendall(line + b"\r\n")
        answer = read_until(self.sock, b"\r\n")
        while answer and answer.splitlines()[-1][3:4] == b"-":
            answer += read_until(self.sock, b"\r\n")
        told(repr(line)[1:50], answer)

    def quit(self):
        self.sock.sendall(b"QUIT\r\n")
        told("QUIT", read_all(self.sock))
        self.sock.close()


def attempt(function, *args, **options):
    """What smtplib gives, or its error in its words."""
    try:
        print(f"{function.__name__}: {function(*args, **options)}")
    except smtplib.SMTPException as error:
        print(f"{function.__name__}: {error!r}")


def smtplib_sends(sink):
    scene("smtplib sends")
    client = smtplib.SMTP("127.0.0.1", sink.port, "client.example", timeout=20)
    me, you = "me@example.org", "you@example.org"
    text = "Subject: spam\r\n\r\nHello\r\n.\r\n..\r\n.leading dot\r\nlast"
    attempt(client.sendmail, me, you, text)
    print(sorted(client.esmtp_features.items()))
    attempt(client.sendmail, me, [you, "them@example.org"], "bare\nlines\rof\r\nall kinds")
    attempt(client.sendmail, me, you, "Grüße".encode(), ["BODY=8BITMIME"])
    attempt(client.sendmail, me, you, "")
    attempt(client.sendmail, "", you, "from nobody")
    attempt(client.sendmail, me, "full@example.org", "refused")
    attempt(client.sendmail, me, you, "x", ["BODY=9BITMIME"])
    attempt(client.sendmail, me, you, "x", ["RET=HDRS"])
    attempt(client.sendmail, me, you, "x", (), ["NOTIFY=NEVER"])
    attempt(client.verify, you)
    attempt(client.verify, "two words")
    attempt(client.help)
    attempt(client.help, "MAIL")
    attempt(client.noop)
    attempt(client.rset)
    attempt(client.expn, "list")
    attempt(client.login, "user", "password")
    attempt(client.starttls)
    lines = b"\r\n".join([pattern(500, 7).hex().encode()] * 5_000)
    attempt(client.sendmail, me, you, b"Subject: large\r\n\r\n" + lines)
    attempt(client.sendmail, me, "broken@example.org", "the sink fails")
    client.close()
    with smtplib.SMTP("127.0.0.1", sink.port, "client.example", timeout=20) as client:
        print(f"helo: {client.helo()[0]}")
        attempt(client.sendmail, me, you, "after HELO")
        attempt(client.quit)


def curl_sends(sink):
    scene("curl sends")
    mail = b"Subject: curl\r\n\r\n.dots\r\n.\r\nend\r\n"
    result = run(
        "curl", "-sS", "--url", f"smtp://127.0.0.1:{sink.port}/client.example",
        "--mail-from", "me@example.org", "--mail-rcpt", "a@example.org",
        "--mail-rcpt", "b@example.org", "-T", "-", input=mail,
    )  # fmt: skip
    show("curl", result.stdout + result.stderr)


def commands_in_a_bad_sequence(sink):
    scene("commands in a bad sequence")
    session = Session(sink)
    for line in (
        "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "NOOP", "RSET", "HELO", "EHLO",
        "HELO  ", "helo client", "HELO again", "EHLO again", "RCPT TO:<a@b>", "DATA",
        "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL TO:<a@b>", "MAIL FROM:<a@b> SIZE=1",
        "Mail From:  <a@b>", "MAIL FROM:<c@d>", "DATA", "RCPT", "RCPT TO:",
        "RCPT FROM:<c@d>", "RCPT TO:<c@d> X=1", "RCPT TO:<c@d>", "rcpt to: e@f",
        "DATA now", "RSET now", "NOOP now", "VRFY", "VRFY a@b", 'VRFY ""', "EXPN list",
        "RSET", "DATA", "RCPT TO:<a@b>", "HELP", "HELP MAIL", "HELP rcpt", "HELP me",
        "", " ", " NOOP", "NOOP ", "CONSTRUCTOR", "__PROTO__", "NO OP", "noop",
    ):  # fmt: skip
        session.say(line)
    for verb in "EHLO HELO DATA RSET NOOP QUIT VRFY HELP EXPN".split():
        session.say("HELP " + verb)
    session.quit()


def parameters(sink):
    scene("parameters")
    session = Session(sink)
    session.say("EHLO client")
    for line in (
        "MAIL FROM:<a@b> SIZE=99999999999999999999", "MAIL FROM:<a@b> SIZE=x",
        "MAIL FROM:<a@b> SIZE=", "MAIL FROM:<a@b> =5", "MAIL FROM:<a@b> X-Y=1",
        "MAIL FROM:<a@b> FOO", "MAIL FROM:<a@b> BODY=BINARYMIME",
        "MAIL FROM:<a@b> BODY", "MAIL FROM:<a@b> SMTPUTF8",
        "MAIL FROM:<a@b> SMTPUTF8=yes", "HELP MAIL", "HELP RCPT", "MAIL", "RCPT",
        "MAIL FROM:<a@b>  size=10   body=8bitmime", "RCPT TO:<a@b> NOTIFY=NEVER",
        "RCPT TO:<a@b> -", "RCPT", "RCPT TO:<c@d>", "DATA",
    ):  # fmt: skip
        session.say(line)
    session.say("a message" + BOUNDARY[:-2])
    session.quit()


def addresses(sink):
    scene("addresses")
    session = Session(sink)
    session.say("EHLO client")
    for path in (
        "<>", "<a.b.c@d.e.f>", "a@b", "a@b BODY=7BIT", '<"a b"@c>', '<"a\\"b"@c>',
        "<a@[127.0.0.1]>", "<a@[IPv6:::1]>", "<@one.example,@two.example:a@b>",
        "<a@b", "<a>", "< a @ b >", "<a(comment)@b(another (inside))>", "<a..b@c>",
        '"a".b@c', "a b@c", "<a\\b@c>", '<""@b>', "<a@b> (comment)", "<a@b>SIZE=3",
    ):  # fmt: skip
        session.say("MAIL FROM:" + path)
        session.say("RCPT TO:<to@" + "x" * (len(path)) + ">")
        session.say("DATA")
        session.say("from " + path + BOUNDARY[:-2])
        session.say("RSET")
    session.quit()
    for path in (
        b"<", b"<a@>", b"@b", b"<a@b.>", b"<a@@b>", b"<a@[1.2.3.4>", b"<a@b> SIZE",
        "<ü@b>".encode(), b"<\xff@b>",
    ):  # fmt: skip
        sink.says(b"EHLO client", b"NOOP", b"MAIL FROM:" + path, b"RSET")


def long_commands(sink):
    scene("long commands")
    for greeting in ("HELO client", "EHLO client"):
        session = Session(sink)
        session.say(greeting)
        for size in (511, 512, 513, 537, 538, 539, 70_000):
            session.say("MAIL FROM:<" + "a" * (size - 14) + "@b>")
            session.say("RSET")
            session.say("NOOP " + "n" * (size - 5))
        session.quit()


def pipelines(sink):
    scene("pipelines")
    mail = [b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"one", b"..two", b"."]
    sink.says(b"EHLO client", *mail, *mail, b"QUIT", end=b"NOOP\r\n")
    sink.says(b"EHLO client", *mail[:3], b"cut off")
    sink.says(b"EHLO client", *mail[:3], b".", b"not the end", b".", b"QUIT")
    request = b"HELO client\r\nNOOP\r\n" + b"\r\n".join(mail) + b"\r\nQUIT\r\n"
    sock = connect(sink.port)
    for byte in request:
        sock.sendall(bytes([byte]))
    told("byte by byte", read_all(sock))
    sock = connect(sink.port)
    sock.sendall(b"HELO client\r\n" + b"NOOP\r\n" * 20_000 + b"QUIT\r\n")
    answers = read_all(sock).splitlines()
    show("many", f"{len(answers)} answers, {set(answers[2:-1])}, {answers[-1]}")
    body = b"".join(b"\r\n." + b"." * (n % 3) + b"%d" % n for n in range(100_000))
    sink.says(b"EHLO client", *mail[:3], body, b".", b"QUIT")


def texts(sink):
    scene("bytes of all kinds")
    sink.says("HELO grüße".encode(), b"NOOP")
    sink.says("Ünknown".encode(), b"NOOP")
    sink.says(b"\xff", b"NOOP")
    sink.says(b"VRFY \xc3\xbc@b", b"NOOP\rNOOP", b"NOOP\nNOOP", b"NO\0OP", b"QUIT")
    data = bytes(range(256)) + b"\r\n\n.\n\r.\r"
    mail = (b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", data, b".", b"QUIT")
    sink.says(b"EHLO client", *mail)


def clients_that_leave(sink):
    scene("clients that leave")
    for leave in (lambda sock: sock.close(), reset):
        sock = connect(sink.port)
        sock.sendall(b"HELO client\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf")
        leave(sock)
    session = Session(sink)
    session.say("HELO client")
    session.quit()


def a_small_limit():
    scene("a small limit")
    with Sink(1000) as sink:
        session = Session(sink)
        for line in (
            "EHLO client", "MAIL FROM:<a@b> SIZE=1001", "MAIL FROM:<a@b> SIZE=1000",
            "RCPT TO:<c@d>", "DATA", "x" * 1000 + BOUNDARY[:-2],
            "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "x" * 1001 + BOUNDARY[:-2],
            "NOOP" + BOUNDARY[:-2], "NOOP", "QUIT",
        ):  # fmt: skip
            session.say(line)
        session.sock.close()
        with smtplib.SMTP("127.0.0.1", sink.port, "client.example", timeout=20) as client:
            attempt(client.sendmail, "a@b", "c@d", "y" * 2_000)
            attempt(client.sendmail, "a@b", "c@d", "y" * 200)
    scene("no limit")
    with Sink(0) as sink:
        sink.says(b"EHLO client", b"MAIL FROM:<a@b> SIZE=99999999999", b"QUIT")


def utf8():
    scene("SMTPUTF8")
    with Sink(10_000, "utf8") as sink:
        session = Session(sink)
        for line in (
            "EHLO client", "MAIL FROM:<grüße@b> SMTPUTF8=1", "MAIL FROM:<grüße@b> SMTPUTF8",
            "RCPT TO:<jürgen@dömäin>", "VRFY ü@b", "Unbekännt", "DATA",
            "Süßes" + BOUNDARY[:-2], "MAIL FROM:<" + "a" * 526 + "@b> SMTPUTF8",
        ):  # fmt: skip
            session.say(line)
        session.quit()
        with smtplib.SMTP("127.0.0.1", sink.port, "client.example", timeout=20) as client:
            attempt(client.sendmail, "ü@b", "ö@d", "hi".encode(), ["SMTPUTF8"])


def main():
    with Sink(33_554_432) as sink:
        smtplib_sends(sink)
        curl_sends(sink)
        commands_in_a_bad_sequence(sink)
        parameters(sink)
        addresses(sink)
        long_commands(sink)
        pipelines(sink)
        texts(sink)
        clients_that_leave(sink)
    a_small_limit()
    utf8()


main()
