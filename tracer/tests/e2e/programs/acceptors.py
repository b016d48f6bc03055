"""acceptors COUNT: says the port of a listener. With `block` as many threads go into
accept(2) and block there. With `connect` it connects to each of them, and says the
thread and the fd of each connection by the client's address."""

import socket
import sys
import threading
import time

from e2e import commands, listen, port_of, say

listener = listen()
clients, servers = [], {}


def accept():
    server, (host, port) = listener.accept()
    servers[f"{host}:{port}"] = (server, threading.get_native_id())


def is_asleep(thread):
    with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


threads = [threading.Thread(target=accept) for _ in range(int(sys.argv[1]))]
say(port=port_of(listener))
for [command] in commands():
    if command == "block":
        for thread in threads:
            thread.start()
        while not all(map(is_asleep, threads)):
            time.sleep(0.01)
        say(blocked=len(threads))
        continue
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
