"""Forwards DNS queries over UDP to a server on this machine, keeps the answers,
and says SERVFAIL if none comes within TIMEOUT seconds.

    python3 -W ignore ports/dns_forwarder.py SERVER_PORT TIMEOUT
"""

import asyncore
import socket
import struct
import sys
import time

# Where a message has its question, behind a header of fixed length.
HEADER_LENGTH = 12
QR = 0x8000
SERVFAIL = 2


class Query:
    """A question that waits for its answer."""

    def __init__(self, id, question, addr, deadline):
        self.id = id
        self.question = question
        self.addr = addr
        self.deadline = deadline


class Upstream(asyncore.dispatcher):
    """The socket to the server: each query goes out under a number of its own."""

    ignore_log_types = frozenset()

    def __init__(self, front, server_port):
        asyncore.dispatcher.__init__(self)
        self.front = front
        self.server = ("127.0.0.1", server_port)
        self.queries = {}
        self.last_id = 0
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))

    def writable(self):
        return False

    def ask(self, data, query):
        self.last_id = (self.last_id + 1) % 65536
        self.queries[self.last_id] = query
        self.socket.sendto(struct.pack("!H", self.last_id) + data[2:], self.server)

    def handle_read(self):
        data, addr = self.socket.recvfrom(4096)
        if len(data) < HEADER_LENGTH or addr != self.server:
            self.log_info("answer dropped", "warning")
            return
        id, = struct.unpack("!H", data[:2])
        query = self.queries.pop(id, None)
        if query is None:
            self.log_info("nobody asked for answer %d" % id, "warning")
            return
        self.front.answer(data, query)

    def expire(self):
        now = time.monotonic()
        for id, query in list(self.queries.items()):
            if query.deadline < now:
                del self.queries[id]
                self.front.refuse(query)


class Front(asyncore.dispatcher):
    """The socket that clients ask."""

    ignore_log_types = frozenset()

    def __init__(self, server_port, timeout):
        asyncore.dispatcher.__init__(self)
        self.timeout = timeout
        self.answers = {}
        self.upstream = Upstream(self, server_port)
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        print("listening on %d" % self.socket.getsockname()[1])

    def writable(self):
        return False

    def handle_read(self):
        data, addr = self.socket.recvfrom(4096)
        if b"\0" not in data[HEADER_LENGTH:]:
            self.log_info("query of %d bytes dropped" % len(data), "warning")
            return
        id, flags = struct.unpack("!HH", data[:4])
        if flags & QR:
            self.log_info("answer from a client dropped", "warning")
            return
        question = data[HEADER_LENGTH:]
        if question in self.answers:
            self.log_info("%s: kept" % self.name_of(question))
            self.reply(id, self.answers[question], addr)
            return
        self.log_info("%s: asked" % self.name_of(question))
        deadline = time.monotonic() + self.timeout
        self.upstream.ask(data, Query(id, question, addr, deadline))

    def name_of(self, question):
        labels = []
        at = 0
        while at < len(question) and question[at] > 0:
            length = question[at]
            labels.append(question[at + 1 : at + 1 + length].decode("latin-1"))
            at += 1 + length
        return ".".join(labels)

    def answer(self, data, query):
        self.answers[query.question] = data
        self.reply(query.id, data, query.addr)

    def refuse(self, query):
        self.log_info("%s: no answer" % self.name_of(query.question), "error")
        header = struct.pack("!HHHHHH", query.id, QR | SERVFAIL, 1, 0, 0, 0)
        end = query.question.index(b"\0") + 5
        self.socket.sendto(header + query.question[:end], query.addr)

    def reply(self, id, data, addr):
        self.socket.sendto(struct.pack("!H", id) + data[2:], addr)


front = Front(int(sys.argv[1]), float(sys.argv[2]))
while True:
    asyncore.loop(timeout=0.1, count=1)
    front.upstream.expire()
