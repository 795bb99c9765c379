"""An IRC bot: joins a channel, obeys it, and comes back when it is thrown out.

    python3 -W ignore irc_client.py HOST PORT NICK CHANNEL
"""

import asynchat
import asyncore
import socket
import sys
import time

PAUSE = 0.1  # seconds before the next attempt


class Bot(asynchat.async_chat):
    def __init__(self, address, nick, channel):
        asynchat.async_chat.__init__(self)
        self.set_terminator(b"\r\n")
        self.address = address
        self.nick = self.wanted_nick = nick
        self.channel = channel
        self.heard = 0
        self.running = True
        self.told = False
        self.retry_at = None
        self.start()

    def start(self):
        self.retry_at = None
        self.discard_buffers()
        self.nick = self.wanted_nick
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect(self.address)

    def tick(self):
        if self.retry_at is not None and time.monotonic() >= self.retry_at:
            self.start()

    def handle_connect(self):
        self.told = False
        self.log_info("connected")
        self.say("NICK %s" % self.nick)
        self.say("USER %s 0 * :a bot" % self.nick)

    def handle_error(self):
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionRefusedError):
            asynchat.async_chat.handle_error(self)
            return
        if not self.told:
            self.log_info("refused, trying again")
        self.told = True
        self.handle_close()

    def handle_close(self):
        if self.connected:
            self.log_info("disconnected")
        self.close()
        if self.running:
            self.retry_at = time.monotonic() + PAUSE

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        line = self._get_data().decode("utf-8", "replace")
        prefix, command, params = parse(line)
        method = getattr(self, "irc_" + command.lower(), None)
        if method is not None:
            method(prefix, params)
        elif command:
            self.log_info("ignored %s" % command)

    def say(self, line):
        self.push(line.encode("utf-8") + b"\r\n")

    # What the server says

    def irc_001(self, prefix, params):
        self.log_info("welcome, %s" % params[0])
        self.say("JOIN %s" % self.channel)

    def irc_433(self, prefix, params):
        self.nick += "_"
        self.say("NICK %s" % self.nick)

    def irc_ping(self, prefix, params):
        self.say("PONG :%s" % params[-1])

    def irc_join(self, prefix, params):
        who = prefix.partition("!")[0]
        if who == self.nick:
            self.log_info("joined %s" % params[0])
        else:
            self.say("PRIVMSG %s :hello, %s" % (params[0], who))

    def irc_kick(self, prefix, params):
        if params[1] == self.nick:
            self.log_info("kicked: %s" % params[-1])
            self.say("JOIN %s" % params[0])

    def irc_error(self, prefix, params):
        self.log_info("error: %s" % params[-1])

    def irc_privmsg(self, prefix, params):
        self.heard += 1
        who = prefix.partition("!")[0]
        target, text = params
        where = who if target == self.nick else target
        if not text.startswith("!"):
            return
        verb, _, rest = text[1:].partition(" ")
        method = getattr(self, "bot_" + verb, None)
        if method is None:
            self.say("PRIVMSG %s :%s: no such command: %s" % (where, who, verb))
        else:
            method(where, rest)

    # What people tell it to do

    def bot_echo(self, where, rest):
        self.say("PRIVMSG %s :%s" % (where, rest))

    def bot_count(self, where, rest):
        self.say("PRIVMSG %s :%d messages" % (where, self.heard))

    def bot_flood(self, where, rest):
        for number in range(int(rest)):
            self.say("NOTICE %s :line %d %s" % (where, number, "x" * 400))

    def bot_quit(self, where, rest):
        self.running = False
        self.say("QUIT :%s" % rest)
        self.close_when_done()


def parse(line):
    prefix = ""
    if line.startswith(":"):
        prefix, _, line = line[1:].partition(" ")
    line, colon, trailing = line.partition(" :")
    words = [word for word in line.split(" ") if word]
    if colon:
        words.append(trailing)
    return prefix, words[0] if words else "", words[1:]


def main():
    host, port, nick, channel = sys.argv[1:]
    bot = Bot((host, int(port)), nick, channel)
    print("ready", flush=True)
    while bot.running or asyncore.socket_map:
        bot.tick()
        asyncore.poll(0.05)
    print("bye", flush=True)


main()
