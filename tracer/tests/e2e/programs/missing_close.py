"""missing_close PORT COUNT SECONDS: makes COUNT requests over SECONDS, after each
of which the server hangs up, and never closes. Says which fds it holds."""

import socket
import sys
import time

from e2e import say, wait_for_end

port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
held = []
for _ in range(count):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    while connection.recv(65536):
        pass
    held.append(connection)
    time.sleep(seconds / count)
say(fds=[connection.fileno() for connection in held])
wait_for_end()
