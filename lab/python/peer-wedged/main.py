"""Sessions with a heartbeat each second that waits for its echo for ever."""

import socket
import time

import lab


def session():
    sock = lab.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    while True:
        lab.ask(sock)
        time.sleep(1)


for _ in range(10):
    lab.begin(session)
lab.stay()
