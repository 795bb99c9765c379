"""What control.mjs is for the servers in JavaScript, for those in Python."""

import json
import os
import resource
import sys
import threading

BACKLOG = 4096


def resident_memory():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


def answer():
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = round((used.ru_utime + used.ru_stime) * 1_000_000)
        print(json.dumps({"cpu": cpu, "rss": resident_memory()}), flush=True)
    os._exit(0)


def answer_marks(port):
    print(port, flush=True)
    # A thread, lest the loop under test have one more file to ask.
    threading.Thread(target=answer, daemon=True).start()
