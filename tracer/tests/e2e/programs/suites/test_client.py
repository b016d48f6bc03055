"""Tests of a client: some leak, some do not. Run by the end-to-end tests of `check`."""

import http.client
import http.server
import os
import socket
import threading
import time
import unittest

KEPT = []

# Longer than the grace time, after whatever leaked.
PAUSE = 0.6


def server():
    """Says hello once and hangs up. Returns where it is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as connection:
            connection.sendall(b"hello")

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()


def fetch(address):
    connection = socket.create_connection(address)
    assert connection.recv(100) == b"hello"
    return connection


class Leaking(unittest.TestCase):
    def test_1_forgets(self):
        KEPT.append(fetch(server()))  # LEAK

    def test_2_closes(self):
        with fetch(server()):
            pass
        time.sleep(PAUSE)


class PassedOver(unittest.TestCase):
    def test_one_client_for_each_call(self):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            while True:
                KEPT.append(listener.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        for _ in range(4):
            KEPT.append(socket.create_connection(listener.getsockname()))  # PASSED OVER
            time.sleep(0.3)


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


class Healthy(unittest.TestCase):
    def test_closes(self):
        with fetch(server()):
            time.sleep(PAUSE)

    def test_keeps_one_alive(self):
        service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
        service.daemon_threads = True
        threading.Thread(target=service.serve_forever, daemon=True).start()
        KEPT.append(service)
        client = http.client.HTTPConnection(*service.server_address)
        KEPT.append(client)
        for _ in range(4):
            client.request("GET", "/")
            self.assertEqual(client.getresponse().read(), b"hello")
            time.sleep(0.3)


class Failing(unittest.TestCase):
    def test_fails(self):
        self.fail("as it shall")


class Daemon(unittest.TestCase):
    def test_leaves_its_parents(self):
        address = server()
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                connection = fetch(address)
                time.sleep(PAUSE)
                os._exit(connection.fileno() * 0)
            os._exit(0)
        os.waitpid(child, 0)
        # Nobody's child by now, and not yet at its end.
        time.sleep(2 * PAUSE)
