"""A line server that gives and takes no more than RATE bytes a second.

    python3 -W ignore ports/throttled_lines.py RATE

    PING            PONG
    SEND COUNT      so many numbered lines
    TAKE LENGTH     then LENGTH bytes: their SHA-256
    QUIT            BYE, behind all that was asked for
"""

import asynchat
import asyncore
import hashlib
import socket
import sys
import time

# The most bytes that go in one call: pauses are short.
PIECE = 8192


class ThrottledChat(asynchat.async_chat):
    """A chat that sleeps after each piece, as long as the piece is worth."""

    def __init__(self, sock, rate):
        asynchat.async_chat.__init__(self, sock)
        self.rate = rate
        self.wake_time = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def asleep(self):
        return time.monotonic() < self.wake_time

    def sleep_for(self, length):
        self.wake_time = max(self.wake_time, time.monotonic()) + length / self.rate

    def readable(self):
        return not self.asleep() and asynchat.async_chat.readable(self)

    def writable(self):
        return not self.asleep() and asynchat.async_chat.writable(self)

    def recv(self, buffer_size):
        data = asynchat.async_chat.recv(self, min(buffer_size, PIECE))
        self.bytes_in += len(data)
        self.sleep_for(len(data))
        return data

    def send(self, data):
        if self.asleep():
            return 0
        sent = asynchat.async_chat.send(self, data[:PIECE])
        self.bytes_out += sent
        self.sleep_for(sent)
        return sent


class LineHandler(ThrottledChat):
    def __init__(self, sock, rate):
        ThrottledChat.__init__(self, sock, rate)
        self.set_terminator(b"\r\n")
        self.taking = False

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        data = self._get_data()
        if self.taking:
            self.taking = False
            self.set_terminator(b"\r\n")
            self.push(hashlib.sha256(data).hexdigest().encode() + b"\r\n")
            return
        verb, _, argument = data.decode().partition(" ")
        method = getattr(self, "do_" + verb.lower(), None)
        if method is None:
            self.push(b"What is %s?\r\n" % verb.encode())
        else:
            method(argument)

    def do_ping(self, argument):
        self.push(b"PONG\r\n")

    def do_send(self, argument):
        self.push(b"".join(b"%07d\r\n" % number for number in range(int(argument))))

    def do_take(self, argument):
        self.taking = True
        self.set_terminator(int(argument))

    def do_quit(self, argument):
        self.push(b"BYE\r\n")
        self.close_when_done()

    def handle_close(self):
        self.log_info("took %d bytes, gave %d" % (self.bytes_in, self.bytes_out))
        self.close()


class LineServer(asyncore.dispatcher):
    def __init__(self, rate):
        asyncore.dispatcher.__init__(self)
        self.rate = rate
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
        print("listening on %d" % self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        LineHandler(sock, self.rate)


LineServer(int(sys.argv[1]))
asyncore.loop(timeout=0.01)
