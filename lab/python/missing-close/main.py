"""Reads each answer to its end and keeps the socket."""

import lab

answers = []


def fetch():
    sock = lab.connect()
    lab.ask(sock)
    sock.recv(1)  # The other end hangs up here.
    answers.append(sock)


for _ in lab.paced():
    fetch()
