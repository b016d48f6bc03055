"""duplicated COUNT: connections whose fd was duplicated and the first one closed;
then the server resets them. Says the fds that are left."""

import os
import socket
import struct
import sys

from e2e import listen, pair, say, wait_for_end

listener = listen()
left = []
for _ in range(int(sys.argv[1])):
    client, server = pair(listener)
    client.sendall(b"ask")
    server.recv(100)
    server.sendall(b"answer")
    client.recv(100)
    left.append(os.dup(client.fileno()))
    client.close()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
say(fds=left)
wait_for_end()
