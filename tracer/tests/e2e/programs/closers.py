"""closers PORT COUNT: listens on PORT and makes COUNT connections to itself, each
closed by the client first. Says how many."""

import socket
import sys

from e2e import pair, say, wait_for_end

port, count = int(sys.argv[1]), int(sys.argv[2])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen()
for _ in range(count):
    client, server = pair(listener)
    client.close()
    server.recv(1)
    server.close()
say(made=count)
wait_for_end()
