"""Needs: nc"""

import time

from support import (
    Program, Thread, connect, pattern, read_all, read_exactly, read_until,
    reset, run, scene, show,
)

RATE = 400_000


def nc_asks_for_lines():
    scene("nc asks for lines, in one packet")
    commands = b"PING\r\nping\r\nEGGS 1\r\n\r\nSEND 3\r\nSEND 0\r\nPING\r\nQUIT\r\n"
    with Program(str(RATE)) as program:
        result = run("nc", "127.0.0.1", str(program.port), input=commands)
        show("nc", result.stdout)
        program.until("took")
    program.show_log()


def no_faster_than_the_rate():
    scene("no answer is faster than the rate")
    with Program(str(RATE)) as program:
        with connect(program.port) as sock:
            start = time.monotonic()
            sock.sendall(b"SEND 10000\r\nQUIT\r\n")
            data = read_all(sock)
            seconds = time.monotonic() - start
        show("client", data)
        # The first piece costs nothing.
        show("slow enough", seconds > (len(data) - 10_000) / RATE)
        program.until("took")
    program.show_log()


def no_input_is_faster():
    scene("no input is taken faster than the rate")
    with Program(str(RATE)) as program:
        with connect(program.port) as sock:
            start = time.monotonic()
            data = pattern(100_000)
            sending = Thread(sock.sendall, b"TAKE 100000\r\n" + data + b"PING\r\n")
            show("client", read_until(sock, b"PONG\r\n"))
            seconds = time.monotonic() - start
            sending.result()
            sock.sendall(b"QUIT\r\n")
            show("client, then", read_all(sock))
        show("slow enough", seconds > (len(data) - 10_000) / RATE)
        program.until("took")
    program.show_log()


def clients_sleep_alone():
    def ask(count):
        with connect(program.port) as sock:
            sock.sendall(b"SEND %d\r\nQUIT\r\n" % count)
            return read_all(sock)

    scene("a client that sleeps holds nobody up")
    with Program(str(RATE)) as program:
        asking = [Thread(ask, count) for count in (3_000, 4_000, 5_000)]
        with connect(program.port) as sock:
            for _ in range(20):
                sock.sendall(b"PING\r\n")
                show("another", read_until(sock, b"\r\n"))
            sock.sendall(b"QUIT\r\n")
            show("another", read_all(sock))
        for thread in asking:
            show("client", thread.result())
        program.until("took", 4)
    program.show_log(in_order=False)


def reader_stops():
    scene("a client that reads late gets all, and then the end")
    with Program("100000000") as program:
        with connect(program.port) as sock:
            sock.sendall(b"SEND 120000\r\nQUIT\r\n")
            with connect(program.port) as other:
                other.sendall(b"PING\r\n")
                show("another", read_until(other, b"\r\n"))
                other.sendall(b"QUIT\r\n")
                show("another", read_all(other))
            program.until("took")
            show("client", read_all(sock))
        program.until("took", 2)
    program.show_log()


def client_dies():
    scene("a client dies before it has read all")
    with Program(str(RATE)) as program:
        sock = connect(program.port)
        sock.sendall(b"SEND 100000\r\n")
        show("client", read_exactly(sock, 27))
        reset(sock)
        program.until("took")
        with connect(program.port) as other:
            other.sendall(b"PING\r\nQUIT\r\n")
            show("another", read_all(other))
        program.until("took", 2)
    # How much it was given depends on when the reset came.
    lines = program.log()
    show("log", [line for line in lines if "took 13 bytes" not in line])


nc_asks_for_lines()
no_faster_than_the_rate()
no_input_is_faster()
clients_sleep_alone()
reader_stops()
client_dies()
