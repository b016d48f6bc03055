"""acceptors COUNT: as many threads, each blocked in accept(2), and says the port.
On a command connects to each of them, and says the thread and the fd of each
connection by the client's address."""

import socket
import sys
import threading

from e2e import commands, listen, port_of, say

listener = listen()
clients, servers = [], {}


def accept():
    server, (host, port) = listener.accept()
    servers[f"{host}:{port}"] = (server, threading.get_native_id())


threads = [threading.Thread(target=accept) for _ in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
say(port=port_of(listener), tids=[thread.native_id for thread in threads])
for _ in commands():
    for _ in threads:
        clients.append(socket.create_connection(listener.getsockname()))
    for thread in threads:
        thread.join()
    say(accepted=[[name, tid, s.fileno()] for name, (s, tid) in servers.items()])
    for client in clients:
        client.close()
    for server, _ in servers.values():
        server.recv(1)
        server.close()
    say(closed=len(clients))
