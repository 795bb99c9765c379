"""Forwards each connection to a port of this machine, both ways, with the end
of each direction.

    python3 -W ignore ports/port_forwarder.py TARGET_PORT
"""

import asyncore
import socket
import sys

# While so many bytes wait for the partner, no more are read.
MOST_BUFFERED = 65536


class Side(asyncore.dispatcher):
    """One of two connections: what it reads goes into its partner's buffer."""

    name = "side"

    def __init__(self, sock=None):
        asyncore.dispatcher.__init__(self, sock)
        self.partner = None
        self.buffer = b""
        self.count = 0
        self.has_read_end = False
        self.has_sent_end = False
        self.is_last = False

    def readable(self):
        return not self.has_read_end and len(self.partner.buffer) < MOST_BUFFERED

    def handle_read(self):
        data = self.recv(8192)
        self.count += len(data)
        self.partner.buffer += data

    def writable(self):
        if not self.connected or len(self.buffer) > 0:
            return True
        return self.is_last or self.partner.has_read_end and not self.has_sent_end

    def handle_write(self):
        if len(self.buffer) > 0:
            sent = self.send(self.buffer)
            self.buffer = self.buffer[sent:]
        elif self.is_last:
            self.finish()
        elif self.partner.has_read_end and not self.has_sent_end:
            self.has_sent_end = True
            self.socket.shutdown(socket.SHUT_WR)
            if self.has_read_end:
                self.finish()

    def handle_close(self):
        try:
            self.socket.getpeername()
        except OSError:
            self.handle_loss()
        else:
            self.handle_end()

    def handle_end(self):
        self.log_info("%s has ended" % self.name)
        self.has_read_end = True

    def handle_loss(self):
        if self.has_sent_end:
            self.has_read_end = True
            self.finish()
            return
        self.log_info("%s is lost" % self.name)
        self.close()
        self.partner.is_last = True

    def finish(self):
        self.log_info("%s has sent %d bytes" % (self.name, self.count))
        self.close()


class Client(Side):
    name = "client"

    def __init__(self, sock, port):
        Side.__init__(self, sock)
        self.partner = Target(self, port)


class Target(Side):
    name = "target"

    def __init__(self, client, port):
        Side.__init__(self)
        self.partner = client
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect(("127.0.0.1", port))

    def handle_connect(self):
        self.log_info("target is connected")

    def handle_error(self):
        self.log_info("target cannot be reached", "error")
        self.close()
        self.partner.is_last = True


class Forwarder(asyncore.dispatcher):
    def __init__(self, target_port):
        asyncore.dispatcher.__init__(self)
        self.target_port = target_port
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
        print("listening on %d" % self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        self.log_info("client from %s" % addr[0])
        Client(sock, self.target_port)


Forwarder(int(sys.argv[1]))
asyncore.loop()
