"""blocked: listens on a port whose queue is full, and says which. Starts processes
that block in connect(2) to it, kills them, or connects to a port that answers, as
each command says; and says their process ids, or the client's address and fd."""

import ctypes
import os
import signal
import socket

from e2e import commands, listen, pair, port_of, say

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
full = listen(backlog=0)
# A queue of none takes one.
waiting = socket.create_connection(full.getsockname())


def connect():
    """In a process of its own, which ends with ours."""
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        client = socket.socket()
        client.connect(full.getsockname())
        os._exit(0)
    return pid


pids = []
say(port=port_of(full))
for command, *count in commands():
    if command == "block":
        pids += [connect() for _ in range(int(count[0]))]
        say(pids=pids)
    elif command == "kill":
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        pids.clear()
        say(pids=pids)
    elif command == "connect":
        with listen() as answering:
            client, server = pair(answering)
            say(name="%s:%d" % client.getsockname(), fd=client.fileno())
            client.close()
            server.close()
