"""zoo: holds sockets of every kind that `ss` lists, then says the ports of their
listeners, and which state it made how often."""

import socket

from e2e import listen, pair, port_of, say, wait_for_end

V4, V6 = socket.AF_INET, socket.AF_INET6


def listen_dual():
    """On every address of both families."""
    listener = socket.socket(V6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    listener.listen(7)
    return listener


v4 = listen("127.0.0.1", V4, 8)
v6 = listen("::1", V6, 9)
dual = listen_dual()
other = listen("127.77.0.1", V4, 10)

held = [
    pair(v4),
    pair(v6, "::1"),
    pair(dual),  # The listener's end is IPv4-mapped.
    pair(dual, "::ffff:127.0.0.1"),
    pair(dual, "::1"),
    pair(other, "127.77.0.1"),
]

# Recv-Q at the server.
client, server = pair(v4)
client.sendall(b"not read")
held += [client, server]

# Send-Q at the client: more than the server's buffer takes.
client, server = pair(v4)
client.setblocking(False)
try:
    while True:
        client.send(b"x" * 65536)
except BlockingIOError:
    held += [client, server]

# CLOSE_WAIT, and an orphan in FIN_WAIT2.
client, server = pair(v4)
server.close()
held.append(client)

# FIN_WAIT2 and CLOSE_WAIT, both held.
client, server = pair(v4)
client.shutdown(socket.SHUT_WR)
held += [client, server]

# TIME_WAIT.
client, server = pair(v6, "::1")
client.close()
server.recv(1)
server.close()

# Established, and never accepted.
held.append(socket.create_connection(("127.0.0.1", port_of(v4))))

ports = {"v4": v4, "v6": v6, "dual": dual, "other": other}
say(**{name: port_of(listener) for name, listener in ports.items()})
wait_for_end()
