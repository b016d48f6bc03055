"""pool PORT SIZE: keeps SIZE connections to an HTTP server and uses them in turn
until the end. Says the fds at the start, and how many requests at the end."""

import socket
import sys

from e2e import ended_within, say

port, size = int(sys.argv[1]), int(sys.argv[2])
pool = [socket.create_connection(("127.0.0.1", port)) for _ in range(size)]
say(fds=[connection.fileno() for connection in pool])
requests = 0
while not ended_within(0.02):
    connection = pool[requests % size]
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(65536)
    requests += 1
say(requests=requests)
