"""Opens, asks, closes: all is well on this side."""

import lab

for _ in lab.paced():
    with lab.connect() as sock:
        lab.ask(sock)
