"""An FTP server (RFC 959) for a folder, with passive and active data connections.

    python3 -W ignore ports/ftp_server.py FOLDER PATIENCE

A data connection must come in PATIENCE seconds.
"""

import asynchat
import asyncore
import os
import posixpath
import re
import socket
import sys
import time

PASSWORDS = {"alice": "wonderland"}
PATIENCE = float(sys.argv[2])
AT_ANY_TIME = ("ABOR", "NOOP", "QUIT")
WITHOUT_LOGIN = ("USER", "PASS", "SYST", "FEAT", "NOOP", "QUIT")


class FileProducer:
    def __init__(self, file):
        self.file = file

    def more(self):
        return self.file.read(32768)


class Sender(asynchat.async_chat):
    """A data connection that carries what a producer gives."""

    def __init__(self, sock, session, producer):
        super().__init__(sock)
        self.session = session
        session.data = self
        self.push_with_producer(producer)
        self.close_when_done()

    def readable(self):
        return False

    def handle_close(self):
        is_complete = len(self.producer_fifo) == 0
        self.close()
        self.session.data = None
        self.session.end_transfer("226 done" if is_complete else "426 connection lost")


class Receiver(asyncore.dispatcher):
    """A data connection whose bytes go into a file."""

    def __init__(self, sock, session, file):
        super().__init__(sock)
        self.session = session
        session.data = self
        self.file = file

    def writable(self):
        return False

    def handle_read(self):
        data = self.recv(32768)
        if data:
            self.file.write(data)

    def handle_close(self):
        self.close()
        self.session.data = None
        self.session.end_transfer("226 done")


class PassiveOpener(asyncore.dispatcher):
    """Waits for the data connection of a client."""

    def __init__(self, session):
        super().__init__()
        self.session = session
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.bind((session.socket.getsockname()[0], 0))
        self.listen(1)

    def handle_accepted(self, sock, addr):
        if addr[0] != self.session.addr[0]:
            print(f"{addr[0]} is a stranger")
            sock.close()
            return
        self.close()
        self.session.data_connected(sock)


class ActiveOpener(asyncore.dispatcher):
    """Makes a data connection to a client."""

    def __init__(self, session, address):
        super().__init__()
        self.session = session
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect(address)

    def handle_connect(self):
        self.del_channel()
        self.session.data_connected(self.socket)

    def handle_error(self):
        self.close()
        self.session.end_transfer("425 no data connection")


