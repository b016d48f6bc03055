"""actors [ipv6] [pinned]: a client and a server, a process each, on an address that
nobody else uses, or on ::1; pinned to two CPUs if so told. Says both process ids,
the address and the port; then does with their connections what each command says, and says which that were: the
client's addresses, and the fds of both."""

import json
import os
import socket
import struct
import sys
import time

from e2e import commands, listen, port_of, say

if "ipv6" in sys.argv:
    FAMILY, ADDRESS = socket.AF_INET6, "::1"
else:
    # Process ids have 22 bits at most.
    high, middle, low = os.getpid().to_bytes(3, "big")
    FAMILY, ADDRESS = socket.AF_INET, f"127.{64 + high}.{middle}.{low}"
IP_BIND_ADDRESS_NO_PORT = 24
CPUS = sorted(os.sched_getaffinity(0))


def become(name, cpu):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
    if "pinned" in sys.argv:
        os.sched_setaffinity(0, {cpu})


def close(held):
    while held:
        held.pop(0).close()


def reset(held):
    for connection in held:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(held)


def wait(held):
    """Until the other side has ended them."""
    for connection in held:
        try:
            connection.recv(1)
        except ConnectionResetError:
            pass


def serve(orders):
    listener = listen(ADDRESS, FAMILY, backlog=4096)
    held = []

    def accept(count):
        accepted = [listener.accept()[0] for _ in range(count)]
        held.extend(accepted)
        return [connection.fileno() for connection in accepted]

    def drop():
        oldest = held.pop(0)
        wait([oldest])
        oldest.close()

    deeds = {
        "port": lambda: port_of(listener),
        "accept": accept,
        "drop": drop,
        "close": lambda: close(held),
        "reset": lambda: reset(held),
        "wait": lambda: wait(held),
    }
    while line := orders.readline():
        deed, *arguments = json.loads(line)
        answer(orders, deeds[deed](*arguments))


def answer(stream, value):
    stream.write(json.dumps(value) + "\n")
    stream.flush()


ours, theirs = socket.socketpair()
server_pid = os.fork()
if server_pid == 0:
    ours.close()
    become("actor-server", CPUS[-1])
    serve(theirs.makefile("rw"))
    os._exit(0)
theirs.close()
become("actor-client", CPUS[0])
orders = ours.makefile("rw")


def server(*order):
    answer(orders, order)
    return json.loads(orders.readline())


PORT = server("port")
held = []


def name_of(connection):
    host, port = connection.getsockname()[:2]
    return f"[{host}]:{port}" if FAMILY == socket.AF_INET6 else f"{host}:{port}"


def connect(source=0, blocking=True):
    client = socket.socket(FAMILY)
    if source:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((ADDRESS, source))
    if blocking:
        client.connect((ADDRESS, PORT))
    else:
        client.setblocking(False)
        client.connect_ex((ADDRESS, PORT))
        client.setblocking(True)
    held.append(client)
    return client


def describe(clients, servers=()):
    return {
        "names": [name_of(client) for client in clients],
        "client": [client.fileno() for client in clients],
        "server": list(servers),
    }


def open_connections(count=1, blocking=True):
    clients, servers = [], []
    for _ in range(count):
        clients.append(connect(blocking=blocking))
        servers += server("accept", 1)
    return describe(clients, servers)


def end(how, first):
    """FIRST lets go of all of its own, then the other side does."""
    if first == "client":
        {"close": close, "reset": reset}[how](held)
        server("wait")
        server("close")
    else:
        server(how)
        wait(held)
        close(held)


def churn(count):
    """One after the other; the two sides take turns to close first."""
    told = describe([])
    for turn in range(count):
        for kind, values in open_connections().items():
            told[kind] += values
        end("close", ("client", "server")[turn % 2])
    return told


def again(count):
    """One after the other from the same port, with the times around each step."""
    with socket.socket(FAMILY) as free:
        free.bind((ADDRESS, 0))
        source = free.getsockname()[1]
    told = []
    for _ in range(count):
        times = [time.time_ns()]
        connect(source)
        times.append(time.time_ns())
        server("accept", 1)
        times.append(time.time_ns())
        reset(held)
        times.append(time.time_ns())
        server("wait")
        server("close")
        told.append(times)
    return {"times": told}


def refused():
    with socket.socket(FAMILY) as unused, socket.socket(FAMILY) as client:
        unused.bind((ADDRESS, 0))
        client.bind((ADDRESS, 0))
        error = client.connect_ex(unused.getsockname())
        return {**describe([client]), "error": error}


def drop():
    """Ends the oldest, the client first."""
    oldest = held.pop(0)
    said = describe([oldest])
    oldest.close()
    server("drop")
    return said


def duplicate():
    """Opens one, keeps it by another fd, and opens the next by the same fd."""
    first = open_connections()
    kept = held[0].dup()
    held.pop(0).close()
    second = open_connections()
    held.insert(0, kept)
    return {"first": first, "second": second, "kept": kept.fileno()}


def close_files(count):
    for _ in range(count):
        os.close(os.open("/dev/null", os.O_RDONLY))
    return {"closed": count}


say(client=os.getpid(), server=server_pid, address=ADDRESS, port=PORT)
for command, *arguments in commands():
    if command == "open":
        said = open_connections(int(arguments[0]))
    elif command == "nonblocking":
        said = open_connections(blocking=False)
    elif command == "connect":
        said = describe([connect() for _ in range(int(arguments[0]))])
    elif command == "accept":
        said = {"server": server("accept", int(arguments[0]))}
    elif command in ("close", "reset"):
        end(command, arguments[0])
        said = {"held": len(held)}
    elif command == "drop":
        said = drop()
    elif command == "hang-up":
        server("close")
        wait(held)
        said = {"held": len(held)}
    elif command == "churn":
        said = churn(int(arguments[0]))
    elif command == "again":
        said = again(int(arguments[0]))
    elif command == "refused":
        said = refused()
    elif command == "duplicate":
        said = duplicate()
    elif command == "files":
        said = close_files(int(arguments[0]))
    elif command == "exit":
        say(exiting=True)
        os._exit(0)
    say(**said)
