"""Clients that connect, and reset the connection at a bad moment.

    python3 resetting_clients.py COUNT HOST PORT [WHEN [CA]]

A socket that lingers for 0 seconds answers close() with a reset, so that the
server may find the connection broken before it has accepted it. A socket with
bytes that nobody has read does so by itself. WHEN says what goes before:

    connected  nothing (the default)
    greeted    at every second, what can be said without an answer: over TLS,
               the ClientHello
    answered   the same at all, and an answer: over TLS, half of the handshake
    download   "D", and some of what the server sends on and on
    upload     "U" and bytes, some of which the server has confirmed
    unread     "A", and an answer that lies unread at this side
    full       "F" and bytes that lie unread at the server, which is busy
               sending what lies unread at this side
    closed     "L", after which the server sends a lot and closes

With CA, the certificate of an authority, they talk TLS.
"""

import select
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

count, host, port, *rest = sys.argv[1:]
when = rest[0] if rest else "connected"
ca = rest[1] if len(rest) > 1 else None

# So many clients are there at the same time.
CROWD = 10
# With more unread bytes in its kernel, a client has been answered.
ANSWERED = 2048
REQUESTS = {"download": b"D", "unread": b"A", "full": b"F", "closed": b"L"}

context = ssl.create_default_context(cafile=ca) if ca else None


def connect():
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    client.settimeout(10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if when in ("download", "full", "closed"):
        # The less room there is in the kernel, at either side, the more is still
        # on its way; the server's side makes room for 20 segments.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    client.connect((host, int(port)))
    return client


def greet(client):
    if context is None:
        client.sendall(b"E.")
        return
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=host).do_handshake()
    except ssl.SSLWantReadError:
        client.sendall(outgoing.read())


def begin(number):
    """Brings a client to the moment of its reset."""
    client = connect()
    if when == "connected" or when == "greeted" and number % 2 == 0:
        return client
    if when in ("greeted", "answered"):
        greet(client)
        assert when == "greeted" or client.recv(1)
        return client
    if context:
        client = context.wrap_socket(client, server_hostname=host)
    if when == "upload":
        client.sendall(b"U" + bytes(4096))
        assert client.recv(1) == b"."
        client.sendall(bytes(64 * 1024))
        return client
    client.sendall(REQUESTS[when])
    if when in ("unread", "full"):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, ANSWERED)
        assert select.select([client], [], [], 10)[0]
    else:
        assert client.recv(1)
    if when == "full":
        client.sendall(bytes(32 * 1024))
    return client


def reset(client):
    if when != "unread":
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    client.close()


left = int(count)
with ThreadPoolExecutor(CROWD) as pool:
    while left > 0:
        crowd = list(pool.map(begin, range(min(left, CROWD))))
        for client in crowd:
            reset(client)
        left -= len(crowd)
print("done", flush=True)
