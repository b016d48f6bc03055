"""Runs a script again and again, as cron or a shell loop does."""

import subprocess
import sys

import lab

SCRIPT = """
import lab
sock = lab.connect()
lab.ask(sock)
"""

for _ in lab.paced():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
