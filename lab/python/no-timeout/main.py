"""Every call in a thread of its own, none with a timeout."""

import lab


def call():
    with lab.connect() as sock:
        lab.ask(sock)
        lab.ask(sock)  # Never answered.


for _ in lab.paced():
    lab.begin(call)
