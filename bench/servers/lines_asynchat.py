"""Takes lines in with Python's own asynchat, for the load of lines.

    python3 -W ignore lines_asynchat.py

Prints its port. Answers a line "END" with the number of lines before it.
Standard input asks for marks, see control.py.
"""

import asynchat
import asyncore

import control


class Lines(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\r\n")
        self.pieces = []
        self.count = 0

    def collect_incoming_data(self, data):
        self.pieces.append(data)

    def found_terminator(self):
        line = b"".join(self.pieces)
        self.pieces.clear()
        if line == b"END":
            self.push(b"%d\n" % self.count)
            self.count = 0
        else:
            self.count += 1


class Server(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
        control.answer_marks(self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        Lines(sock)


Server()
asyncore.loop()
