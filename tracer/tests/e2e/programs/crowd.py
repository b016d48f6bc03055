"""crowd COUNT: COUNT connections between two processes, while a third opens and
closes others to the same listener. Says the port, the processes, and the fds of
each connection by the client's port. With `close` it closes all."""

import os
import resource
import signal
import socket
import sys
import time

from e2e import ended_within, listen, port_of, say, wait_for_end

count = int(sys.argv[1])
room = count + 100
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (room, max(room, most)))
listener = listen(backlog=4096)
port = port_of(listener)


def child(work):
    """Runs `work` in a process of its own, which ends with this one's pipe."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            work()
        finally:
            os._exit(0)
    return pid


def read_until_closed(connection):
    connection.recv(1)
    connection.close()


def churn():
    while True:
        socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.01)
        if os.getppid() != parent:
            return


def open_all():
    os.close(says)
    os.close(close_now)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    with os.fdopen(tells, "w") as out:
        for client in clients:
            print(client.getsockname()[1], client.fileno(), file=out)
    os.read(closes, 1)
    for client in clients:
        client.close()
    os.read(closes, 1)


parent = os.getpid()
says, tells = os.pipe()
closes, close_now = os.pipe()
opener = child(open_all)
os.close(tells)
servers = {}
while len(servers) < count:
    server, (_, client_port) = listener.accept()
    servers[client_port] = server
with os.fdopen(says) as lines:
    clients = dict(map(int, line.split()) for line in lines)
churner = child(churn)
say(
    port=port,
    client=opener,
    server=parent,
    fds=[[at, fd, servers[at].fileno()] for at, fd in sorted(clients.items())],
)
listener.setblocking(False)
while not ended_within(0):
    # The churner's connections.
    try:
        accepted, _ = listener.accept()
    except BlockingIOError:
        time.sleep(0.0005)
        continue
    read_until_closed(accepted)
os.write(close_now, b".")
for server in servers.values():
    read_until_closed(server)
os.kill(churner, signal.SIGKILL)
say(closed=count)
wait_for_end()
os.kill(opener, signal.SIGKILL)
