"""One thread that accepts, answers, and hangs up, a little slowly."""

import time

import lab

listener = lab.listen()
while True:
    sock, _ = listener.accept()
    with sock:
        lab.answer(sock)
        time.sleep(0.05)
