"""uring COUNT: opens that many connections to itself by io_uring, both ends, and
holds them. Says the port, and the fds of both ends."""

import ctypes
import errno
import mmap
import socket
import struct
import sys

from e2e import listen, port_of, say, wait_for_end

# arch/x86/entry/syscalls/syscall_64.tbl, and the same everywhere else
SETUP, ENTER = 425, 426
GETEVENTS = 1
ACCEPT, CONNECT = 13, 16
# include/uapi/linux/io_uring.h
OFF_RINGS, OFF_SQES = 0, 0x10000000
SQE_SIZE, CQE_SIZE = 64, 16

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
    return result


class Ring:
    """One operation at a time."""

    def __init__(self):
        params = bytearray(120)
        self.fd = syscall(SETUP, 2, (ctypes.c_char * 120).from_buffer(params))
        sq_entries, cq_entries = struct.unpack_from("II", params)
        self.sq_tail, self.sq_array = (struct.unpack_from("I", params, 40 + at)[0] for at in (4, 24))
        self.cq_head, self.cqes = (struct.unpack_from("I", params, 80 + at)[0] for at in (0, 20))
        size = max(self.sq_array + 4 * sq_entries, self.cqes + CQE_SIZE * cq_entries)
        self.rings = mmap.mmap(self.fd, size, offset=OFF_RINGS)
        self.sqes = mmap.mmap(self.fd, SQE_SIZE * sq_entries, offset=OFF_SQES)
        self.done = 0
        self.mask = cq_entries - 1

    def run(self, operation, fd, address=0, more=0):
        """Submits, waits, and returns what came of it."""
        sqe = struct.pack("<BBHiQQ", operation, 0, 0, fd, more, address)
        self.sqes[:SQE_SIZE] = sqe.ljust(SQE_SIZE, b"\0")
        self.rings[self.sq_array : self.sq_array + 4] = bytes(4)
        # Of the two entries the first one again: its turn comes every second time.
        tail = struct.unpack_from("I", self.rings, self.sq_tail)[0]
        index = self.sq_array + 4 * (tail & 1)
        self.rings[index : index + 4] = bytes(4)
        self.rings[self.sq_tail : self.sq_tail + 4] = struct.pack("I", tail + 1)
        syscall(ENTER, self.fd, 1, 1, GETEVENTS, None, 0)
        at = self.cqes + CQE_SIZE * (self.done & self.mask)
        result = struct.unpack_from("i", self.rings, at + 8)[0]
        self.done += 1
        self.rings[self.cq_head : self.cq_head + 4] = struct.pack("I", self.done)
        if result < 0:
            raise OSError(-result, errno.errorcode[-result])
        return result


ring = Ring()
listener = listen()
clients, servers = [], []
address = struct.pack("<H", socket.AF_INET) + struct.pack(">H", port_of(listener))
address = ctypes.create_string_buffer(address + socket.inet_aton("127.0.0.1") + bytes(8))
for _ in range(int(sys.argv[1])):
    client = socket.socket()
    ring.run(CONNECT, client.fileno(), ctypes.addressof(address), 16)
    clients.append(client)
    servers.append(ring.run(ACCEPT, listener.fileno()))
say(port=port_of(listener), clients=[client.fileno() for client in clients], servers=servers)
wait_for_end()
