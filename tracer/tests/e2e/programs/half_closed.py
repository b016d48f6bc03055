"""half_closed COUNT: shuts down the sending side of COUNT connections and never
closes; the peer keeps silent. Says the listener's port."""

import socket
import sys

from e2e import listen, pair, port_of, say, wait_for_end

listener = listen()
held = [pair(listener) for _ in range(int(sys.argv[1]))]
for client, _ in held:
    client.shutdown(socket.SHUT_WR)
say(port=port_of(listener), fds=[client.fileno() for client, _ in held])
wait_for_end()
