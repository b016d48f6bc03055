"""Starts helpers that get the connection without anybody meaning it."""

import subprocess

import lab

MOST = 40
helpers = []


def work():
    with lab.connect() as sock:
        sock.set_inheritable(True)
        lab.ask(sock)
        if len(helpers) < MOST:
            helpers.append(subprocess.Popen(["sleep", "600"], close_fds=False))


for _ in lab.paced():
    work()
