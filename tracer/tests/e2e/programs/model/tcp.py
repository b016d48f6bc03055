"""What the kernel does with the two ends of a connection: the model that the
tracer's record must equal. By net/ipv4/tcp.c, tcp_input.c and tcp_minisocks.c,
for packets that arrive at once and in order. Pure."""

import errno

CLOSE = "CLOSE"
CLOSE_WAIT = "CLOSE_WAIT"
CLOSING = "CLOSING"
ESTABLISHED = "ESTABLISHED"
FIN_WAIT1 = "FIN_WAIT1"
FIN_WAIT2 = "FIN_WAIT2"
LAST_ACK = "LAST_ACK"
SYN_RECV = "SYN_RECV"
SYN_SENT = "SYN_SENT"
TIME_WAIT = "TIME_WAIT"

OPEN = (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2)


class Sock:
    """A socket of the kernel, which may have several connections in turn."""

    def __init__(self, host, cookie=None):
        # Where it finds the listener: by its own family.
        self.host = host
        self.cookie = cookie
        self.connections = 0
        # (process, fd) that hold it.
        self.holders = []
        # Waits in its listener's queue.
        self.queued = False
        self.linger = None


class Side:
    """One end of one connection."""

    def __init__(self, role, sock, *history):
        self.role = role
        self.sock = sock
        self.generation = sock.connections
        sock.connections += 1
        self.peer = None
        self.local = self.remote = None
        # Who connected or accepted: pid, tid, fd.
        self.opener = None
        self.connect_errno = None
        self.state = None
        self.history = []
        self.sent = self.received = self.unread = 0
        self.shut_read = False
        self.closed_by = self.reset_by = self.error = self.lingers = None
        # The kernel keeps a mini-socket in FIN_WAIT2, until the peer's next packet.
        self.mini = False
        # The socket is freed, or used for another connection.
        self.gone = False
        # An orphan that kept its socket; the kernel frees it when it likes.
        self.whole = False
        # Other ways that the kernel may legally take, each what it changes.
        self.otherwise = []
        for state in history:
            self.enter(state)

    def enter(self, state):
        self.state = state
        self.history.append(state)

    def ends(self, by):
        self.closed_by = self.closed_by or by

    def dies(self, error):
        """The kernel ends it by an error."""
        self.error = error
        self.enter(CLOSE)

    def shutdown_write(self, by="local"):
        if self.state == ESTABLISHED:
            self.ends(by)
            self.enter(FIN_WAIT1)
            if self.peer.receives_fin():
                self.enter(FIN_WAIT2)
            else:
                self.receives_reset()
        elif self.state == CLOSE_WAIT:
            self.ends(by)
            self.enter(LAST_ACK)
            if self.peer.receives_fin():
                self.enter(CLOSE)
            else:
                self.receives_reset()

    def close(self, by="local"):
        """The last fd is closed."""
        self.gone = True
        if self.state == SYN_SENT:
            self.ends(by)
            self.enter(CLOSE)
        elif self.state in OPEN and (self.unread or self.sock.linger == 0):
            self.aborts(by)
        else:
            self.shutdown_write(by)
            if self.state == FIN_WAIT2:
                self.enter(CLOSE)
                self.lingers = FIN_WAIT2
                self.mini = True

    def stays_whole(self):
        """Where the acknowledgement of its FIN comes while the closing task still has
        the lock, an orphan keeps its socket, and a timer (`tcp_rcv_state_process`)."""
        self.history.pop()
        self.state = FIN_WAIT2
        self.lingers = None
        self.mini = False
        self.shut_read = True
        self.whole = True

    def closes_at_once(self):
        """Both ends are closed at the same moment: every way that this may go."""
        waits = {"lingers": TIME_WAIT, "rx_bytes": self.received + 1}
        before = list(self.history)
        self.otherwise = [
            {**waits, "history": [*before, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE]},
            {**waits, "history": [*before, FIN_WAIT1, CLOSING, TIME_WAIT, CLOSE]},
            # The peer's FIN came first, or between the call and our own.
            *(
                {**waits, "history": [*before, CLOSE_WAIT, LAST_ACK, CLOSE]}
                | {"lingers": None, "closed_by": by}
                for by in ("peer", "local")
            ),
        ]
        self.gone = True
        self.ends("local")
        for state in FIN_WAIT1, FIN_WAIT2, CLOSE:
            self.enter(state)
        self.lingers = FIN_WAIT2

    def aborts(self, by="local"):
        """Ends with a RST: close with unread data or linger 0, connect(AF_UNSPEC),
        the listener's end."""
        if self.state in OPEN:
            self.ends(by)
            self.reset_by = "local"
            self.enter(CLOSE)
            self.peer.receives_reset()
        elif self.state == SYN_SENT:
            self.ends(by)
            self.enter(CLOSE)

    def sends(self, size):
        self.sent += size
        if not self.peer.receives(size):
            self.receives_reset()

    # What the peer's packets do. Each returns False where they are answered
    # with a RST.

    def receives(self, size):
        if self.state == FIN_WAIT2 and self.shut_read:
            self.reset_by = "local"
            self.dies(errno.ECONNRESET)
            return False
        if self.state not in OPEN:
            self.mini = False
            return False
        self.received += size
        self.unread += size
        return True

    def receives_fin(self):
        if self.state == ESTABLISHED:
            self.ends("peer")
            self.received += 1
            self.enter(CLOSE_WAIT)
            return True
        if self.state == FIN_WAIT2:
            self.received += 1
            self.enter(TIME_WAIT)
            self.enter(CLOSE)
            self.lingers = TIME_WAIT
            return True
        was_mini, self.mini = self.mini, False
        return was_mini

    def receives_reset(self):
        if self.state == CLOSE:
            self.mini = False
            return
        self.ends("reset")
        self.reset_by = self.reset_by or "peer"
        errors = {CLOSE_WAIT: errno.EPIPE, SYN_SENT: errno.ECONNREFUSED}
        self.dies(errors.get(self.state, errno.ECONNRESET))

    def record(self):
        """What the tracer must have recorded."""
        cookie = self.sock.cookie
        if self.whole and self.state == FIN_WAIT2:
            # The timer is out, or not yet.
            self.otherwise = [{"history": [*self.history, CLOSE], "reset_by": "local"}]
        way = {
            "history": self.history,
            "closed_by": self.closed_by,
            "reset_by": self.reset_by,
            "error": self.error,
            "lingers": self.lingers,
            "tx_bytes": self.sent,
            "rx_bytes": self.received,
        }
        return {
            "role": self.role,
            "local": self.local,
            "remote": self.remote,
            "id": cookie and f"{cookie:x}.{self.generation}",
            "opener": self.opener,
            "connect_errno": self.connect_errno,
            "let_go": self.gone,
            "gone": None if self.whole and self.state == FIN_WAIT2 else self.gone,
            "holders": [] if self.gone else sorted({holder[0].pid for holder in self.sock.holders}),
            "ways": [way, *({**way, **other} for other in self.otherwise)],
        }
