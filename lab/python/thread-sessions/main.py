"""A connection for each thread, used now and then."""

import random
import time

import lab


def work():
    sock = lab.connect()
    while True:
        lab.ask(sock)
        time.sleep(random.uniform(3, 9))


for count, _ in enumerate(lab.paced()):
    if count < 20:
        lab.begin(work)
