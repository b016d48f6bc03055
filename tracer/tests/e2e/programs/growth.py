"""growth PORT PER_SECOND [keepalive]: opens connections to PORT, uses each once, and
keeps them all, until the end; with keepalive the kernel probes each every second.
Says the fds at the end."""

import socket
import sys

from e2e import ended_within, say

pause = 1 / float(sys.argv[2])
held = []
while not ended_within(pause):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(65536)
    if "keepalive" in sys.argv:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    held.append(client)
say(fds=[client.fileno() for client in held])
