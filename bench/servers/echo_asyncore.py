"""An echo server with CPython's own asyncore.

    python3 -W ignore echo_asyncore.py
"""

import asyncore
import socket

import control


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        data = self.recv(65536)
        if data:
            self.send(data)


class Server(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(control.BACKLOG)
        control.answer_marks(self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Echo(sock)


Server()
asyncore.loop()
