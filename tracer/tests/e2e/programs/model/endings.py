"""How programs let go of connections."""

import kernel


class Endings:
    """Of a walk."""

    def let_go(self, side):
        yield from self.release(self.rng.choice(side.sock.holders))

    def release(self, holder):
        """One fd is closed, by whatever way there is; others may go with it."""
        process, fd = holder
        ways = []
        if process.acts:
            ways += [(4, self.close)]
        if process is not self.here and self.may_leave(process):
            ways += [(2, self.exit), (2, self.kill)]
            if process.acts:
                ways += [(1, self.execute)]
        if not ways:
            return
        yield from self.weighted(*ways)(holder)
        yield from self.settle()

    def may_leave(self, process):
        """Whether at most one open connection ends with this process: the order in
        which the kernel closes several is its own affair."""
        lasts = [
            sock
            for sock in self.socks()
            if sock.holders and all(owner is process for owner, _ in sock.holders)
        ]
        return len(lasts) <= 1

    def close(self, holder):
        self.note(holder[0].pid, "closes", holder[1])
        self.call(holder, "close")
        self.lose([holder], "local")
        return ()

    def exit(self, holder):
        self.leave(holder[0], "exit")
        return ()

    def kill(self, holder):
        self.leave(holder[0], "kill")
        return ()

    def leave(self, process, how):
        self.note(process.pid, "exits" if how == "exit" else "is killed")
        if how == "exit":
            process.exit()
        else:
            process.kill()
        self.children.remove(process)
        held = [holder for sock in self.socks() for holder in sock.holders]
        self.lose([holder for holder in held if holder[0] is process], "exit")

    def execute(self, holder):
        """exec(2) keeps one fd, or none."""
        process, fd = holder
        keep = [fd] if self.rng.random() < 0.7 else []
        self.note(process.pid, "execs and keeps", *keep)
        process.execute(keep)
        held = [holder for sock in self.socks() for holder in sock.holders]
        self.lose([held for held in held if held[0] is process and held[1] not in keep], "local")
        return ()

    def lose(self, holders, by):
        for sock in self.socks():
            before = sock.holders
            sock.holders = [holder for holder in before if holder not in holders]
            if before and not sock.holders:
                side = [side for side in self.sides if side.sock is sock][-1]
                side.close(by)

    def end(self):
        """Every fd is closed, in whatever order; at times at the same moment."""
        while True:
            held = [holder for sock in self.socks() for holder in sock.holders]
            if not held:
                break
            yield from self.release(self.rng.choice(sorted(held, key=lambda h: (h[0].pid, h[1]))))

    def close_at_once(self, side):
        """Both ends, by processes on different CPUs: which FIN is first is the
        kernel's affair."""
        ends = []
        for cpu, end in zip(kernel.CPUS * 2, (side, side.peer)):
            process, fd = end.sock.holders[0]
            child = self.fork(process, [fd])
            process.call("close", fd)
            end.sock.holders = [(child, fd)]
            child.call("move", cpu)
            ends.append((child, fd))
        self.note("both close at once")
        for child, fd in ends:
            child.begin("close", fd)
        for child, _ in ends:
            yield from self.until(child.is_done, "close")
            child.finish()
        for end in side, side.peer:
            end.sock.holders = []
            end.closes_at_once()
        yield from self.settle()
