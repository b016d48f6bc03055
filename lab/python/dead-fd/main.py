"""Meets each reset, logs it, and forgets the socket it came from."""

import lab

sessions = []


def call():
    sock = lab.connect()
    sessions.append(sock)
    lab.ask(sock)
    try:
        lab.ask(sock)
    except ConnectionError as error:
        print(error)


for _ in lab.paced():
    lab.begin(call)
