"""One connection's life: opened, then a random walk of legal acts, then ended or
abandoned. After each act the kernel must be where the model is."""

import errno
import os
import random
import socket
import time

import kernel
import tcp
from endings import Endings
from openings import Openings, family_of

# How long the kernel may take to do what it must, in seconds.
PATIENCE = 60
# Most that waits unread, in bytes: less than any receive buffer takes.
UNREAD = 32768
# Shortest TCP_USER_TIMEOUT that the kernel knows, in milliseconds.
GIVE_UP = 1


class Walk(Openings, Endings):
    """Random by `seed` and `index` alone, whatever else goes on."""

    def __init__(self, seed, index, here):
        self.index = index
        self.rng = random.Random(f"{seed}/{index}")
        self.here = here
        # What was done, for whoever has to understand a difference.
        self.script = []
        self.sides = []
        self.children = []
        self.listener = None
        self.client = self.server = None

    # -- the whole

    def run(self):
        """Yields between acts: True after one, False while the kernel is waited for."""
        self.listen()
        opening = self.weighted(
            (80, self.open),
            (4, self.refused),
            (1, self.timed_out),
            (2, self.given_up),
            (1, self.to_itself),
        )
        yield from opening()
        long = self.rng.random() < 0.2
        for _ in range(self.rng.randint(5, 25) if long else self.rng.randint(0, 5)):
            yield from self.act()
        if self.rng.random() < 0.06:
            self.note("abandon")
        else:
            yield from self.end()
        for child in list(self.children):
            if not any(holder[0] is child for sock in self.socks() for holder in sock.holders):
                self.leave(child, "exit")
        if self.listener is not None and not self.needs_listener():
            os.close(self.listener)

    def needs_listener(self):
        """Whether the end of the listener would change more than itself."""
        is_queued = any(sock.queued for sock in self.socks())
        return is_queued or any(side.state == tcp.SYN_SENT for side in self.sides)

    def records(self):
        """Of each side: what it was, and how it came to be so."""
        script = [self.index, *self.script]
        return [{"script": script, **side.record()} for side in self.sides]

    # -- means

    def note(self, *words):
        self.script.append(" ".join(map(str, words)))

    def weighted(self, *choices):
        weights, things = zip(*choices)
        return self.rng.choices(things, weights)[0]

    def socks(self):
        return {side.sock for side in self.sides}

    def until(self, is_so, what):
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited for {what}")
            yield False

    def settle(self):
        """Waits until the kernel is where the model is."""
        for side in self.client, self.server:
            if side is not None:
                holder = self.actor(side)
                # A FIN is not acknowledged at once.
                if holder and side.state == tcp.CLOSE_WAIT:
                    self.call(holder, "acknowledge")
                expected = f"{side.role} {side.local} in {side.state}, {side.unread} unread"
                yield from self.until(lambda: self.is_settled(side, holder), expected)
        yield True

    def is_settled(self, side, holder):
        if holder:
            state = tcp.FIN_WAIT2 if side.mini else side.state
            seen, unread = holder[0].call("look", holder[1])
            return seen == state and (seen not in tcp.OPEN or unread == side.unread)
        local, remote = kernel.parse(side.local), kernel.parse(side.remote)
        seen, is_mini = kernel.state_between(family_of(local[0]), local, remote)
        if side.mini and seen == tcp.FIN_WAIT2 and not is_mini:
            side.stays_whole()
        state = tcp.FIN_WAIT2 if side.mini else side.state
        if state == tcp.CLOSE:
            return seen in (None, tcp.TIME_WAIT)
        return seen == state

    def actor(self, side):
        """A holder that can be told what to do, if any."""
        actors = [holder for holder in side.sock.holders if holder[0].acts]
        return self.rng.choice(actors) if actors else None

    def call(self, holder, operation, *arguments):
        """By the holder's main thread or another."""
        process, fd = holder
        if process is self.here and self.rng.random() < 0.3:
            return process.call_by_thread(self.rng, operation, fd, *arguments)
        return process.call(operation, fd, *arguments)

    def someone(self):
        """This process, or one made for the purpose."""
        if self.rng.random() < 0.9:
            return self.here
        return self.fork(self.here, [])

    def fork(self, process, keep):
        child = process.fork(keep)
        self.children.append(child)
        return child

    # -- acts

    def act(self):
        acts = [(0, self.settle, ())]
        if self.listener is not None:
            is_queued = self.server is not None and self.server.sock.queued
            acts += [(8 if is_queued else 0, self.accept, ())]
            if self.client is None or self.client.state != tcp.SYN_SENT:
                acts += [(1, self.close_listener, ())]
        for side in self.client, self.server:
            if side is not None and not side.gone:
                acts += [(weight, act, (side, *more)) for weight, act, *more in self.acts_of(side)]
        weights = [weight for weight, *_ in acts]
        if any(weights):
            _, act, arguments = self.rng.choices(acts, weights)[0]
            yield from act(*arguments)

    def acts_of(self, side):
        """What may be done to a side now, by weight."""
        peer, held = side.peer, side.sock.holders
        if self.actor(side):
            yield 2, self.duplicate
            yield 1, self.inherit
            yield 1, self.pass_on
            yield 1, self.set_linger
            if side.state in (tcp.ESTABLISHED, tcp.CLOSE_WAIT):
                if peer.unread <= UNREAD // 2:
                    yield 8, self.send
                yield 2, self.shutdown, socket.SHUT_WR
            if side.state in tcp.OPEN:
                yield 1, self.shutdown, socket.SHUT_RD
                yield 1, self.shutdown, socket.SHUT_RDWR
                if side.unread:
                    yield 6, self.receive
            if side.state != tcp.SYN_SENT:
                yield 1, self.disconnect
            if side.state == peer_state(side) == tcp.ESTABLISHED and self.actor(peer):
                yield 0.3, self.both_shut_down
                yield 0.5, self.transfer
                if peer.unread <= UNREAD // 2:
                    yield 0.2, self.lose_peer
                if self.may_race(side) and self.may_race(peer):
                    yield 1, self.close_at_once
        if held:
            yield 2, self.let_go

    def may_race(self, side):
        """Whether one close ends it, and without a RST."""
        is_one = len(side.sock.holders) == 1
        return is_one and not side.unread and side.sock.linger != 0

    def send(self, side):
        size = self.weighted((3, 1), (3, self.rng.randint(2, 100)), (1, UNREAD // 2))
        self.note(side.role, "sends", size)
        self.call(self.actor(side), "send", size)
        side.sends(size)
        yield from self.settle()

    def receive(self, side):
        size = self.weighted((3, side.unread), (1, self.rng.randint(1, side.unread)))
        self.note(side.role, "receives", size)
        self.call(self.actor(side), "receive", size)
        side.unread -= size
        yield from self.settle()

    def transfer(self, side):
        """More than the buffers hold."""
        for _ in range(self.rng.randint(2, 12)):
            if side.peer.unread <= UNREAD // 2:
                yield from self.send(side)
            if side.peer.unread:
                yield from self.receive(side.peer)

    def shutdown(self, side, how):
        self.note(side.role, "shutdown", ["RD", "WR", "RDWR"][how])
        self.call(self.actor(side), "shutdown", how)
        side.shut_read |= how != socket.SHUT_WR
        if how != socket.SHUT_RD:
            side.shutdown_write()
        yield from self.settle()

    def set_linger(self, side):
        seconds = self.weighted((4, 0), (1, 5), (1, None))
        self.note(side.role, "linger", seconds)
        self.call(self.actor(side), "linger", seconds)
        side.sock.linger = seconds
        yield from self.settle()

    def duplicate(self, side):
        process, fd = self.actor(side)
        copy = process.call("dup", fd)
        self.note(side.role, "dup", fd, copy)
        side.sock.holders.append((process, copy))
        yield from self.settle()

    def inherit(self, side):
        """A child gets one or both ends."""
        process, fd = self.actor(side)
        kept = [side]
        other = self.server if side is self.client else self.client
        keep = [fd]
        if other is not None and not other.gone and self.rng.random() < 0.3:
            mine = [held for owner, held in other.sock.holders if owner is process]
            if mine:
                keep.append(mine[0])
                kept.append(other)
        child = self.fork(process, keep)
        self.note(process.pid, "forks", child.pid, "with", *keep)
        for side, fd in zip(kept, keep):
            side.sock.holders.append((child, fd))
        yield from self.settle()

    def pass_on(self, side):
        """Over a unix socket, to a new process or another holder."""
        giver = self.actor(side)
        taker = self.someone() if giver[0] is not self.here else self.fork(self.here, [])
        fd = taker.take(giver[0].give(giver[1]))
        self.note(giver[0].pid, "passes", giver[1], "to", taker.pid, "as", fd)
        side.sock.holders.append((taker, fd))
        if self.rng.random() < 0.7:
            yield from self.release(giver)
        else:
            yield from self.settle()

    def disconnect(self, side):
        """connect(AF_UNSPEC), and perhaps another connection."""
        self.note(side.role, "disconnect")
        self.call(self.actor(side), "disconnect")
        side.aborts()
        yield from self.settle()
        others = self.server if side is self.client else self.client
        if self.listener is None or (others and others.sock.queued) or self.rng.random() < 0.3:
            return
        yield from self.wind_up(others)
        # Another end may have gone with the process that held both.
        if self.actor(side):
            side.gone = True
            yield from self.open(side.sock)

    def wind_up(self, side):
        """Closes what is left of a connection before another takes its place."""
        while side is not None and side.sock.holders:
            yield from self.release(side.sock.holders[0])

    def both_shut_down(self, side):
        """At the same time: both FINs are under way."""
        peer = side.peer
        self.note("both shut down,", side.role, "first")
        ours, theirs = self.actor(side), self.actor(peer)
        ours[0].call("deafen", ours[1])
        theirs[0].call("shutdown", theirs[1], socket.SHUT_WR)
        ours[0].call("shutdown", ours[1], socket.SHUT_WR)
        yield from self.until(lambda: theirs[0].call("look", theirs[1])[0] == tcp.CLOSING, "CLOSING")
        ours[0].call("hear", ours[1])
        for end, second in (side, tcp.FIN_WAIT2), (peer, tcp.CLOSING):
            end.ends("local")
            end.received += 1
            end.lingers = tcp.TIME_WAIT
            for state in tcp.FIN_WAIT1, second, tcp.TIME_WAIT, tcp.CLOSE:
                end.enter(state)
        yield from self.settle()

    def lose_peer(self, side):
        """The wire is cut; the sender gives up, or keepalive does."""
        ours, theirs = self.actor(side), self.actor(side.peer)
        # What is not acknowledged now never is, and holds back all that follows.
        ours[0].call("acknowledge", ours[1])
        nothing_waits = lambda: theirs[0].call("unacknowledged", theirs[1]) == 0
        yield from self.until(nothing_waits, "the acknowledgement")
        theirs[0].call("deafen", theirs[1])
        resets = self.rng.random() >= 0.8
        if not resets:
            size = self.rng.randint(1, 1000)
            self.note(side.role, "sends", size, "in vain")
            ours[0].call("set_tcp", ours[1], socket.TCP_USER_TIMEOUT, GIVE_UP)
            ours[0].call("send", ours[1], size)
            side.sent += size
        else:
            self.note(side.role, "keepalive in vain")
            before = theirs[0].call("dropped", theirs[1])
            ours[0].call("keepalive", ours[1])
            side.reset_by = "local"
        yield from self.until(lambda: ours[0].call("look", ours[1])[0] == tcp.CLOSE, "the time-out")
        side.ends("timeout")
        side.dies(errno.ETIMEDOUT)
        if resets:
            # The reset is on its way still: it is to be dropped like the probes.
            all_dropped = before + ours[0].call("probes", ours[1]) + 1
            is_deaf = lambda: theirs[0].call("dropped", theirs[1]) >= all_dropped
            yield from self.until(is_deaf, "the reset to be dropped")
        ours[0].call("set_tcp", ours[1], socket.TCP_USER_TIMEOUT, 0)
        theirs[0].call("hear", theirs[1])
        yield from self.settle()

def peer_state(side):
    return side.peer and side.peer.state
