"""Needs: curl"""

import contextlib
import ftplib
import os
import re
import socket
import tempfile

from support import (
    Program, connect, pattern, read_all, read_exactly, reset, run,
    scene, show, until,
)

# No kernel buffers so much: a sender whose client does not read has to wait.
HUGE = 40_000_000
LARGE = 3_000_000


@contextlib.contextmanager
def serving(title, patience="60"):
    """A server whose folder has files."""
    scene(title)
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "sub"))
        files = {
            "empty": b"",
            "large": pattern(LARGE),
            "sub/caf\u00e9": b"au lait\r\n",
            'sub/a "quoted" name': b"quoted\r\n",
        }
        for name, content in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        for name in [*files, "sub"]:
            os.utime(os.path.join(folder, name), (86_400, 86_400))
        with Program(folder, patience) as program:
            program.folder = folder
            # The client's own ports.
            program.hide(re.compile(r"> PORT [0-9,]+,[0-9]+,[0-9]+"), "> PORT ITS")
            program.hide(re.compile(r"> EPRT \S+"), "> EPRT ITS")
            yield program
        program.show_log()


def content_of(program, name):
    with open(os.path.join(program.folder, name), "rb") as file:
        return file.read()


def until_stored(program, name, size):
    path = os.path.join(program.folder, name)
    until(lambda: os.path.exists(path) and os.path.getsize(path) == size)


def log_in(program):
    """A client of ftplib's, logged in."""
    client = ftplib.FTP()
    client.encoding = "utf-8"
    client.connect("127.0.0.1", program.port, timeout=20)
    client.login("alice", "wonderland")
    return client


def attempt(function, *arguments):
    """Calls a method of a client: the result, or the error."""
    try:
        return function(*arguments)
    except ftplib.all_errors as error:
        return f"{type(error).__name__}: {error}"


def download(client, name, rest=None):
    """Shows a file that a client of ftplib's loads."""
    parts = []
    show(name, attempt(client.retrbinary, f"RETR {name}", parts.append, 8192, rest))
    show(name, b"".join(parts))


def show_replies(client, count):
    for _ in range(count):
        show("reply", client.getmultiline())


def upload(client, name, content, rest=None):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        return attempt(client.storbinary, f"STOR {name}", file, 8192, None, rest)


def lines_of(client, command):
    lines = []
    return attempt(client.retrlines, command, lines.append), lines


