"""Twenty-five long-lived streams, as WebSockets are."""

import lab


def stream():
    sock = lab.connect()
    sock.sendall(lab.REQUEST)
    while True:
        lab.more(sock)


for count, _ in enumerate(lab.paced()):
    if count < 25:
        lab.begin(stream)
