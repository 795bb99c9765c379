"""A thousand hostile peers, for bench/hostile_peers.ts, until they are killed.

    python3 hostile_attack.py PORT

A quarter of them asks for much and never reads the answers, one sends a byte a
second, one sends without an end, one says nothing. They come within four
seconds, and who is cut comes again one to three seconds later. Prints their
number when all have come.
"""

import heapq
import random
import select
import socket
import sys
import time

HOSTILE = 1_000
ARRIVAL = 4.0
RETURN = (1.0, 3.0)
# What each kind sends, and how often, in seconds.
KINDS = [
    (b"BIG\n" * 4_096, 5.0),
    (b"x", 1.0),
    (b"x" * 4_096, 0.05),
    (b"", 5.0),
]

poller = select.epoll()
peers = {}
# When each thing is to be done, and what: the number keeps equal times apart.
agenda = []
count = 0
there = set()


def later(delay, action, *arguments):
    global count
    count += 1
    heapq.heappush(agenda, (time.monotonic() + delay, count, action, arguments))


def come(number):
    peer = socket.socket()
    # A small window, so that it is soon full of answers.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.connect(ADDRESS)
    peer.setblocking(False)
    peers[peer.fileno()] = number, peer
    # Nobody reads, so nobody waits for input: only for the end.
    poller.register(peer, select.EPOLLRDHUP)
    go_on(number, peer)
    if len(there) < HOSTILE:
        there.add(number)
        if len(there) == HOSTILE:
            print(HOSTILE, flush=True)


def go_on(number, peer):
    data, interval = KINDS[number % len(KINDS)]
    if peer.fileno() < 0:
        return
    try:
        if data:
            peer.send(data)
    except BlockingIOError:
        pass
    except OSError:
        return leave(number, peer)
    later(interval, go_on, number, peer)


def leave(number, peer):
    poller.unregister(peer)
    del peers[peer.fileno()]
    peer.close()
    later(random.uniform(*RETURN), come, number)


ADDRESS = ("127.0.0.1", int(sys.argv[1]))
for number in range(HOSTILE):
    later(ARRIVAL * number / HOSTILE, come, number)
while True:
    while agenda and agenda[0][0] <= time.monotonic():
        _, _, action, arguments = heapq.heappop(agenda)
        action(*arguments)
    wait = max(0.0, agenda[0][0] - time.monotonic()) if agenda else -1
    for fileno, _ in poller.poll(wait):
        if fileno in peers:
            leave(*peers[fileno])
