"""Needs: curl"""

import http.server
import re
import socket
import struct
import threading

from support import (
    Listener, Program, Thread, connect, pattern, read_all, read_exactly, reset,
    run, scene, show,
)

LARGE = 5_000_000
NO_LOGIN = b"\5\1\0"
LOGIN = b"\5\1\2"


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(pattern(LARGE if self.path == "/large" else 100))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"got " + str(len(body)).encode() + body[::-1])

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class PagesOverIPv6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve_pages(server_class, host):
    server = server_class((host, 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Proxied:
    """The proxy, and a target of the driver's own behind it."""

    def __init__(self, title, serve=None):
        scene(title)
        self.target = Listener(serve or (lambda sock: None))
        self.program = Program()
        self.program.hide(str(self.target.port), "TARGET")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.stop()
        self.program.show_log()
        self.target.close()

    def connect(self):
        return connect(self.program.port)

    def request(self, kind=b"\1\x7f\0\0\1", port=None, command=1):
        port = self.target.port if port is None else port
        return bytes([5, command, 0]) + kind + struct.pack(">H", port)

    def show_answer(self, who, sock):
        """Shows a reply: the port in it is another one each time."""
        data = read_exactly(sock, 10)
        if data[:2] == b"\5\0":
            data = data[:8] + (b"PORT" if any(data[8:]) else b"no port")
        show(who, data)

    def attempt(self, who, *parts):
        """Shows all that a client gets that sends these parts."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            show(who, read_all(sock))


# Sockets that do not listen: whoever connects to their ports is refused.
deaf = []


def closed_port():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    deaf.append(sock)
    return sock.getsockname()[1]


def curl_reads_pages():
    scene("curl reads and posts pages")
    ipv4 = serve_pages(http.server.ThreadingHTTPServer, "127.0.0.1")
    ipv6 = serve_pages(PagesOverIPv6, "::1")
    refused = closed_port()
    with Program() as program:
        proxy = f"127.0.0.1:{program.port}"
        upload = "@-", "-H", "Expect:", "-H", "Content-Type: text/plain"

        def curl(who, *arguments, body=b""):
            result = run("curl", "-sS", *arguments, input=body)
            show(who, result.stdout)
            errors = result.stderr.decode()
            for port in (ipv4, ipv6, refused):
                errors = errors.replace(str(port), "TARGET")
            show("its errors", re.sub(r" after \d+ ms", "", errors))

        curl("by address", "--socks5", proxy, f"http://127.0.0.1:{ipv4}/")
        curl("by name", "--socks5-hostname", proxy, f"http://localhost:{ipv4}/")
        curl("by IPv6", "--socks5", proxy, f"http://[::1]:{ipv6}/")
        curl("large", "--socks5", proxy, f"http://127.0.0.1:{ipv4}/large")
        curl("upload", "--socks5-hostname", proxy, f"http://127.0.0.1:{ipv4}/",
             "--data-binary", *upload, body=pattern(LARGE, 1))
        curl("with a login", "--socks5", proxy, "-U", "alice:wonderland",
             f"http://127.0.0.1:{ipv4}/")
        curl("with a wrong one", "--socks5", proxy, "-U", "alice:oz",
             f"http://127.0.0.1:{ipv4}/")
        curl("refused", "--socks5", proxy, f"http://127.0.0.1:{refused}/")
        curl("refused by IPv6", "--socks5", proxy, f"http://[::1]:{refused}/")
        curl("unreachable", "--socks5", proxy, "http://255.255.255.255:9/")
        curl("no such name", "--socks5-hostname", proxy,
             f"http://{'a' * 64}.example:9/")
        for port in (ipv4, ipv6, refused):
            program.hide(str(port), "TARGET")
    program.show_log()


def hostile_clients():
    with Proxied("what a proxy must refuse") as proxy:
        proxy.attempt("SOCKS4", b"\4\1\0\x50\x7f\0\0\1\0")
        proxy.attempt("HTTP", b"GET / HTTP/1.1\r\n\r\n")
        proxy.attempt("no methods", b"\5\0")
        proxy.attempt("GSSAPI", b"\5\1\1")
        proxy.attempt("other methods", b"\5\3\1\x80\xfe")
        proxy.attempt("no user", LOGIN, b"\1\0\0")
        proxy.attempt("no password", LOGIN, b"\1\5alice\0")
        proxy.attempt("wrong password", LOGIN, b"\1\5alice\2oz")
        proxy.attempt("no UTF-8", LOGIN, b"\1\2\xc3\x28\2\xff\xfe")
        proxy.attempt("long ones", LOGIN, b"\1\xff" + b"u" * 255 + b"\xff" + b"p" * 255)
        proxy.attempt("BIND", NO_LOGIN, proxy.request(command=2))
        proxy.attempt("UDP", NO_LOGIN, proxy.request(command=3))
        proxy.attempt("type 2", NO_LOGIN, proxy.request(b"\2"))
        proxy.attempt("no name", NO_LOGIN, proxy.request(b"\3\0"))
        proxy.attempt("wrong name", NO_LOGIN, proxy.request(b"\3\3a b"))
        proxy.attempt("binary name", NO_LOGIN, proxy.request(b"\3\3\0\r\n"))
        proxy.attempt("empty label", NO_LOGIN, proxy.request(b"\3\4a..b"))
        proxy.attempt("port 0", NO_LOGIN, proxy.request(port=0))
        port = closed_port()
        proxy.program.hide(str(port), "CLOSED")
        proxy.attempt("closed port", NO_LOGIN, proxy.request(port=port))



def byte_by_byte():
    def serve(sock):
        sock.sendall(b"heard " + read_all(sock))
        sock.close()

    with Proxied("a client that sends byte by byte", serve) as proxy:
        with proxy.connect() as sock:
            text = LOGIN + b"\1\5alice\x0awonderland"
            for byte in text + proxy.request(b"\3\x09localhost") + b"spam":
                sock.sendall(bytes([byte]))
            show("methods", read_exactly(sock, 2))
            show("login", read_exactly(sock, 2))
            proxy.show_answer("request", sock)
            sock.shutdown(socket.SHUT_WR)
            show("target", read_all(sock))

    with Proxied("a client that sends all in one packet", serve) as proxy:
        with proxy.connect() as sock:
            sock.sendall(NO_LOGIN + proxy.request() + b"spam")
            show("methods", read_exactly(sock, 2))
            proxy.show_answer("request", sock)
            sock.sendall(pattern(1_000_000))
            sock.shutdown(socket.SHUT_WR)
            show("target", read_all(sock))

    with Proxied("a client that ends its side before the answer", serve) as proxy:
        with proxy.connect() as sock:
            sock.sendall(NO_LOGIN + proxy.request() + b"spam")
            sock.shutdown(socket.SHUT_WR)
            show("methods", read_exactly(sock, 2))
            proxy.show_answer("request", sock)
            show("target", read_all(sock))


def established(proxy):
    sock = proxy.connect()
    sock.sendall(NO_LOGIN + proxy.request())
    show("methods", read_exactly(sock, 2))
    proxy.show_answer("request", sock)
    return sock


def target_ends_first():
    def serve(sock):
        sock.sendall(b"I only listen")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
        sock.close()
        done.set()

    heard, done = [], threading.Event()
    with Proxied("the target ends its side first", serve) as proxy:
        with established(proxy) as sock:
            show("client", read_all(sock))
            sock.sendall(pattern(1_000_000))
        done.wait(20)
        show("target", heard[0])


def both_ways_at_once():
    def talk(sock, seed):
        sending = Thread(sock.sendall, pattern(LARGE, seed))
        data = read_exactly(sock, LARGE)
        sending.result()
        return data

    def serve(sock):
        heard.append(talk(sock, 1))
        sock.close()

    heard = []
    with Proxied("a lot goes both ways at once", serve) as proxy:
        with established(proxy) as sock:
            show("client", talk(sock, 2))
            show("client, then", read_all(sock))
        show("target", heard[0])


def lost_ones():
    def serve(sock):
        heard.append(read_all(sock))
        sock.close()
        done.set()

    heard, done = [], threading.Event()
    with Proxied("the client resets", serve) as proxy:
        sock = established(proxy)
        sock.sendall(b"spam")
        reset(sock)
        done.wait(20)
        show("target saw an end", done.is_set())

    def die(sock):
        sock.sendall(b"half of an ans")
        read_exactly(sock, 4)
        reset(sock)

    with Proxied("the target resets", die) as proxy:
        with established(proxy) as sock:
            show("client", read_exactly(sock, 14))
            sock.sendall(b"die!")
            show("client, then", read_all(sock))

    with Proxied("clients that leave at each step", serve) as proxy:
        whole = LOGIN + b"\1\5alice\x0awonderland" + proxy.request()
        for leave in (reset, socket.socket.close):
            for count in range(len(whole)):
                sock = proxy.connect()
                sock.sendall(whole[:count])
                leave(sock)
        done.clear()
        with established(proxy) as sock:
            sock.sendall(b"still here")
        done.wait(20)
        show("target", heard[-1])


curl_reads_pages()
hostile_clients()
byte_by_byte()
target_ends_first()
both_ways_at_once()
lost_ones()
