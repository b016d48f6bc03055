"""Workers that open what they need and end without closing it."""

import os
import time

import lab


def work():
    held = [lab.connect() for _ in range(3)]
    for sock in held:
        lab.ask(sock)
    time.sleep(2)
    os._exit(0)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


for _ in lab.paced():
    if os.fork() == 0:
        work()
    reap()