class Session(asynchat.async_chat):
    def __init__(self, sock, folder):
        super().__init__(sock)
        self.folder = folder
        self.cwd = "/"
        self.user = None
        self.is_logged_in = False
        self.is_quitting = False
        self.offset = 0
        self.address = None  # Of PORT.
        self.opener = None
        self.ready = None  # A data connection that waits for a transfer.
        self.start = None  # A transfer that waits for a data connection.
        self.deadline = 0
        self.data = None  # The data connection of a transfer.
        self.file = None
        self.set_terminator(b"\r\n")
        self.reply("220 ready")

    def reply(self, line):
        self.push(line.encode("utf-8") + b"\r\n")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        # Telnet's signals stand before ABOR, and are no text.
        line = self._get_data().decode("utf-8", "replace").lstrip("\ufffd")
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        print("> " + ("PASS" if verb == "PASS" else line))
        method = getattr(self, "ftp_" + verb.lower(), None)
        if method is None or "\0" in line:
            self.reply("500 unknown command")
        elif not self.is_logged_in and verb not in WITHOUT_LOGIN:
            self.reply("530 log in first")
        elif self.is_busy() and verb not in AT_ANY_TIME:
            self.reply("503 a transfer is under way")
        else:
            method(argument)

    # The login, and the folder

    def ftp_user(self, argument):
        self.user = argument
        self.reply("331 and the password?")

    def ftp_pass(self, argument):
        if self.user in PASSWORDS and PASSWORDS[self.user] == argument:
            self.is_logged_in = True
            self.reply("230 welcome")
        else:
            self.reply("530 wrong name or password")

    def ftp_syst(self, argument):
        self.reply("215 UNIX Type: L8")

    def ftp_feat(self, argument):
        self.reply("211-Features:\r\n REST STREAM\r\n SIZE\r\n211 End")

    def ftp_noop(self, argument):
        self.reply("200 fine")

    def ftp_type(self, argument):
        is_known = re.fullmatch("[AI]|L 8", argument.upper())
        self.reply("200 all types are binary" if is_known else "504 unknown type")

    def ftp_pwd(self, argument):
        quoted = self.cwd.replace('"', '""')
        self.reply(f'257 "{quoted}"')

    def resolve(self, argument):
        path = posixpath.normpath(posixpath.join(self.cwd, argument))
        return path.replace("//", "/")

    def ftp_cwd(self, argument):
        path = self.resolve(argument)
        if os.path.isdir(self.folder + path):
            self.cwd = path
            self.reply("250 here you are")
        else:
            self.reply("550 no such folder")

    def ftp_size(self, argument):
        path = self.folder + self.resolve(argument)
        if os.path.isfile(path):
            self.reply(f"213 {os.path.getsize(path)}")
        else:
            self.reply("550 no such file")

    # The data connection

    def ftp_pasv(self, argument):
        self.drop_data()
        self.opener = PassiveOpener(self)
        host, port = self.opener.socket.getsockname()
        numbers = ",".join([*host.split("."), str(port >> 8), str(port & 255)])
        self.reply(f"227 Entering Passive Mode ({numbers})")

    def ftp_port(self, argument):
        if not re.fullmatch("[0-9]{1,3}(,[0-9]{1,3}){5}", argument):
            self.reply("501 six numbers, please")
            return
        *host, high, low = argument.split(",")
        address = ".".join(host), int(high) * 256 + int(low)
        if address[0] != self.addr[0] or not 1024 <= address[1] <= 65535:
            self.reply("504 only to a port of your own")
            return
        self.drop_data()
        self.address = address
        self.reply("200 I will connect")

    def data_connected(self, sock):
        self.opener = None
        if self.start is None:
            self.ready = sock
        else:
            start, self.start = self.start, None
            start(sock)

    def is_busy(self):
        return self.start is not None or self.data is not None

    def check_deadline(self):
        if self.start is not None and time.monotonic() > self.deadline:
            self.end_transfer("425 no data connection")

    # Transfers

    def begin(self, start):
        self.offset = 0
        if self.opener is None and self.ready is None and self.address is None:
            self.end_transfer("425 PASV or PORT first")
            return
        self.reply("150 here it comes")
        self.start = start
        self.deadline = time.monotonic() + PATIENCE
        if self.ready is not None:
            sock, self.ready = self.ready, None
            self.data_connected(sock)
        elif self.address is not None:
            self.opener = ActiveOpener(self, self.address)

    def end_transfer(self, line):
        self.drop_data()
        self.reply(line)
        if self.is_quitting:
            self.ftp_quit("")

    def drop_data(self):
        for channel in (self.opener, self.ready, self.data, self.file):
            if channel is not None:
                channel.close()
        self.address = self.start = None
        self.opener = self.ready = self.data = self.file = None

    def ftp_list(self, argument):
        self.send_text("".join(self.describe(name) for name in self.names()))

    def ftp_nlst(self, argument):
        self.send_text("".join(f"{name}\r\n" for name in self.names()))

    def names(self):
        return sorted(os.listdir(self.folder + self.cwd))

    def describe(self, name):
        """A line of a listing."""
        path = os.path.join(self.folder + self.cwd, name)
        kind = "d" if os.path.isdir(path) else "-"
        stat = os.stat(path)
        when = time.strftime("%b %d %H:%M", time.gmtime(stat.st_mtime))
        return f"{kind}rw-r--r-- 1 ftp ftp {stat.st_size} {when} {name}\r\n"

    def send_text(self, text):
        producer = asynchat.simple_producer(text.encode("utf-8"))
        self.begin(lambda sock: Sender(sock, self, producer))

    def ftp_rest(self, argument):
        if re.fullmatch("[0-9]{1,15}", argument):
            self.offset = int(argument)
            self.reply(f"350 from {self.offset}")
        else:
            self.reply("501 a number, please")

    def ftp_retr(self, argument):
        file = self.open_file(argument, "rb")
        if file is not None:
            producer = FileProducer(file)
            self.begin(lambda sock: Sender(sock, self, producer))

    def ftp_stor(self, argument):
        file = self.open_file(argument, "r+b" if self.offset > 0 else "wb")
        if file is not None:
            self.begin(lambda sock: Receiver(sock, self, file))

    def open_file(self, argument, mode):
        path = self.folder + self.resolve(argument)
        try:
            self.file = open(path, mode, buffering=0)
            self.file.seek(self.offset)
        except OSError:
            self.reply("550 no such file")
        return self.file

    def ftp_abor(self, argument):
        if self.is_busy():
            self.end_transfer("426 aborted")
        self.reply("226 no transfer is under way")

    def ftp_quit(self, argument):
        self.is_quitting = True
        if not self.is_busy():
            self.reply("221 bye")
            self.close_when_done()

    def handle_close(self):
        self.close()
        self.drop_data()


class FtpServer(asyncore.dispatcher):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(100)

    def handle_accepted(self, sock, addr):
        Session(sock, self.folder)


server = FtpServer(sys.argv[1])
print("listening on", server.socket.getsockname()[1])
while asyncore.socket_map:
    asyncore.loop(timeout=0.25, count=1)
    for channel in list(asyncore.socket_map.values()):
        if isinstance(channel, Session):
            channel.check_deadline()
