"""An echo server with Python's own asyncore, for the interoperability tests.

    python3 -W ignore echo_server.py tcp HOST
    python3 -W ignore echo_server.py unix PATH

Prints where it listens (the port, or the path), then a line for each
connection that was closed. It serves until it is killed.
"""

import asyncore
import socket
import sys


class Echo(asyncore.dispatcher_with_send):
    echoed = 0

    def handle_read(self):
        data = self.recv(8192)
        if data:  # At the end, handle_close() has run already.
            self.echoed += len(data)
            self.send(data)

    def handle_close(self):
        print("closed after", self.echoed, flush=True)
        self.close()


class EchoServer(asyncore.dispatcher):
    def __init__(self, family, address):
        super().__init__()
        self.create_socket(family)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(5)
        name = self.socket.getsockname()
        print(name if isinstance(name, str) else name[1], flush=True)

    def handle_accepted(self, sock, addr):
        Echo(sock)


kind, place = sys.argv[1:]
if kind == "unix":
    EchoServer(socket.AF_UNIX, place)
elif ":" in place:
    EchoServer(socket.AF_INET6, (place, 0))
else:
    EchoServer(socket.AF_INET, (place, 0))
asyncore.loop()
