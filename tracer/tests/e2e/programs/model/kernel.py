"""What is done to sockets, by whichever process or thread is told to. Takes and
returns only what JSON can carry."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import termios
import threading

# include/uapi/asm-generic/socket.h
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
SO_MEMINFO = 55
SO_COOKIE = 57

# include/uapi/linux/netlink.h, sock_diag.h
NETLINK_SOCK_DIAG = 4
# idiag_timer of a mini-socket (inet_twsk_diag_fill, net/ipv4/inet_diag.c)
TIME_WAIT_TIMER = 3
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1

# include/net/tcp_states.h
STATES = [
    None,
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
]

# Those that the driver may run on, before its workers each keep to one.
CPUS = sorted(os.sched_getaffinity(0))

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def borrowed(fd):
    """The socket behind an fd, which stays open."""
    borrowed = socket.socket(fileno=fd)
    try:
        yield borrowed
    finally:
        borrowed.detach()


def name(address):
    """As tcpleak and `ss` write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(name):
    """The address of a name."""
    host, port = name.rsplit(":", 1)
    return host.strip("[]"), int(port)


def who():
    """The process and the thread that this runs in."""
    return {"pid": os.getpid(), "tid": threading.get_native_id()}


def move(cpu):
    os.sched_setaffinity(0, [cpu])


def cookie(fd):
    with borrowed(fd) as sock:
        return struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


def listen(family, host, both):
    """A listener on a free port; `both`: an IPv6 one for both families."""
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        listener.bind((host, 0))
        listener.listen(16)
        return listener.getsockname()[1], listener.detach()


def make(family, source):
    """A socket that is to connect, bound to `source` unless that is None."""
    with socket.socket(family) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.bind((source, 0))
        return cookie(sock.fileno()), sock.detach()


def own_port(fd):
    with borrowed(fd) as sock:
        return sock.getsockname()[1]


def connect(fd, host, port, blocking):
    """Connects; says as whom, from where to where, and with which error."""
    with borrowed(fd) as sock:
        sock.setblocking(blocking)
        error = sock.connect_ex((host, port))
        sock.setblocking(True)
        local = name(sock.getsockname())
    return {**who(), "fd": fd, "error": error, "local": local, "remote": name((host, port))}


def accept(fd):
    """Accepts; says as whom, from where to where, and the new fd."""
    with borrowed(fd) as listener:
        sock, remote = listener.accept()
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local = name(sock.getsockname())
        said = {**who(), "cookie": cookie(sock.fileno()), "local": local, "remote": name(remote)}
        return {**said, "fd": sock.detach()}


def disconnect(fd):
    """connect(2) with AF_UNSPEC."""
    address = struct.pack("H14x", socket.AF_UNSPEC)
    if libc.connect(fd, address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "connect(AF_UNSPEC)")


def look(fd):
    """The state, and the bytes not read."""
    with borrowed(fd) as sock:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    unread = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
    return STATES[state], unread


def unacknowledged(fd):
    """Bytes sent, or waiting to be, that the peer has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0]


def acknowledge(fd):
    """Sends an acknowledgement that the kernel has put off."""
    set_tcp(fd, socket.TCP_QUICKACK, 1)


def state_between(family, local, remote):
    """The state of the socket with these ends, and whether it is a mini-socket; None
    if there is none. What no fd leads to is asked for by sock_diag."""
    # struct inet_diag_req_v2, include/uapi/linux/inet_diag.h
    ends = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (local, remote))
    ports = struct.pack("!HH", local[1], remote[1])
    no_cookie = b"\xff" * 8
    request = struct.pack("BBBxI", family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    request += ports + ends + bytes(4) + no_cookie
    header = struct.pack("IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(header + request)
        answer = netlink.recv(4096)
    if struct.unpack_from("H", answer, 4)[0] != SOCK_DIAG_BY_FAMILY:
        return None, False
    state = STATES[answer[17]]
    # Where there is no such connection, the listener is found.
    return None if state == "LISTEN" else state, answer[18] == TIME_WAIT_TIMER


def shutdown(fd, how):
    with borrowed(fd) as sock:
        sock.shutdown(how)


def send(fd, size):
    """Sends all, even where the peer answers with a reset."""
    sent = os.write(fd, bytes(size))
    if sent != size:
        raise OSError(f"{sent} of {size} bytes sent")


def receive(fd, size):
    while size:
        size -= len(os.read(fd, size))


def linger(fd, seconds):
    """Sets SO_LINGER, or unsets it for None."""
    with borrowed(fd) as sock:
        value = struct.pack("ii", seconds is not None, seconds or 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


def set_tcp(fd, option, value):
    with borrowed(fd) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def keepalive(fd):
    """The shortest: given up on after two seconds."""
    for option in socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT:
        set_tcp(fd, option, 1)
    # Last: one that has been idle for long is probed at once, at the interval then set.
    with borrowed(fd) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def probes(fd):
    """How many keepalive probes it has sent that were not answered."""
    # tcpi_probes of struct tcp_info, include/uapi/linux/tcp.h
    with borrowed(fd) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[3]


def dropped(fd):
    """How many segments that came in it has dropped."""
    # SK_MEMINFO_DROPS, the last of them: include/uapi/linux/sock_diag.h
    with borrowed(fd) as sock:
        return struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8]


def deafen(fd):
    """Drops all that comes in, as a cut wire does: a filter that lets 0 bytes through."""
    with borrowed(fd) as sock:
        instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(instruction))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def hear(fd):
    with borrowed(fd) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


OPERATIONS = {
    function.__name__: function
    for function in (
        listen,
        make,
        own_port,
        connect,
        accept,
        disconnect,
        look,
        move,
        acknowledge,
        unacknowledged,
        shutdown,
        send,
        receive,
        linger,
        set_tcp,
        keepalive,
        probes,
        dropped,
        deafen,
        hear,
        os.dup,
        os.close,
    )
}
