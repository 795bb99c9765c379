"""A server that is asked for TLS, and may say more than its answer.

    python3 starttls_server.py CERT KEY [INJECTED]

It prints its port, waits for one client's STARTTLS, and answers GO and, in the
same packet, what is INJECTED, as somebody in the middle could do. Then it talks
TLS, and prints what it is told in it, or why there is none.
"""

import socket
import ssl
import sys

cert, key, *injected = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
conn, _ = listener.accept()
assert conn.recv(100) == b"STARTTLS\n"
conn.sendall(b"GO\n" + "".join(injected).encode())
try:
    conn = context.wrap_socket(conn, server_side=True)
    conn.sendall(b"welcome\n")
    while data := conn.recv(65536):
        print("told", data.decode(), flush=True)
    print("the end", flush=True)
except OSError as error:
    print("failed", error, flush=True)
