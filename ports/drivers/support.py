"""What the drivers share: a driver starts one program of a pair, talks to it
with real clients, and prints a transcript of what these saw.

    python3 -W ignore ports/drivers/NAME.py PROGRAM...

PROGRAM... is the command that starts the original or the port. Two transcripts
are compared byte for byte, so nothing in them may depend on time: a driver
waits for conditions, and each wait has a limit.
"""

import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

# A wait that takes so many seconds has failed; a busy machine does not reach it.
LIMIT = 20

# The runner ends a driver that takes too long: the program must end with it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by the runner"))


class Program:
    """The program of the pair, as a child process.

        with Program(str(target_port)) as program:
            ...
            program.until("client ended")
        program.show_log()
    """

    def __init__(self, *args, ready="listening on "):
        """Starts it, and waits for the line that begins with `ready`."""
        self.lines = []
        self.changed = threading.Condition()
        self.hidden = []
        self.process = subprocess.Popen(
            sys.argv[1:] + list(args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.port = None
        try:
            line = self.until(ready)
        except BaseException:
            self.stop()
            raise
        if line.startswith("listening on "):
            self.port = int(line.rpartition(" ")[2])
            self.hide(str(self.port), "PORT")

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                self.changed.notify_all()

    def hide(self, text, placeholder):
        """Writes `placeholder` for a text or a compiled pattern in the log."""
        if isinstance(text, str):
            text = re.compile(r"(?<!\w)" + re.escape(text) + r"(?!\w)")
        self.hidden.append((text, placeholder))

    def until(self, part, count=1):
        """Waits until `count` lines contain `part`; the last of them."""

        def found():
            return [line for line in self.lines if part in line]

        with self.changed:
            if self.changed.wait_for(lambda: len(found()) >= count, LIMIT):
                return found()[count - 1]
            raise TimeoutError(
                f"No {part!r} ({count}) in the log:\n" + "\n".join(self.lines)
            )

    def stop(self):
        """Ends the program, and waits for the rest of its log."""
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(LIMIT)
        self.process.stdout.close()

    def log(self):
        """The lines so far, with placeholders."""
        with self.changed:
            lines = list(self.lines)
        for pattern, placeholder in self.hidden:
            lines = [pattern.sub(placeholder, line) for line in lines]
        return lines

    def show_log(self, in_order=True):
        """Prints the log, the end of each transcript.

        Lines of connections that are served at once come in no fixed order:
        without `in_order`, they are sorted.
        """
        print("--- log")
        for line in self.log() if in_order else sorted(self.log()):
            print(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def scene(title):
    """Begins a part of the transcript."""
    print(f"--- {title}")


def show(who, data):
    """Prints what a client saw: bytes as Python writes them, long ones by
    length and digest."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = digest(data) if len(data) > 2_000 else repr(bytes(data))
    print(f"{who}: {data}")


def digest(data):
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


def pattern(length, seed=0):
    """Bytes in which no place looks like another one."""
    block = hashlib.shake_256(b"pattern %d" % seed).digest(min(length, 1 << 20))
    return (block * (length // len(block) + 1))[:length] if length else b""


def run(*command, input=b""):
    """Runs a client to its end: its output, and how it ended."""
    return subprocess.run(
        command, input=input, capture_output=True, timeout=LIMIT
    )


def connect(port):
    """A plain connection, for what no real client would do."""
    sock = socket.create_connection(("127.0.0.1", port), LIMIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_until(sock, end):
    """The bytes up to `end`, none behind it; or up to the end of the stream."""
    data = bytearray()
    while not data.endswith(end):
        byte = sock.recv(1)
        if not byte:
            break
        data += byte
    return bytes(data)


def read_exactly(sock, length):
    """So many bytes; fewer if the stream ends."""
    data = bytearray()
    while len(data) < length:
        part = sock.recv(min(length - len(data), 1 << 16))
        if not part:
            break
        data += part
    return bytes(data)


def read_all(sock):
    """The bytes up to the end of the stream."""
    return read_exactly(sock, sys.maxsize)


class Lines:
    """Reads a connection line by line, and no byte twice."""

    def __init__(self, sock, end=b"\r\n"):
        self.sock = sock
        self.end = end
        self.rest = b""

    def next(self):
        """A line without its end; `None` at the end of the stream."""
        while self.end not in self.rest:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(self.end)
        return line


def reset(sock):
    """Closes a connection so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def until(condition):
    """Waits until a condition holds: the value that it then has."""
    deadline = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition.__name__}() does not hold")
        time.sleep(0.01)
    return value


class Thread(threading.Thread):
    """A thread whose result, or whose error, `result()` gives."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function = function
        self.args = args
        self.value = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.function(*self.args)
        except BaseException as error:
            self.error = error

    def result(self):
        self.join(LIMIT)
        if self.is_alive():
            raise TimeoutError(f"{self.function.__name__}() has not ended")
        if self.error is not None:
            raise self.error
        return self.value


class Listener:
    """A server of the driver's own: `serve(sock)` runs for each connection."""

    def __init__(self, serve):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.serve = serve
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return  # It is closed.
            sock.settimeout(LIMIT)
            Thread(self.serve, sock)

    def close(self):
        """Refuses whoever comes now."""
        # Without it, accept() would hold the port.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
