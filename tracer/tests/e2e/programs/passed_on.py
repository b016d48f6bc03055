"""passed_on COUNT [PORT]: accepts COUNT connections and passes them over a unix socket
to another process, which keeps them after their clients have closed, and closes
one at each command. Says both pids, and the fds of the holder."""

import os
import socket
import sys
import time

from e2e import commands, listen, pair, say

listener = listen(port=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
if os.fork() == 0:
    ours.close()
    held = []
    while message := socket.recv_fds(theirs, 1, 1):
        if not message[0]:
            break
        held += message[1]
        theirs.sendall(b"k")
    say(holder=os.getpid(), opener=os.getppid(), fds=held)
    for _ in commands():
        # Slowly, so that snapshots come in between.
        time.sleep(0.1)
        os.close(held.pop())
        say(left=len(held))
    os._exit(0)

theirs.close()
for _ in range(int(sys.argv[1])):
    client, server = pair(listener)
    socket.send_fds(ours, [b"x"], [server.fileno()])
    ours.recv(1)
    server.close()
    client.close()
ours.close()
os.wait()
