"""Keeps each socket whose other end hung up, with keepalive on."""

import socket

import lab

answers = []


def fetch():
    sock = lab.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    lab.ask(sock)
    sock.recv(1)  # The other end hangs up here.
    answers.append(sock)


for _ in lab.paced():
    fetch()
