"""A SOCKS5 proxy (RFC 1928): CONNECT, without a login or with a password
(RFC 1929).

    python3 -W ignore ports/socks5_proxy.py
"""

import asynchat
import asyncore
import errno
import re
import socket
import sys

PASSWORDS = {"alice": "wonderland"}
NO_LOGIN, LOGIN, NO_METHOD = 0, 2, 255
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
SUCCESS, FAILURE, NO_NETWORK, NO_HOST, REFUSED = 0, 1, 3, 4, 5
NO_COMMAND, NO_TYPE = 7, 8
# While so many pieces wait for the partner, no more are read.
MOST_PIECES = 4


class Side(asynchat.async_chat):
    """One of two connections: what it reads goes out at its partner."""

    def __init__(self, sock=None):
        super().__init__(sock)
        self.partner = None
        self.has_read_end = False
        self.ends_when_sent = False
        self.has_sent_end = False

    def collect_incoming_data(self, data):
        if self.partner is None:
            self._collect_incoming_data(data)
        else:
            self.partner.push(data)

    def readable(self):
        if self.has_read_end:
            return False
        return self.partner is None or len(self.partner.producer_fifo) < MOST_PIECES

    def writable(self):
        return super().writable() or self.ends_when_sent

    def handle_write(self):
        super().handle_write()
        if self.ends_when_sent and not self.producer_fifo and self.connected:
            self.ends_when_sent = False
            self.has_sent_end = True
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.has_read_end = True
            if self.has_read_end:
                self.close()

    def handle_close(self):
        """The peer has ended its side; at the second call, the connection broke."""
        if self.partner is None or self.has_read_end or self.has_sent_end:
            self.close()
        self.has_read_end = True
        if self.partner is not None:
            self.partner.ends_when_sent = True


class Target(Side):
    def __init__(self, client, host, port):
        super().__init__()
        self.client = client
        client.partner = self
        self.set_terminator(None)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.create_socket(family, socket.SOCK_STREAM)
        try:
            self.connect((host, port))
        except (OSError, UnicodeError):
            self.handle_error()

    def handle_connect(self):
        self.partner = self.client
        self.client.answer_success(self.socket.getsockname())

    def handle_error(self):
        self.close()
        if self.partner is None:
            self.client.answer_failure(sys.exc_info()[1])
        else:
            self.partner.ends_when_sent = True


class Client(Side):
    def __init__(self, sock):
        super().__init__(sock)
        self.user = "nobody"
        self.command = None
        self.expect(2, self.got_greeting)

    def expect(self, count, step):
        self.set_terminator(count)
        self.step = step

    def found_terminator(self):
        self.step(self._get_data())

    def got_greeting(self, data):
        if data[0] != 5:
            print(f"version {data[0]} is not 5")
            self.close()
        elif data[1] == 0:
            self.refuse([5, NO_METHOD])
        else:
            self.expect(data[1], self.got_methods)

    def got_methods(self, data):
        if LOGIN in data:
            self.push(bytes([5, LOGIN]))
            self.expect(2, self.got_user_length)
        elif NO_LOGIN in data:
            self.push(bytes([5, NO_LOGIN]))
            self.expect(4, self.got_request)
        else:
            self.refuse([5, NO_METHOD])

    def got_user_length(self, data):
        self.expect(data[1] + 1, self.got_user)

    def got_user(self, data):
        self.user = data[:-1].decode("utf-8", "replace")
        if data[-1] == 0:
            self.got_password(b"")
        else:
            self.expect(data[-1], self.got_password)

    def got_password(self, data):
        if PASSWORDS.get(self.user) == data.decode("utf-8", "replace"):
            self.push(bytes([1, 0]))
            self.expect(4, self.got_request)
        else:
            self.refuse([1, 1])

    def got_request(self, data):
        self.command = data[1]
        if data[3] == IPV4:
            self.expect(6, self.got_ipv4)
        elif data[3] == IPV6:
            self.expect(18, self.got_ipv6)
        elif data[3] == NAME:
            self.expect(1, self.got_name_length)
        else:
            self.answer(NO_TYPE)

    def got_ipv4(self, data):
        host = ".".join(str(byte) for byte in data[:4])
        self.got_address(host, data)

    def got_ipv6(self, data):
        groups = [data[i] * 256 + data[i + 1] for i in range(0, 16, 2)]
        host = ":".join(f"{group:x}" for group in groups)
        self.got_address(host, data)

    def got_name_length(self, data):
        self.expect(data[0] + 2, self.got_name)

    def got_name(self, data):
        name = data[:-2].decode("utf-8", "replace")
        if re.fullmatch("[A-Za-z0-9.-]+", name):
            self.got_address(name, data)
        else:
            self.answer(NO_HOST)

    def got_address(self, host, data):
        port = data[-2] * 256 + data[-1]
        if self.command != CONNECT:
            self.answer(NO_COMMAND)
            return
        print(f"{self.user} connects to {host} {port}")
        self.set_terminator(None)  # What follows is for the target.
        Target(self, host, port)

    def answer_success(self, address):
        host, port = address[:2]
        packed = bytes(4) if ":" in host else socket.inet_aton(host)
        self.push(bytes([5, SUCCESS, 0, IPV4, *packed, port >> 8, port & 255]))

    def answer_failure(self, error):
        self.partner = None
        if isinstance(error, ConnectionRefusedError):
            self.answer(REFUSED)
        elif isinstance(error, OSError) and error.errno == errno.ENETUNREACH:
            self.answer(NO_NETWORK)
        elif isinstance(error, (socket.gaierror, UnicodeError)):
            self.answer(NO_HOST)
        else:
            self.answer(FAILURE)

    def answer(self, code):
        self.refuse([5, code, 0, IPV4, 0, 0, 0, 0, 0, 0])

    def refuse(self, message):
        print(f"{self.user} is refused with code {message[1]}")
        self.set_terminator(None)  # What follows is for nobody.
        self.push(bytes(message))
        self.close_when_done()


class SocksServer(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", 0))
        self.listen(100)

    def handle_accepted(self, sock, addr):
        Client(sock)


server = SocksServer()
print("listening on", server.socket.getsockname()[1])
asyncore.loop()
