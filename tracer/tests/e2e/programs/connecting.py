"""connecting COUNT PORT: COUNT connects to PORT of loopback that do not wait for
an answer. Says the fds."""

import socket
import sys

from e2e import say, wait_for_end

held = []
for _ in range(int(sys.argv[1])):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", int(sys.argv[2])))
    held.append(client)
say(fds=[client.fileno() for client in held])
wait_for_end()
