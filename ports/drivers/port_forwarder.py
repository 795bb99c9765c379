"""Needs: curl, nc"""

import http.server
import queue
import re
import socket
import threading

from support import (
    LIMIT, Listener, Program, Thread, connect, pattern, read_all, read_exactly,
    reset, run, scene, show,
)

LARGE = 3_000_000


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # The client ends the connection.

    def do_GET(self):
        body = pattern(LARGE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_pages():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def curl_loads_a_page():
    scene("curl loads a large page")
    with Program(str(serve_pages())) as program:
        result = run("curl", "-sS", f"http://127.0.0.1:{program.port}/")
        show("curl", result.stdout)
        show("curl's errors", result.stderr)
        program.until("has sent", 2)
    # How long curl's request is depends on its version.
    program.hide(re.compile(r"client has sent \d+"), "client has sent SOME")
    program.hide(re.compile(r"target has sent \d+"), "target has sent SOME")
    program.show_log(in_order=False)


def target_answers_the_end():
    def serve(sock):
        question = read_all(sock)
        sock.sendall(question[::-1])
        sock.close()

    scene("nc ends its side, and the target answers then")
    target = Listener(serve)
    with Program(str(target.port)) as program:
        result = run("nc", "-N", "127.0.0.1", str(program.port), input=b"spam")
        show("nc", result.stdout)
        program.until("has sent", 2)
    # nc may have ended before the target is connected, or behind that.
    program.show_log(in_order=False)


def target_ends_first():
    def serve(sock):
        sock.sendall(b"I only listen")
        sock.shutdown(socket.SHUT_WR)
        heard.put(read_all(sock))
        sock.close()

    scene("the target ends its side, and still hears the client")
    heard = queue.Queue()
    target = Listener(serve)
    with Program(str(target.port)) as program:
        with connect(program.port) as sock:
            show("client", read_all(sock))
            program.until("target has ended")
            sock.sendall(pattern(100_000))
        program.until("has sent", 2)
    show("target", heard.get(timeout=LIMIT))
    program.show_log()


def both_ways_at_once():
    def talk(sock, seed):
        sending = Thread(sock.sendall, pattern(LARGE, seed))
        data = read_exactly(sock, LARGE)
        sending.result()
        return data

    def serve(sock):
        heard.put(talk(sock, 1))
        sock.close()

    scene("a lot goes both ways at once")
    heard = queue.Queue()
    target = Listener(serve)
    with Program(str(target.port)) as program:
        with connect(program.port) as sock:
            show("client", talk(sock, 2))
            show("client, then", read_all(sock))
        program.until("has sent", 2)
    show("target", heard.get(timeout=LIMIT))
    program.show_log()


def client_reads_late():
    def serve(sock):
        length = int(read_all(sock))
        sock.sendall(pattern(length))
        sock.close()

    scene("a client reads late, when another one has got its answer")
    target = Listener(serve)
    with Program(str(target.port)) as program:
        with connect(program.port) as late:
            late.sendall(b"20000000")
            late.shutdown(socket.SHUT_WR)
            program.until("client has ended")
            with connect(program.port) as other:
                other.sendall(b"10")
                other.shutdown(socket.SHUT_WR)
                show("another", read_all(other))
            program.until("has sent", 2)
            show("client", read_all(late))
        program.until("has sent", 4)
    program.show_log(in_order=False)


def target_refuses():
    scene("the target refuses, and the next client is served as well")
    target = Listener(lambda sock: None)
    target.close()
    with Program(str(target.port)) as program:
        for _ in range(3):
            with connect(program.port) as sock:
                show("client", read_all(sock))
        program.until("client has sent", 3)
    program.show_log()


def target_dies():
    def serve(sock):
        sock.sendall(b"half of an ans")
        read_exactly(sock, 4)
        reset(sock)

    scene("the target dies in the midst")
    target = Listener(serve)
    with Program(str(target.port)) as program:
        with connect(program.port) as sock:
            show("client", read_exactly(sock, 14))
            sock.sendall(b"die!")
            show("client, then", read_all(sock))
        program.until("client has sent")
    program.show_log()


def client_dies():
    def serve(sock):
        read_all(sock)
        sock.close()

    scene("the client dies in the midst")
    target = Listener(serve)
    with Program(str(target.port)) as program:
        sock = connect(program.port)
        program.until("target is connected")
        reset(sock)
        program.until("target has sent")
    program.show_log()


curl_loads_a_page()
target_answers_the_end()
target_ends_first()
both_ways_at_once()
client_reads_late()
target_refuses()
target_dies()
client_dies()
