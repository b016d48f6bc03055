"""dead_fds COUNT [read]: asks, is answered, then reset, and keeps the descriptors
of COUNT connections; `read`: after it has met the error. Also holds a socket that
was never connected. Says the listener's port, and the fds."""

import socket
import struct
import sys

from e2e import listen, pair, port_of, say, wait_for_end

listener = listen()
held = []
for _ in range(int(sys.argv[1])):
    client, server = pair(listener)
    client.sendall(b"question")
    server.recv(64)
    server.sendall(b"answer")
    client.recv(64)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    if "read" in sys.argv:
        try:
            client.recv(64)
        except ConnectionResetError:
            pass
    held.append(client)
unused = socket.socket()
say(port=port_of(listener), fds=[client.fileno() for client in held])
wait_for_end()
