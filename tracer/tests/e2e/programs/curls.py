"""curls PORT COUNT: runs curl COUNT times, one after the other, or until the end
of standard input for COUNT 0. Says their process ids."""

import subprocess
import sys

from e2e import ended_within, say

port, count = int(sys.argv[1]), int(sys.argv[2])
pids = []
while (len(pids) < count) if count else not ended_within(0.05):
    curl = subprocess.Popen(
        ["curl", "-sS", "-o", "/dev/null", f"http://127.0.0.1:{port}/"],
        stdin=subprocess.DEVNULL,
    )
    pids.append(curl.pid)
    if curl.wait() != 0:
        sys.exit(f"curl failed with {curl.returncode}")
say(pids=pids)
