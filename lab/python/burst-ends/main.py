"""Sixty connections for a quarter of a minute, then none."""

import time

import lab

time.sleep(12)
burst = [lab.connect() for _ in range(60)]
until = time.monotonic() + 15
while time.monotonic() < until:
    for sock in burst:
        lab.ask(sock)
    time.sleep(2)
for sock in burst:
    sock.close()
    time.sleep(0.05)
lab.stay()
