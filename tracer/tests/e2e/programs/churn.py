"""churn PER_SECOND: opens connections and closes them first, at most that many a
second, until the end. Says the port, and at the end how many."""

import socket
import sys

from e2e import ended_within, listen, port_of, say

pause = 1 / float(sys.argv[1])
listener = listen()
say(port=port_of(listener))
count = 0
while not ended_within(pause):
    client = socket.create_connection(("127.0.0.1", port_of(listener)))
    server, _ = listener.accept()
    client.close()
    server.recv(1)
    server.close()
    count += 1
say(count=count)
