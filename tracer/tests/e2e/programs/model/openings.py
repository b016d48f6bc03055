"""How connections begin, or fail to."""

import errno
import os
import socket

import kernel
import tcp
from hands import Child

ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


class Openings:
    """Of a walk."""

    def listen(self):
        """Addresses that no other connection has: one of the two ends is known by
        them alone."""
        low = f"{self.index >> 16 & 15}.{self.index >> 8 & 255}.{self.index & 255}"
        hosts = {
            4: f"127.1{low}",
            6: f"fd00::{self.index + 1:x}",
            "mapped": f"::ffff:127.1{low}",
        }
        # As the client sees it, and as the server.
        ends = self.rng.choice([(4, 4), (4, "mapped"), ("mapped", 4), ("mapped", "mapped"), (6, 6)])
        client, server = ends
        self.host, self.server_host = hosts[client], hosts[server]
        self.family = family_of(self.host)
        family = family_of(self.server_host)
        both = server == "mapped"
        host = self.rng.choice([self.server_host, ANY[family]])
        self.port, self.listener = self.here.call("listen", family, host, both)
        self.note("listen", host, self.port)

    def make(self, bound):
        """A socket that is to be a client's."""
        process = self.someone()
        cookie, fd = process.call("make", self.family, self.host if bound else None)
        sock = tcp.Sock(self.host, cookie)
        sock.holders.append((process, fd))
        return sock

    def connect(self, sock, port, blocking=True):
        """The client's side as connect(2) leaves it."""
        holder = self.rng.choice([holder for holder in sock.holders if holder[0].acts])
        said = self.call(holder, "connect", sock.host, port, blocking)
        side = tcp.Side("client", sock, tcp.SYN_SENT)
        side.connect_errno = said["error"]
        side.opener = {key: said[key] for key in ("pid", "tid", "fd")}
        side.local, side.remote = said["local"], said["remote"]
        self.sides.append(side)
        self.client, self.server = side, None
        self.note("connect", said)
        return side

    def open(self, sock=None):
        """A connection to the listener, accepted or not yet."""
        blocking = self.rng.random() < 0.7
        sock = sock or self.make(self.rng.random() < 0.5)
        client = self.connect(sock, self.port, blocking)
        expected = 0 if blocking else errno.EINPROGRESS
        if client.connect_errno != expected:
            raise OSError(client.connect_errno, "connect")
        client.enter(tcp.ESTABLISHED)
        server = tcp.Side("server", tcp.Sock(self.server_host), tcp.SYN_RECV, tcp.ESTABLISHED)
        server.sock.queued = True
        server.local, server.remote = self.mapped(client.remote), self.mapped(client.local)
        client.peer, server.peer = server, client
        self.sides.append(server)
        self.server = server
        yield from self.settle()
        if self.rng.random() < 0.85:
            yield from self.accept()

    def mapped(self, name):
        """An address as the server sees it, until accept says so itself."""
        host, port = kernel.parse(name)
        host = host.removeprefix("::ffff:")
        if self.server_host.startswith("::ffff:"):
            host = f"::ffff:{host}"
        return kernel.name((host, port))

    def accept(self):
        server = self.server
        process = self.someone()
        listener = self.listener
        if isinstance(process, Child):
            listener = process.take(os.dup(listener))
        said = self.call((process, listener), "accept")
        if isinstance(process, Child):
            process.call("close", listener)
        server.sock.queued = False
        server.sock.cookie = said["cookie"]
        server.sock.holders.append((process, said["fd"]))
        server.opener = {key: said[key] for key in ("pid", "tid", "fd")}
        server.local, server.remote = said["local"], said["remote"]
        self.note("accept", said)
        yield from self.settle()

    def close_listener(self):
        self.note("close the listener")
        os.close(self.listener)
        self.listener = None
        if self.server and self.server.sock.queued:
            self.server.aborts()
            self.server.gone = True
            self.server.sock.queued = False
        yield from self.settle()

    def refused(self):
        """To a port that nobody listens on."""
        # Bound by another and not listened on, so that nobody else takes it.
        with socket.socket(self.family) as other:
            other.bind((self.host, 0))
            client = self.connect(self.make(True), other.getsockname()[1])
        client.receives_reset()
        yield from self.after_failure(client)

    def timed_out(self):
        """To a listener that hears nothing."""
        self.note("the listener hears nothing")
        self.here.call("deafen", self.listener)
        sock = self.make(True)
        process, fd = sock.holders[0]
        process.call("set_tcp", fd, socket.TCP_SYNCNT, 1)
        client = self.connect(sock, self.port, blocking=False)
        yield from self.until(lambda: process.call("look", fd)[0] == tcp.CLOSE, "the time-out")
        client.ends("timeout")
        client.dies(errno.ETIMEDOUT)
        self.here.call("hear", self.listener)
        yield from self.after_failure(client)

    def given_up(self):
        """The same, but the client does not wait for the time-out."""
        self.note("the listener hears nothing")
        self.here.call("deafen", self.listener)
        client = self.connect(self.make(True), self.port, blocking=False)
        yield from self.settle()
        if self.rng.random() < 0.2:
            return
        how = self.rng.choice(["close", "disconnect", "shutdown"])
        if how == "close":
            yield from self.release(client.sock.holders[0])
            return
        if how == "disconnect":
            self.call(self.actor(client), "disconnect")
        else:
            self.call(self.actor(client), "shutdown", socket.SHUT_RDWR)
        self.note(how)
        client.aborts()
        # Not before: the second SYN of a slow machine would be answered.
        self.here.call("hear", self.listener)
        yield from self.after_failure(client)

    def after_failure(self, client):
        """The socket may be used again."""
        yield from self.settle()
        if self.rng.random() < 0.5:
            # connect(2) says the last failure once more, unless it is asked for.
            self.call(self.actor(client), "disconnect")
            self.note("disconnect")
            client.gone = True
            yield from self.open(client.sock)

    def to_itself(self):
        """A simultaneous open: the client's own SYN comes in."""
        sock = self.make(True)
        process, fd = sock.holders[0]
        port = process.call("own_port", fd)
        client = self.connect(sock, port)
        for state in tcp.SYN_RECV, tcp.ESTABLISHED:
            client.enter(state)
        yield from self.settle()
        size = self.rng.randint(1, 1000)
        process.call("send", fd, size)
        process.call("receive", fd, size)
        client.sent, client.received = size, size + 1
        self.note("close")
        process.call("close", fd)
        sock.holders.clear()
        client.ends("local")
        for state in tcp.FIN_WAIT1, tcp.CLOSING, tcp.TIME_WAIT, tcp.CLOSE:
            client.enter(state)
        client.lingers = tcp.TIME_WAIT
        client.gone = True
        self.client = None


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET
