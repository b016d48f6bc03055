"""mptcp: opens one MPTCP connection to itself, moves data on it so that the kernel
joins further subflows, and holds both ends until told to `close`. Says the port and
both fds. `probe` opens and closes a TCP connection, some seconds later, and names it."""

import socket

from e2e import commands, ended_within, listen, pair, port_of, say

IPPROTO_MPTCP = 262

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
listener.bind(("127.0.0.1", 0))
listener.listen()
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
client.connect(listener.getsockname())
server, _ = listener.accept()
# Subflows join once the peer has acknowledged data.
client.sendall(b"question")
server.recv(100)
server.sendall(b"answer")
client.recv(100)
say(port=port_of(listener), client=client.fileno(), server=server.fileno())
plain = listen()
for [command] in commands():
    if command == "probe":
        probe, other = pair(plain)
        name = "%s:%d" % probe.getsockname()
        ended_within(2)
        probe.close()
        other.close()
        say(probe=name)
    else:
        client.close()
        server.close()
        say(closed=True)
