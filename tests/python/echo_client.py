"""A client with Python's own asyncore, for the interoperability tests.

    python3 -W ignore echo_client.py SIZE tcp HOST PORT
    python3 -W ignore echo_client.py SIZE unix PATH

Sends SIZE bytes, expects the same bytes back, and says how that went.
"""

import asyncore
import socket
import sys


class Client(asyncore.dispatcher_with_send):
    def __init__(self, family, address, data):
        super().__init__()
        self.data = data
        self.answer = bytearray()
        self.create_socket(family)
        self.connect(address)

    def handle_connect(self):
        print("connected", flush=True)
        for start in range(0, len(self.data), 10_000):
            self.send(self.data[start:start + 10_000])

    def handle_read(self):
        self.answer += self.recv(8192)
        if len(self.answer) >= len(self.data):
            same = bytes(self.answer) == self.data
            print("the same" if same else "something else", flush=True)
            self.close()

    def handle_close(self):
        print("lost after", len(self.answer), flush=True)
        self.close()


size, kind, *place = sys.argv[1:]
data = bytes((i * i >> 3) & 255 for i in range(int(size)))
if kind == "unix":
    Client(socket.AF_UNIX, place[0], data)
else:
    host, port = place
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    Client(family, (host, int(port)), data)
asyncore.loop()
