"""Tells a program of the lab where its other end is, how much traffic to make,
and when to stop."""

import os
import socket
import threading
import time

HOST = os.environ.get("LAB_HOST", "127.0.0.1")
PORT = int(os.environ.get("LAB_PORT", "18000"))
RATE = int(os.environ.get("LAB_RATE", "3"))
END = time.monotonic() + int(os.environ.get("LAB_SECONDS", "60"))
REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


def paced(rate=RATE):
    """Yields so often a second, until the program's end."""
    due = time.monotonic()
    while due < END:
        yield
        due += 1 / rate
        time.sleep(max(0, due - time.monotonic()))


def stay():
    """Waits for the program's end, and ends it, blocked threads and all."""
    time.sleep(max(0, END - time.monotonic()))
    os._exit(0)


def begin(run, *arguments):
    """Runs something beside, for as long as the program lasts."""
    threading.Thread(target=run, args=arguments, daemon=True).start()


def connect():
    return socket.create_connection((HOST, PORT))


def listen(backlog=128):
    return socket.create_server(("", PORT), backlog=backlog)


def ask(sock):
    """Makes one exchange; raises where the other end does not play along."""
    sock.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += more(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length:")[1].split()[0]) - len(body)
    while left > 0:
        left -= len(more(sock))


def more(sock):
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the other end hung up")
    return data


def answer(sock):
    """Answers one request; False where the client has hung up."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        data = sock.recv(4096)
        if not data:
            return False
        asked += data
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return True
