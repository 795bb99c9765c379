"""Clients that connect and reset the connection at once.

    python3 resetting_clients.py COUNT HOST PORT

A socket that lingers for 0 seconds answers close() with a reset, so that the
server may find the connection broken before it has accepted it.
"""

import socket
import struct
import sys

count, host, port = sys.argv[1:]
for _ in range(int(count)):
    client = socket.create_connection((host, int(port)))
    client.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    client.close()
print("done", flush=True)
