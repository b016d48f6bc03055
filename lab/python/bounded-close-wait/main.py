"""A pool that looks at a connection only when it needs it, as urllib3 does."""

import select
import time

import lab

SIZE = 6
pool = []


def usable(sock):
    readable, _, _ = select.select([sock], [], [], 0)
    return not readable


def borrow():
    while pool:
        sock = pool.pop()
        if usable(sock):
            return sock
        sock.close()
    return lab.connect()


for _ in lab.paced(1 / 15):
    borrowed = [borrow() for _ in range(SIZE)]
    for sock in borrowed:
        lab.ask(sock)
        pool.append(sock)
