"""storm KEEP: from `go` to `stop` one process opens connections to another as fast as
they can, and closes them at once, but for every KEEPth. Says the port; with `count`
how many it has opened. Before, `probe` opens one and closes the one before."""

import os
import resource
import signal
import socket
import sys

from e2e import commands, ended_within, listen, pair, port_of, say

keep = int(sys.argv[1])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
listener = listen(backlog=4096)
port = port_of(listener)


def open_all():
    """Until its parent has gone, or says stop; then tells how many were opened."""
    os.close(reports)
    os.close(stop)
    os.set_blocking(stops, False)
    count, kept = 0, []
    while os.getppid() == parent:
        client = socket.create_connection(("127.0.0.1", port))
        count += 1
        if count % keep == 0:
            client.send(b"k")
            kept.append(client)
        else:
            client.close()
        if count % 500 == 0:
            os.write(tells, count.to_bytes(8, "little"))
            try:
                os.read(stops, 1)
                break
            except BlockingIOError:
                pass
    os.write(tells, bytes(8))
    signal.pause()


say(port=port)
for [command] in commands():
    if command == "go":
        break
    probed = pair(listener)
    say(probe=port_of(probed[0]))
say(go=port)
parent = os.getpid()
reports, tells = os.pipe()
stops, stop = os.pipe()
opener = os.fork()
if opener == 0:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        open_all()
    finally:
        os._exit(0)
os.set_blocking(reports, False)
listener.settimeout(0.05)
count, kept, asked, is_over = 0, [], False, False
while True:
    for _ in range(200):
        try:
            server, _ = listener.accept()
        except TimeoutError:
            break
        server.settimeout(None)
        if server.recv(1):
            kept.append(server)
        else:
            server.close()
    try:
        told = os.read(reports, 1 << 16)[-8:]
        is_over = told == bytes(8)
        count = count if is_over else int.from_bytes(told, "little")
    except BlockingIOError:
        pass
    if asked and is_over:
        say(kept=len(kept))
        asked = False
    if ended_within(0):
        command = sys.stdin.readline().strip()
        if command == "stop":
            os.write(stop, b".")
            asked = True
        elif command:
            say(count=count)
        else:
            break
os.kill(opener, signal.SIGKILL)
