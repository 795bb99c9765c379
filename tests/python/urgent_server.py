"""A server with Python's own asyncore that tells the events of its first client.

    python3 -W ignore urgent_server.py HOST

Prints its port. It looks at the client when all of its bytes have arrived, so that
the order of the events is that of one look; then it prints "go" and the events.
"""

import asyncore
import socket
import sys
import time


class Handler(asyncore.dispatcher):
    def writable(self):
        return False

    def handle_read(self):
        data = self.recv(8192)
        if data:  # At the end, handle_close() has run already.
            print("read", data.decode(), flush=True)

    def handle_expt(self):
        print("urgent", self.socket.recv(1, socket.MSG_OOB)[0], flush=True)

    def handle_close(self):
        print("closed", flush=True)
        self.close()


def has_ended(client):
    """Whether the client's end has arrived, and so all before it."""
    state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state[0] == 8  # TCP_CLOSE_WAIT


host = sys.argv[1]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family) as server:
    server.bind((host, 0))
    server.listen(1)
    print(server.getsockname()[1], flush=True)
    client, _ = server.accept()
while not has_ended(client):
    time.sleep(0.01)
print("go", flush=True)
Handler(client)
asyncore.loop()
