"""Processes and threads that act on sockets when told to."""

import concurrent.futures
import json
import os
import select
import signal
import socket
import traceback

from kernel import OPERATIONS

# Longest message between processes.
MESSAGE = 65536
# How long one may keep the other waiting, in seconds.
PATIENCE = 60


class Here:
    """This process, by its main thread or another."""

    acts = True

    def __init__(self):
        self.pid = os.getpid()
        self.threads = [concurrent.futures.ThreadPoolExecutor(1) for _ in range(2)]

    def call(self, operation, *arguments):
        return OPERATIONS[operation](*arguments)

    def call_by_thread(self, rng, operation, *arguments):
        thread = rng.choice(self.threads)
        return thread.submit(self.call, operation, *arguments).result(PATIENCE)

    def fork(self, keep):
        return Child(*fork(keep))

    def give(self, fd):
        """A copy of an fd, open here; and one's own stays."""
        return os.dup(fd)

    def take(self, fd):
        """Takes an fd over that is open here."""
        return fd


class Child:
    """Another process, at the other end of a unix socket."""

    def __init__(self, pid, control):
        self.pid = pid
        self.control = control
        self.control.settimeout(PATIENCE)
        # Known before the process may end.
        self.end = os.pidfd_open(pid)
        # Whether it can still be told what to do.
        self.acts = True

    def _ask(self, *words, fds=()):
        socket.send_fds(self.control, [json.dumps(words).encode()], fds)
        return self._answer()

    def _answer(self):
        said, fds, _, _ = socket.recv_fds(self.control, MESSAGE, 1)
        if not said:
            raise EOFError(f"process {self.pid} has ended")
        said = json.loads(said)
        for fd in fds:
            # As every other: closed by exec(2), unless told not to.
            os.set_inheritable(fd, False)
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["result"], fds

    def call(self, operation, *arguments):
        return self._ask("call", operation, *arguments)[0]

    def begin(self, operation, *arguments):
        """As `call`, without waiting; `finish` once `is_done`."""
        self.control.send(json.dumps(["call", operation, *arguments]).encode())

    def is_done(self):
        # Not select(2), which knows fds below 1024 only.
        control = select.poll()
        control.register(self.control, select.POLLIN)
        return bool(control.poll(0))

    def finish(self):
        return self._answer()[0]

    def fork(self, keep):
        """Of its own: a grandchild."""
        pid, (control,) = self._ask("fork", keep)
        return Child(pid, socket.socket(fileno=control))

    def give(self, fd):
        return self._ask("give", fd)[1][0]

    def take(self, fd):
        taken, _ = self._ask("take", fds=[fd])
        os.close(fd)
        return taken

    def execute(self, keep):
        """Becomes a shell that holds `keep` and waits; all else is closed by exec(2)."""
        # What the shell itself says: the kernel is done with exec(2) by then.
        self.control.send(json.dumps(["execute", keep]).encode())
        if self.control.recv(MESSAGE) != b"here\n":
            raise RuntimeError(f"process {self.pid} cannot exec")
        self.acts = False

    def exit(self):
        """Ends by itself, and closes nothing before."""
        self.control.close()
        self._wait()

    def kill(self):
        signal.pidfd_send_signal(self.end, signal.SIGKILL)
        self._wait()

    def _wait(self):
        # Readable once its fds are closed: exit_notify comes after exit_files.
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        if not poll.poll(PATIENCE * 1000):
            raise TimeoutError(f"process {self.pid} does not end")
        os.close(self.end)
        self.control.close()


def fork(keep):
    """A process that has only the fds `keep`, and its end of the unix socket. When
    this returns, it has closed its copies of all others."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            serve(theirs, keep)
        finally:
            os._exit(0)
    theirs.close()
    ours.recv(MESSAGE)
    return pid, ours


def serve(control, keep):
    """Does what it is told, until there is nobody to tell it."""
    kept = sorted({0, 1, 2, control.fileno(), *keep})
    for before, after in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")]):
        os.closerange(before + 1, after)
    control.send(b"ready")
    while True:
        said, fds, _, _ = socket.recv_fds(control, MESSAGE, 1)
        if not said:
            return
        command, *arguments = json.loads(said)
        given = []
        try:
            if command == "call":
                operation, *arguments = arguments
                result = OPERATIONS[operation](*arguments)
            elif command == "fork":
                result, grandchild = fork(*arguments)
                given = [grandchild.detach()]
            elif command == "give":
                result, given = None, [os.dup(*arguments)]
            elif command == "take":
                (result,) = fds
                # As every other: closed by exec(2), unless told not to.
                os.set_inheritable(result, False)
            elif command == "execute":
                execute(control, *arguments)
            answer = {"result": result}
        except Exception:
            answer = {"error": traceback.format_exc()}
        socket.send_fds(control, [json.dumps(answer).encode()], given)
        for fd in given:
            os.close(fd)


def execute(control, keep):
    for fd in keep:
        os.set_inheritable(fd, True)
    os.dup2(control.fileno(), 0)
    os.dup2(control.fileno(), 1)
    os.execv("/bin/sh", ["sh", "-c", "echo here; read _"])
