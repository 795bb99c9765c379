"""A POP3 server (RFC 1939) for the mail in a folder.

    python3 -W ignore ports/pop3_server.py FOLDER

FOLDER has a folder for each user, and in it a file for each message. QUIT
removes the messages that DELE has marked.
"""

import asynchat
import asyncore
import hashlib
import os
import re
import socket
import sys

PASSWORDS = {"alice": "wonderland", "bob": "builder"}
BANNER = "<1896.697170952@ports.example>"
BLOCK = 32_000


class Message:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.content = file.read()
        self.path = path
        self.size = len(self.content)
        self.uid = hashlib.md5(self.content).hexdigest()
        self.deleted = False

    def top(self, count):
        """The header, and the first lines of the body."""
        header, empty_line, body = self.content.partition(b"\r\n\r\n")
        lines = body.split(b"\r\n")[:count]
        return header + empty_line + b"".join(line + b"\r\n" for line in lines)


class DottedProducer:
    """Gives a text in blocks, each line that begins with a dot with another."""

    def __init__(self, text):
        self.text = re.sub(rb"(^|\n)\.", rb"\1..", text)
        if not self.text.endswith(b"\r\n"):
            self.text += b"\r\n"
        self.text += b".\r\n"
        self.position = 0

    def more(self):
        block = self.text[self.position:self.position + BLOCK]
        self.position += len(block)
        return block


class Refusal(Exception):
    """A command that cannot be obeyed."""


class PopChannel(asynchat.async_chat):
    def __init__(self, sock, server):
        super().__init__(sock)
        self.server = server
        self.user = None
        self.is_open = False
        self.messages = []
        self.set_terminator(b"\r\n")
        self.reply("+OK POP3 " + BANNER)

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        line = self._get_data().decode("utf-8", "replace")
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        method = getattr(self, "pop_" + verb.lower(), None)
        try:
            if method is None:
                raise Refusal("unknown command " + verb)
            if not self.is_open and verb not in ("USER", "PASS", "APOP", "QUIT"):
                raise Refusal("log in first")
            method(argument)
        except Refusal as refusal:
            self.reply("-ERR " + str(refusal))

    def reply(self, line):
        self.push(line.encode("utf-8") + b"\r\n")

    def find(self, argument):
        if not re.fullmatch("[0-9]{1,9}", argument):
            raise Refusal("a message has a number")
        number = int(argument)
        if number < 1 or number > len(self.messages):
            raise Refusal("no such message")
        message = self.messages[number - 1]
        if message.deleted:
            raise Refusal(f"message {number} is deleted")
        return number, message

    def remaining(self):
        pairs = enumerate(self.messages, 1)
        return [(number, message) for number, message in pairs if not message.deleted]

    def pop_user(self, argument):
        self.user = argument
        self.reply("+OK")

    def pop_pass(self, argument):
        if self.user is None:
            raise Refusal("USER first")
        self.open_drop(self.user, PASSWORDS.get(self.user) == argument)

    def pop_apop(self, argument):
        user, _, digest = argument.partition(" ")
        secret = BANNER + PASSWORDS.get(user, "")
        expected = hashlib.md5(secret.encode("utf-8")).hexdigest()
        self.open_drop(user, user in PASSWORDS and digest == expected)

    def open_drop(self, user, is_right):
        if self.is_open:
            raise Refusal("logged in already")
        if not is_right:
            print(f"refused {user}")
            raise Refusal("wrong name or password")
        if user in self.server.locked:
            raise Refusal("the maildrop is locked")
        self.server.locked.add(user)
        self.user = user
        self.is_open = True
        folder = os.path.join(self.server.folder, user)
        names = sorted(os.listdir(folder))
        self.messages = [Message(os.path.join(folder, name)) for name in names]
        self.reply(f"+OK {len(names)} messages")

    def pop_stat(self, argument):
        sizes = [message.size for _, message in self.remaining()]
        self.reply(f"+OK {len(sizes)} {sum(sizes)}")

    def pop_list(self, argument):
        self.reply_each(argument, lambda message: message.size)

    def pop_uidl(self, argument):
        self.reply_each(argument, lambda message: message.uid)

    def reply_each(self, argument, tell):
        if argument:
            number, message = self.find(argument)
            self.reply(f"+OK {number} {tell(message)}")
            return
        self.reply("+OK")
        for number, message in self.remaining():
            self.reply(f"{number} {tell(message)}")
        self.reply(".")

    def pop_retr(self, argument):
        _, message = self.find(argument)
        self.reply(f"+OK {message.size} octets")
        self.push_with_producer(DottedProducer(message.content))

    def pop_top(self, argument):
        number, _, count = argument.partition(" ")
        _, message = self.find(number)
        if not re.fullmatch("[0-9]{1,9}", count):
            raise Refusal("TOP wants a number of lines")
        self.reply("+OK")
        self.push_with_producer(DottedProducer(message.top(int(count))))

    def pop_dele(self, argument):
        number, message = self.find(argument)
        message.deleted = True
        self.reply(f"+OK message {number} deleted")

    def pop_rset(self, argument):
        for message in self.messages:
            message.deleted = False
        self.reply("+OK")

    def pop_noop(self, argument):
        self.reply("+OK")

    def pop_quit(self, argument):
        deleted = [message for message in self.messages if message.deleted]
        for message in deleted:
            os.remove(message.path)
        if self.is_open:
            print(f"{self.user} has removed {len(deleted)} messages")
        self.release()
        self.reply("+OK bye")
        self.close_when_done()

    def release(self):
        if self.is_open:
            self.server.locked.discard(self.user)
        self.is_open = False

    def handle_close(self):
        self.release()
        self.close()


class PopServer(asyncore.dispatcher):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.locked = set()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(100)

    def handle_accepted(self, sock, addr):
        PopChannel(sock, self)


server = PopServer(sys.argv[1])
print("listening on", server.socket.getsockname()[1])
asyncore.loop()
