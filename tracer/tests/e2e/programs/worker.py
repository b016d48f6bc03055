"""worker PORT COUNT: opens COUNT connections, and on a command ends without
closing any, which leaves that to the kernel."""

import os
import socket
import sys

from e2e import commands, say

held = [
    socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    for _ in range(int(sys.argv[2]))
]
say(fds=[client.fileno() for client in held])
for _ in commands():
    say(ending=True)
    os._exit(0)
