"""bursts PORT SIZE EXTRA: a pool of SIZE connections in use; with each command
EXTRA more are opened, used, and closed, as under a burst of work."""

import socket
import sys

from e2e import ended_within, say

port, size, extra = map(int, sys.argv[1:])


def connect():
    return socket.create_connection(("127.0.0.1", port))


def use(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(65536)


pool = [connect() for _ in range(size)]
turn = 0
while True:
    if ended_within(0.02):
        if not sys.stdin.readline():
            break
        burst = [connect() for _ in range(extra)]
        for connection in burst * 3:
            use(connection)
        for connection in burst:
            connection.close()
        say(burst=extra)
    use(pool[turn % size])
    turn += 1
