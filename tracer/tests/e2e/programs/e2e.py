"""Shared by the programs: each says what it did as JSON, and ends at the end of
its standard input, so that none outlives the test."""

import json
import select
import socket
import sys


def say(**facts):
    """Prints one line of JSON at once."""
    print(json.dumps(facts), flush=True)


def commands():
    """The test's commands, one by one, until it has no more."""
    for line in sys.stdin:
        yield line.split()


def wait_for_end():
    """Holds everything as it is until the test is done."""
    for _ in sys.stdin:
        pass


def ended_within(seconds):
    """Whether standard input ended meanwhile; paces loops."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def listen(address="127.0.0.1", family=socket.AF_INET, backlog=512, port=0):
    """A listener, on a free port if on none in particular."""
    listener = socket.socket(family)
    listener.bind((address, port))
    listener.listen(backlog)
    return listener


def port_of(listener):
    return listener.getsockname()[1]


def pair(listener, address="127.0.0.1"):
    """A connection to `listener`: the client's end and the server's."""
    client = socket.create_connection((address, port_of(listener)))
    server, _ = listener.accept()
    return client, server
