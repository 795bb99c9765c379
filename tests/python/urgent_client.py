"""A client that sends an urgent byte in the midst of others, for the tests.

    python3 urgent_client.py HOST PORT
"""

import socket
import sys

host, port = sys.argv[1:]
with socket.create_connection((host, int(port))) as client:
    client.sendall(b"spam ")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"and eggs")
print("sent", flush=True)