def ftplib_does_it_all(is_passive):
    mode = "passive" if is_passive else "active"
    with serving(f"ftplib, {mode}") as program:
        client = ftplib.FTP()
        client.connect("127.0.0.1", program.port, timeout=20)
        client.encoding = "utf-8"
        client.set_pasv(is_passive)
        show("welcome", client.getwelcome())
        show("login", client.login("alice", "wonderland"))
        show("system", client.sendcmd("SYST"))
        show("features", client.sendcmd("FEAT"))
        show("folder", client.pwd())
        show("list", [re.sub(r"(drw.* ftp) \d+", r"\1 SIZE", line)
                      for line in lines_of(client, "LIST")[1]])
        show("names", client.nlst())
        show("size", client.size("large"))
        for name in "large", "empty", "sub/caf\u00e9":
            download(client, name)
        for rest in LARGE // 2, LARGE, LARGE + 9:
            download(client, "large", rest)
        show("store", upload(client, "new", pattern(LARGE, 1)))
        show("stored", content_of(program, "new"))
        show("store more", upload(client, "new", pattern(LARGE, 2), LARGE // 2))
        show("stored", content_of(program, "new"))
        show("store nothing", upload(client, "new", b""))
        show("stored", content_of(program, "new"))
        show("folder", client.cwd("sub"))
        show("folder", client.pwd())
        show("names", lines_of(client, "NLST"))
        show("list", lines_of(client, "LIST -a"))
        show("up", client.cwd("../.."))
        show("folder", client.pwd())
        show("quit", client.quit())


def wrong_commands():
    with serving("what a server must refuse") as program:
        client = ftplib.FTP()
        client.connect("127.0.0.1", program.port, timeout=20)
        client.encoding = "utf-8"

        def ask(*commands):
            for command in commands:
                show(command, attempt(client.sendcmd, command))

        ask("PWD", "PASV", "RETR large", "PASS x", "USER alice", "PASS oz",
            "USER bob", "PASS wonderland", "USER alice", "PASS wonderland")
        ask("", "XYZZY", "constructor", "noop", "TYPE E", "TYPE L 8", "REST x",
            "RETR large", "STOR new", "NLST", "ABOR", "SIZE nothing", "SIZE sub",
            "CWD nowhere", "CWD large", "CWD //sub", "PWD", 'CWD a "b"', "CWD /")
        ask("PORT", "PORT 1,2,3", "PORT 127,0,0,1,0,21", "PORT 10,0,0,1,200,1",
            "PORT 127,0,0,1,999,1")
        client.makepasv()
        ask("RETR nothing", "RETR sub", "STOR sub", "STOR nowhere/x", "REST 5",
            "STOR nothing")
        show("listing", lines_of(client, "NLST"))
        download(client, "../../../sub/caf\u00e9")
        show("quit", client.quit())


def aborted():
    with serving("ABOR in the midst of RETR, and of STOR") as program:
        with open(os.path.join(program.folder, "huge"), "wb") as file:
            file.write(pattern(HUGE))
        client = log_in(program)
        client.voidcmd("TYPE I")
        for reads_rest in True, False:
            data = client.transfercmd("RETR huge")
            begin = read_exactly(data, 100_000)
            show("data", begin)
            show("pwd", attempt(client.pwd))
            show("noop", client.sendcmd("NOOP"))
            # ftplib's own abort() sends it as urgent data.
            client.sock.sendall(b"\xff\xf4\xff\xf2ABOR\r\n")
            show_replies(client, 2)
            if reads_rest:
                rest = read_all(data)
                show("not all", len(begin) + len(rest) < HUGE)
                show("but the beginning", pattern(HUGE).startswith(begin + rest))
            data.close()

        data = client.transfercmd("STOR new")
        data.sendall(b"spam")
        until_stored(program, "new", 4)
        client.sock.sendall(b"ABOR\r\n")
        show_replies(client, 2)
        show("end", read_all(data))
        show("stored", content_of(program, "new"))
        host, port = client.makepasv()
        show("reply", client.sendcmd("RETR large"))
        client.putcmd("ABOR")
        show_replies(client, 2)
        until(lambda: isinstance(attempt(connect, port), str))
        show("nothing to abort", client.sendcmd("ABOR"))
        download(client, "large")
        show("quit", client.quit())


def no_data_connection():
    with serving("a data connection that never comes", "1") as program:
        client = log_in(program)
        client.sendcmd("PASV")
        show("reply", client.sendcmd("RETR large"))
        show_replies(client, 1)
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            client.sendport("127.0.0.1", deaf.getsockname()[1])
            show("reply", client.sendcmd("STOR new"))
            show_replies(client, 1)
        show("quit", client.quit())


def strange_data_connections():
    with serving("data connections in another order, and of strangers") as program:
        client = log_in(program)
        client.voidcmd("TYPE I")
        host, port = client.makepasv()
        client.putcmd("RETR large")
        show_replies(client, 1)
        with connect(port) as data:
            show("data", read_all(data))
        show_replies(client, 1)

        host, port = client.makepasv()
        stranger = socket.create_connection(
            (host, port), 20, source_address=("127.0.0.2", 0))
        show("stranger", read_all(stranger))
        stranger.close()
        with connect(port) as data:
            show("reply", client.sendcmd("RETR large"))
            show("data", read_all(data))
        show_replies(client, 1)

        host, port = client.makepasv()
        with connect(port) as unused:
            host, port = client.makepasv()
            # It was accepted already, or it was not.
            with contextlib.suppress(ConnectionResetError):
                read_all(unused)
        with connect(port) as data:
            show("reply", client.sendcmd("NLST"))
            show("data", read_all(data))
        show_replies(client, 1)
        show("quit", client.quit())


def pipelined():
    with serving("commands in one packet") as program:
        client = log_in(program)
        host, port = client.makepasv()
        with connect(port) as data:
            client.sock.sendall(
                b"TYPE I\r\nPWD\r\nREST 2999990\r\nRETR large\r\nNOOP\r\nQUIT\r\nPWD\r\n")
            show("data", read_all(data))
        show("replies", read_all(client.sock))

    with serving("commands byte by byte, and an end in the midst") as program:
        with connect(program.port) as sock:
            for byte in b"USER alice\r\nPASS wonderland\r\nPWD\r\nQUI":
                sock.sendall(bytes([byte]))
            sock.shutdown(socket.SHUT_WR)
            show("replies", read_all(sock))


def lost_clients():
    with serving("a data connection that is reset in the midst") as program:
        with open(os.path.join(program.folder, "huge"), "wb") as file:
            file.write(pattern(HUGE))
        client = log_in(program)
        client.voidcmd("TYPE I")
        data = client.transfercmd("RETR huge")
        read_exactly(data, 100_000)
        reset(data)
        show_replies(client, 1)
        data = client.transfercmd("STOR new")
        data.sendall(b"spam")
        until_stored(program, "new", 4)
        reset(data)
        show_replies(client, 1)
        show("stored", content_of(program, "new"))

        scene("a client that is reset in the midst")
        data = client.transfercmd("RETR huge")
        begin = read_exactly(data, 100_000)
        reset(client.sock)
        client.file.close()
        rest = read_all(data)
        show("not all", len(begin) + len(rest) < HUGE)
        data.close()

        client = log_in(program)
        client.makepasv()
        show("reply", client.sendcmd("RETR huge"))
        reset(client.sock)
        client.file.close()
        client = log_in(program)
        download(client, "large")
        show("quit", client.quit())


def curl_loads_and_stores():
    with serving("curl") as program:
        url = f"ftp://alice:wonderland@127.0.0.1:{program.port}/"

        def curl(who, *arguments, body=b""):
            result = run("curl", "-sS", *arguments, input=body)
            show(who, result.stdout)
            errors = result.stderr.decode().replace(str(program.port), "PORT")
            show("its errors", errors)

        for mode in ([], ["-P", "-"]):
            curl("load", *mode, url + "large")
            curl("part", *mode, "-C", "2000000", url + "large")
            curl("names", *mode, "-l", url)
            curl("names", *mode, "-l", url + "sub/")
            curl("store", *mode, "-T", "-", url + "sub/new", body=pattern(LARGE, 3))
            show("stored", content_of(program, "sub/new"))
            curl("both", *mode, url + "sub/caf%C3%A9", url + "sub/new")
        curl("nothing", url + "nothing")
        curl("wrong password", "-u", "alice:oz", url)


ftplib_does_it_all(True)
ftplib_does_it_all(False)
wrong_commands()
aborted()
no_data_connection()
strange_data_connections()
pipelined()
lost_clients()
curl_loads_and_stores()
