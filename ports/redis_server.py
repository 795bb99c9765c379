"""A server of keys and values that speaks Redis's protocol, RESP2.

    python3 -W ignore redis_server.py
"""

import asynchat
import asyncore
import re
import socket

LONGEST = 512 * 1024 * 1024  # bytes of a value
MOST = 1024 * 1024  # arguments of a command
NUMBER = re.compile(rb"-?(0|[1-9][0-9]{0,17})")


class ReplyError(Exception):
    """The answer to a command that cannot be obeyed."""


class Session(asynchat.async_chat):
    def __init__(self, sock, server):
        asynchat.async_chat.__init__(self, sock)
        self.server = server
        self.keys = server.keys
        self.args = []
        self.missing = 0
        self.in_value = False
        self.set_terminator(b"\r\n")

    # Clients send a pipeline of any length before they read the first answer.
    def readable(self):
        return True

    # Commands arrive as a line "*COUNT", and then for each of the arguments a
    # line "$LENGTH" and so many bytes. A line without "*" is a command, too.

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        if self.in_value:
            self.take_value(self._get_data())
            return
        line = self._get_data().decode("utf-8", "replace")
        if self.missing > 0:
            self.take_length(line)
        elif line.startswith("*"):
            self.take_count(line)
        else:
            self.run([word.encode() for word in line.split(" ") if word])

    def take_count(self, line):
        self.missing = self.length(line[1:], MOST, "multibulk")
        self.args = []

    def take_length(self, line):
        if not line.startswith("$"):
            self.refuse("expected '$', got '%s'" % line[:1])
            return
        length = self.length(line[1:], LONGEST, "bulk")
        if self.missing > 0:
            self.in_value = True
            self.set_terminator(length + 2)

    def take_value(self, data):
        self.in_value = False
        self.set_terminator(b"\r\n")
        self.args.append(data[:-2])
        self.missing -= 1
        if self.missing == 0:
            self.run(self.args)

    def length(self, text, most, what):
        if re.fullmatch("[0-9]{1,9}", text) and int(text) <= most:
            return int(text)
        self.refuse("invalid %s length" % what)
        return 0

    def refuse(self, reason):
        self.missing = 0
        self.log_info("protocol error: %s" % reason)
        self.error("ERR Protocol error: %s" % reason)
        self.close_when_done()

    def run(self, args):
        if not args:
            return
        self.server.commands += 1
        name = args[0].decode("utf-8", "replace").lower()
        arity = ARITY.get(name)
        if arity is None:
            self.error("ERR unknown command '%s'" % name)
        elif len(args) < abs(arity) or len(args) != arity > 0:
            self.error("ERR wrong number of arguments for '%s' command" % name)
        else:
            try:
                getattr(self, "do_" + name)(*args[1:])
            except ReplyError as error:
                self.error(str(error))

    # Answers

    def status(self, text):
        self.push(b"+%s\r\n" % text.encode())

    def error(self, text):
        self.push(b"-%s\r\n" % text.encode())

    def integer(self, number):
        self.push(b":%d\r\n" % number)

    def bulk(self, value):
        if value is None:
            self.push(b"$-1\r\n")
            return
        self.push(b"$%d\r\n" % len(value))
        self.push(value)
        self.push(b"\r\n")

    def array(self, values):
        self.push(b"*%d\r\n" % len(values))
        for value in values:
            self.bulk(value)

    # The commands

    def string_at(self, key):
        value = self.keys.get(text(key))
        if isinstance(value, list):
            raise ReplyError("WRONGTYPE not a string")
        return value

    def list_at(self, key):
        value = self.keys.get(text(key), [])
        if not isinstance(value, list):
            raise ReplyError("WRONGTYPE not a list")
        return value

    def do_ping(self, message=None):
        if message is None:
            self.status("PONG")
        else:
            self.bulk(message)

    def do_echo(self, message):
        self.bulk(message)

    def do_set(self, key, value):
        self.keys[text(key)] = value
        self.status("OK")

    def do_get(self, key):
        self.bulk(self.string_at(key))

    def do_mget(self, *keys):
        self.array([self.string_at(key) for key in keys])

    def do_strlen(self, key):
        self.integer(len(self.string_at(key) or b""))

    def do_append(self, key, more):
        value = (self.string_at(key) or b"") + more
        self.keys[text(key)] = value
        self.integer(len(value))

    def do_incr(self, key):
        self.do_incrby(key, b"1")

    def do_decr(self, key):
        self.do_incrby(key, b"-1")

    def do_incrby(self, key, more):
        total = number(self.string_at(key) or b"0") + number(more)
        self.keys[text(key)] = str(total).encode()
        self.integer(total)

    def do_del(self, *keys):
        found = [self.keys.pop(text(key), None) for key in keys]
        self.integer(len([value for value in found if value is not None]))

    def do_keys(self, pattern):
        if pattern != b"*":
            raise ReplyError("ERR only KEYS * is implemented")
        self.array([key.encode() for key in sorted(self.keys)])

    def do_rpush(self, key, *values):
        items = self.keys[text(key)] = self.list_at(key) + list(values)
        self.integer(len(items))

    def do_lpush(self, key, *values):
        items = self.keys[text(key)] = list(values[::-1]) + self.list_at(key)
        self.integer(len(items))

    def do_lpop(self, key):
        items = self.list_at(key)
        self.bulk(items.pop(0) if items else None)

    def do_lrange(self, key, start, stop):
        items = self.list_at(key)
        first, last = number(start), number(stop)
        if first < 0:
            first = max(first + len(items), 0)
        if last < 0:
            last += len(items)
        self.array(items[first : max(last + 1, 0)])

    def do_subscribe(self, channel):
        self.server.listeners.append((self, text(channel)))
        self.array([b"subscribe", channel])

    def do_publish(self, channel, message):
        name = text(channel)
        found = [who for who, what in self.server.listeners if what == name]
        for session in found:
            session.array([b"message", channel, message])
        self.integer(len(found))

    def do_quit(self):
        self.status("OK")
        self.close_when_done()

    def do_shutdown(self):
        raise asyncore.ExitNow

    def handle_close(self):
        listeners = self.server.listeners
        self.server.listeners = [pair for pair in listeners if pair[0] is not self]
        self.close()


# How many words a command has; a negative number says "or more".
ARITY = {
    "ping": -1, "echo": 2, "set": 3, "get": 2, "mget": -2, "strlen": 2,
    "append": 3, "incr": 2, "decr": 2, "incrby": 3, "del": -2, "keys": 2,
    "rpush": -3, "lpush": -3, "lpop": 2, "lrange": 4, "subscribe": 2,
    "publish": 3, "quit": 1, "shutdown": 1,
}  # fmt: skip


def text(key):
    return key.decode("utf-8", "replace")


def number(value):
    if NUMBER.fullmatch(value):
        return int(value)
    raise ReplyError("ERR value is not an integer or out of range")


class Server(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.keys = {}
        self.listeners = []
        self.commands = 0
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(50)

    def handle_accepted(self, sock, addr):
        Session(sock, self)


def main():
    server = Server()
    print("listening on %d" % server.socket.getsockname()[1], flush=True)
    try:
        asyncore.loop()
    except asyncore.ExitNow:
        server.log_info("%d commands, %d keys" % (server.commands, len(server.keys)))
    asyncore.close_all()


main()
