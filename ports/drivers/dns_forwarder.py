"""Needs: dig"""

import re
import socket
import struct
import threading
import time

from support import LIMIT, Program, pattern, run, scene, show

A, AAAA, TXT = 1, 28, 16
NXDOMAIN = 3


class Server:
    """The server that the forwarder asks; the first label says what it does."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.count = 0
        self.held = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, addr = self.socket.recvfrom(4096)
            self.count += 1
            for answer in answers_to(query):
                if b"late" in answer:
                    self.held.append((answer, addr))
                else:
                    self.socket.sendto(answer, addr)

    def send_held(self):
        for answer, addr in self.held:
            self.socket.sendto(answer, addr)


def answers_to(query):
    id, = struct.unpack("!H", query[:2])
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    label = question[1 : 1 + question[0]]
    kind, = struct.unpack("!H", question[-4:-2])
    if label == b"silent":
        return
    if label == b"forged":
        yield b""
        yield query[:11]
        yield message(id ^ 0x5555, question, [record(A, bytes([6, 6, 6, 6]))])
    if label == b"nobody":
        yield message(id, question, [], NXDOMAIN)
    elif kind == A:
        yield message(id, question, [record(A, bytes([192, 0, 2, question[1]]))])
    elif kind == AAAA:
        yield message(id, question, [record(AAAA, bytes(15) + b"\1")])
    else:
        text = pattern(128, seed=3).hex().encode()[:200]
        count = 12 if label == b"long" else 1
        data = bytes([len(text)]) + text
        yield message(id, question, [record(TXT, data)] * count)
    if label == b"twice":
        yield message(id, question, [record(A, bytes([9, 9, 9, 9]))])


def message(id, question, records, code=0):
    header = struct.pack("!HHHHHH", id, 0x8180 | code, 1, len(records), 0, 0)
    return header + question + b"".join(records)


def record(kind, data):
    """A record of the name in the question, for a minute."""
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def question(name, kind=A):
    labels = b"".join(bytes([len(x)]) + x for x in name.split(b"."))
    return labels + b"\0" + struct.pack("!HH", kind, 1)


def query(id, name, kind=A):
    return struct.pack("!HHHHHH", id, 0x0100, 1, 0, 0, 0) + question(name, kind)


def dig(program, *args):
    """What dig says, without its own number and the time."""
    place = ["@127.0.0.1", "-p", str(program.port)]
    options = ["+noall", "+comments", "+question", "+answer", "+tries=1"]
    plain = ["+noedns", "+nocookie", "+ignore", f"+time={LIMIT - 5}"]
    result = run("dig", *place, *options, *plain, *args)
    result.check_returncode()
    text = re.sub(rb"id: \d+", b"id: ID", result.stdout)
    for line in (text + result.stderr).decode().splitlines():
        if line and not line.startswith("; <<>>"):
            print(f"dig: {line}")


def ask(sock, program, data):
    sock.sendto(data, ("127.0.0.1", program.port))
    return sock.recv(4096)


def client():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(LIMIT)
    return sock


def dig_asks():
    scene("dig asks, and asks again")
    server = Server()
    with Program(str(server.port), "20") as program:
        dig(program, "spam.test")
        dig(program, "spam.test", "AAAA")
        dig(program, "spam.test", "AAAA")
        dig(program, "eggs.test", "TXT")
        dig(program, "long.test", "TXT", "+bufsize=4096")
        dig(program, "nobody.test")
        dig(program, "nobody.test")
        dig(program, ".")
    show("server", f"{server.count} queries")
    program.show_log()


def no_answer_comes():
    scene("no answer comes from the server, or one comes late")
    server = Server()
    with Program(str(server.port), "0.3") as program:
        start = time.monotonic()
        dig(program, "silent.test")
        show("slow enough", time.monotonic() - start > 0.3)
        dig(program, "silent.test")
        dig(program, "late.test")
        server.send_held()
        program.until("nobody asked")
    program.show_log()


def no_server_is_there():
    scene("no server is there")
    with Program(str(closed_port()), "0.3") as program:
        dig(program, "spam.test")
        dig(program, "eggs.test")
    program.show_log()


def closed_port():
    with client() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wrong_answers():
    scene("forged, cut and doubled answers")
    server = Server()
    with Program(str(server.port), "20") as program:
        dig(program, "forged.test")
        dig(program, "twice.test")
        program.until("nobody asked", 2)
        dig(program, "twice.test")
    program.show_log()


def wrong_queries():
    scene("queries that are none")
    server = Server()
    with Program(str(server.port), "20") as program, client() as sock:
        place = ("127.0.0.1", program.port)
        for data in (b"", b"x", bytes(11), bytes(12), b"\xff" * 500):
            sock.sendto(data, place)
        sock.sendto(message(1, question(b"spam.test"), []), place)
        program.until("answer from a client")
        show("client", ask(sock, program, query(2, b"spam.test")))
    program.show_log()


def many_clients():
    scene("many clients with the same number at once")
    server = Server()
    with Program(str(server.port), "20") as program:
        clients = [client() for _ in range(50)]
        for number, sock in enumerate(clients):
            name = b"%c%d.test" % (ord("a") + number % 26, number)
            sock.sendto(query(7, name), ("127.0.0.1", program.port))
        for sock in clients:
            show("client", sock.recv(4096))
            sock.close()
    show("server", f"{server.count} queries")
    program.show_log()


dig_asks()
no_answer_comes()
no_server_is_there()
wrong_answers()
wrong_queries()
many_clients()
