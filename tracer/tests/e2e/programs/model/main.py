"""model SEED CONNECTIONS: makes that many random connections, does random legal
things with them, and says of each of their sides what the tracer must have
recorded. Run it in a network namespace of its own."""

import concurrent.futures
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback

from hands import Here
from walk import Walk

# Walks that one worker has under way at a time.
OVERLAP = 16


def work(seed, indices, out):
    """Each worker stays on one CPU, and all that it starts with it: packets then
    arrive in the order in which they were sent, whatever the scheduler does."""
    rng = random.Random(f"{seed}/{indices.start}")
    here = Here()
    waiting = list(indices)[::-1]
    walks = {}
    done = []
    while waiting or walks:
        while waiting and len(walks) < OVERLAP:
            walk = Walk(seed, waiting.pop(), here)
            walks[walk] = walk.run()
        moved = False
        for walk, steps in rng.sample(list(walks.items()), len(walks)):
            try:
                step = next(steps, None)
            except Exception:
                out.write(json.dumps({"stuck": walk.script, "why": traceback.format_exc()}) + "\n")
                step = None
                walk.sides = []
            moved |= step is not False
            if step is None:
                del walks[walk]
                done.append(walk)
                for record in walk.records():
                    out.write(json.dumps(record) + "\n")
        if not moved:
            time.sleep(0.001)
    return done


def start(seed, indices, cpu, hold, held):
    """A worker, and what it says. It holds what it abandoned until this process
    ends, and with it the pipe."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os.close(held)
        os.sched_setaffinity(0, [cpu])
        with os.fdopen(writer, "w") as out:
            # Their processes end with the walks.
            kept = work(seed, indices, out)
        os.read(hold, 1)
        del kept
        os._exit(0)
    os.close(writer)
    return os.fdopen(reader)


def pass_on(worker, turn):
    for line in worker:
        # Standard output loses text where two threads fill its buffer at once.
        with turn:
            sys.stdout.write(line)


def main():
    seed, count = sys.argv[1], int(sys.argv[2])
    # Every address of this network is one's own, with no need to add it.
    subprocess.run("ip -6 route add local fd00::/64 dev lo", shell=True, check=True)
    with open("/proc/sys/net/ipv6/ip_nonlocal_bind", "w") as knob:
        knob.write("1")
    # What is abandoned while it connects goes on connecting.
    with open("/proc/sys/net/ipv4/tcp_syn_retries", "w") as knob:
        knob.write("127")
    # Nobody waits for the processes that are forked.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    cpus = sorted(os.sched_getaffinity(0))
    hold, held = os.pipe()
    workers = [start(seed, range(n, count, len(cpus)), cpu, hold, held) for n, cpu in enumerate(cpus)]
    # All at once, so that none waits for a reader.
    with concurrent.futures.ThreadPoolExecutor(len(workers)) as readers:
        turn = threading.Lock()
        list(readers.map(lambda worker: pass_on(worker, turn), workers))
    print(json.dumps({"done": count}), flush=True)
    sys.stdin.read()


main()
