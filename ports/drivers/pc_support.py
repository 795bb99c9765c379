"""Temporary: until support.py is there."""
import os, re, signal, subprocess, sys, threading, time

LIMIT = 20


class Program:
    def __init__(self, command, *args):
        env = dict(os.environ, PYTHONUNBUFFERED="1", NO_COLOR="1")
        self.process = subprocess.Popen([*command, *args], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=env)
        self.lines = []
        self.news = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.news.notify_all()

    def wait_for(self, text, start=0):
        deadline = time.monotonic() + LIMIT
        with self.news:
            while True:
                for i, line in enumerate(self.lines[start:], start):
                    if text in line:
                        return i + 1
                if not self.news.wait(max(0, deadline - time.monotonic())):
                    raise TimeoutError("no line %r in %r" % (text, self.lines[start:]))

    @property
    def port(self):
        at = self.wait_for("listening on ")
        return int(self.lines[at - 1].split()[-1])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(LIMIT)
