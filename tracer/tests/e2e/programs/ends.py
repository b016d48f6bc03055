"""ends [SOURCE]: one end and the other of each connection, opened from SOURCE
(127.0.0.1) and ended as commanded. Says the listener's port; and after each
command the client's address, by which its connection can be told."""

import os
import socket
import struct
import sys

from e2e import commands, port_of, say

source = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
# Both families, so that the server's end of an IPv4 connection is IPv4-mapped.
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(("::", 0))
listener.listen(512)
say(port=port_of(listener))
held = []


def connect(blocking=True):
    client = socket.socket()
    client.bind((source, 0))
    client.setblocking(blocking)
    client.connect_ex(("127.0.0.1", port_of(listener)))
    server, _ = listener.accept()
    return client, server


def close_both(first, second):
    first.close()
    second.recv(1)
    second.close()


def refused():
    """Connects to a port that nobody listens on."""
    with socket.socket() as unused, socket.socket() as client:
        unused.bind((source, 0))
        client.bind((source, 0))
        error = client.connect_ex(unused.getsockname())
        say(client=client.getsockname()[1], error=error)


def end(how, client, server):
    if how == "close":
        close_both(client, server)
    elif how == "reset":
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        client.close()
    elif how == "unread":
        client.sendall(b"not read")
        server.recv(1)
        server.close()
        client.close()
    elif how == "fork":
        # The child's closes are not the last.
        child = os.fork()
        if child == 0:
            client.close()
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        client.sendall(b"still open")
        server.recv(64)
        close_both(client, server)


for command, *count in commands():
    if command == "refused":
        refused()
    elif command == "many":
        for _ in range(int(count[0])):
            close_both(*connect())
        say(done=True)
    elif command == "hold":
        held += [connect() for _ in range(int(count[0]))]
        say(held=len(held))
    elif command == "drop":
        for _ in range(int(count[0])):
            close_both(*held.pop(0))
        say(held=len(held))
    elif command == "nonblocking":
        client, server = connect(blocking=False)
        client.setblocking(True)
        say(client="%s:%d" % client.getsockname())
        close_both(client, server)
    else:
        client, server = connect()
        name = "%s:%d" % client.getsockname()
        end(command, client, server)
        say(client=name)
