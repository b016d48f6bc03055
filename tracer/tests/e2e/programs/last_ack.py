"""last_ack COUNT: a server whose peers close first; it shuts down while its send
queue is full, so that the last acknowledgement comes long after the call, and
never closes. Says the server's fds."""

import socket
import sys

from e2e import listen, port_of, say, wait_for_end

listener = listen()
clients, servers = [], []
for _ in range(int(sys.argv[1])):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port_of(listener)))
    server, _ = listener.accept()
    server.setblocking(False)
    try:
        while True:
            server.send(b"z" * 65536)
    except BlockingIOError:
        pass
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
    client.close()
    clients.append(client)
    servers.append(server)
say(fds=[server.fileno() for server in servers])
wait_for_end()
