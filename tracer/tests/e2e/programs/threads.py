"""threads COUNT: as many threads, each with a name of its own, open a connection
that the server hangs up on and that nobody closes. Says the client's fds."""

import ctypes
import socket
import sys
import threading

from e2e import listen, port_of, say, wait_for_end

PR_SET_NAME = 15
libc = ctypes.CDLL(None)
listener = listen()
held = []


def work(number):
    libc.prctl(PR_SET_NAME, b"worker-%d" % number, 0, 0, 0)
    connection = socket.create_connection(("127.0.0.1", port_of(listener)))
    connection.sendall(b"ask")
    while connection.recv(100):
        pass
    held.append(connection)


for number in range(int(sys.argv[1])):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    server, _ = listener.accept()
    server.recv(100)
    server.sendall(b"answer")
    server.close()
    thread.join()
say(fds=sorted(connection.fileno() for connection in held))
wait_for_end()
