"""fates [FD PORT]: holds connections to itself, says their ends, and does on command
what a timeline marks. With FD and PORT it has become another program, which has
only that one."""

import os
import socket
import struct
import sys

from e2e import commands, listen, port_of, say


def local(client):
    return "127.0.0.1:%d" % client.getsockname()[1]


if len(sys.argv) > 1:
    kept = socket.socket(fileno=int(sys.argv[1]))
    say(kept=local(kept))
else:
    listener = listen()
    port = port_of(listener)
    say(port=port)
    sys.stdin.readline()
    pairs = []
    for _ in range(4):
        client = socket.create_connection(("127.0.0.1", port))
        pairs.append((client, listener.accept()[0]))
    (kept, _), (closed, _), (reset, resets), (unheard, _) = pairs
    say(closed=local(closed), reset=local(reset), unheard=local(unheard), kept=local(kept))

for command, *_ in commands():
    if command == "send":
        unheard.send(b"nobody hears this")
        say(sent=True)
    elif command == "act":
        closed.close()
        linger = struct.pack("ii", 1, 0)
        resets.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        resets.close()
        say(acted=True)
    elif command == "exec":
        os.set_inheritable(kept.fileno(), True)
        os.execv(sys.executable, [sys.executable, sys.argv[0], str(kept.fileno()), "0"])
    elif command == "exit":
        say(ending=True)
        os._exit(0)
