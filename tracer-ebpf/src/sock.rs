//! The only place that reads fields of `struct sock`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_jiffies64, bpf_skc_to_tcp_sock};
use tracer_common::{
    event::{Addresses, Figures, NO_IDLE},
    offsets::ABSENT,
};
use zerocopy::transmute;

use crate::{
    maps::{MPTCP, knob, offset},
    read::{Plain, load, read, read_or_zero},
    task,
};

/// `IPPROTO_TCP`, include/uapi/linux/in.h
const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_MPTCP`
const IPPROTO_MPTCP: u16 = 262;
/// `AF_INET`
const AF_INET: u16 = 2;
/// `AF_INET6`
const AF_INET6: u16 = 10;

/// TCP states, include/net/tcp_states.h.
pub mod tcp {
    pub const ESTABLISHED: u16 = 1;
    pub const SYN_SENT: u16 = 2;
    pub const SYN_RECV: u16 = 3;
    pub const FIN_WAIT1: u16 = 4;
    pub const TIME_WAIT: u16 = 6;
    pub const CLOSE: u16 = 7;
    pub const LAST_ACK: u16 = 9;
    pub const LISTEN: u16 = 10;
    pub const NEW_SYN_RECV: u16 = 12;
}

/// A `struct sock` of the kernel.
#[derive(Clone, Copy)]
pub struct Sock {
    at: *const c_void,
    /// Whether the verifier knows `at` as a `struct sock`, so that it may be
    /// handed to helpers.
    trusted: bool,
}

impl Sock {
    /// From the argument of a BTF-typed program.
    #[inline(always)]
    pub fn from_btf(at: *const c_void) -> Self {
        Self { at, trusted: true }
    }

    /// From an address alone.
    #[inline(always)]
    pub fn from_address(at: *const c_void) -> Self {
        Self { at, trusted: false }
    }

    /// The socket behind an open fd of the current task, if it is one.
    ///
    /// Walks `current->files->fdt->fd[fd]->private_data->sk`. A supervisor may make
    /// a call return any fd (seccomp's user notification), so what lies behind it is
    /// a socket only if it points back at its file.
    #[inline(always)]
    pub fn from_fd(fd: u32) -> Option<Self> {
        let (array, max) = task::file_table()?;
        if fd >= max {
            return None;
        }
        let slot = fd.checked_mul(size_of::<*const c_void>() as u32)?;
        let file: *const c_void = read(array, slot)?;
        let socket: *const c_void = read(file, offset!(file_private_data))?;
        if read::<*const c_void>(socket, offset!(socket_file))? != file {
            return None;
        }
        let sock: *const c_void = read(socket, offset!(socket_sk))?;
        if sock.is_null() {
            return None;
        }
        let sk = Self::from_address(sock);
        if sk.field::<u16>(offset!(protocol)) != IPPROTO_MPTCP {
            return Some(sk);
        }
        let first: *const c_void = read(sock, offset!(mptcp_first))?;
        (!first.is_null()).then_some(Self::from_address(first))
    }

    /// Where it lies. Another may lie there once this one is freed.
    #[inline(always)]
    pub fn address(&self) -> u64 {
        self.at as u64
    }

    /// A number that differs for most sockets, out of both ports.
    #[inline(always)]
    pub fn ports(&self) -> u16 {
        self.local_port() ^ u16::from_be(self.field(offset!(dport)))
    }

    /// `inet_num`: the local port, 0 while unbound.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        self.field(offset!(num))
    }

    /// Whether there is no socket at all.
    #[inline(always)]
    pub fn is_null(&self) -> bool {
        self.at.is_null()
    }

    /// Whether this is a TCP socket of user space. MPTCP's own socket (protocol
    /// 262) is not: its first subflow is, so that each event comes once. Sockets
    /// that the kernel opened for itself (NFS, Ceph) have no process to name.
    #[inline(always)]
    pub fn is_users_tcp(&self) -> bool {
        if self.field::<u16>(offset!(protocol)) != IPPROTO_TCP {
            return false;
        }
        if !self.is_kernels() {
            return true;
        }
        if self.is_mptcp() {
            return !self.joins_mptcp();
        }
        // SAFETY: only presence is looked at, never the value.
        unsafe { MPTCP.get(self.address()) }.is_some()
    }

    /// `sk_kern_sock`
    #[inline(always)]
    pub fn is_kernels(&self) -> bool {
        self.bit(offset!(kern_sock), offset!(kern_sock_bit))
    }

    /// `tcp_sock.is_mptcp`: a subflow of an MPTCP connection, or its listener's
    /// child before it is known whether the peer speaks MPTCP.
    #[inline(always)]
    pub fn is_mptcp(&self) -> bool {
        let of_tcp = self.of_tcp();
        !of_tcp.is_null() && of_tcp.bit(offset!(is_mptcp), offset!(is_mptcp_bit))
    }

    /// Whether this is a subflow that joins an MPTCP connection that there is
    /// already: opened by the kernel, in a worker of its own, or let in by its
    /// listener, which is known once it leaves SYN_RECV.
    #[inline(always)]
    pub fn joins_mptcp(&self) -> bool {
        if !self.is_mptcp() {
            return false;
        }
        let Some(subflow) = read::<*const c_void>(self.at, offset!(ulp_data)) else {
            return false;
        };
        let subflow = Self::from_address(subflow);
        subflow.bit(offset!(request_join), offset!(request_join_bit))
            || subflow.bit(offset!(mp_join), offset!(mp_join_bit))
    }

    /// Remembers a child of an MPTCP listener: see [`MPTCP`]. Returns whether it is
    /// one.
    #[inline(always)]
    pub fn remember_mptcp(&self) -> bool {
        let is_child = self.is_mptcp();
        if is_child {
            let _ = MPTCP.insert(self.address(), 1u8, 0);
        }
        is_child
    }

    /// Forgets it: from its accept on it looks like any other socket, and its
    /// address will be used again.
    #[inline(always)]
    pub fn forget_mptcp(&self) {
        let _ = MPTCP.remove(self.address());
    }

    /// A bit of a bitfield; false where this kernel has no such field.
    #[inline(always)]
    fn bit(&self, at: u32, bit: u32) -> bool {
        at != ABSENT && (self.field::<u8>(at) >> (bit & 7)) & 1 == 1
    }

    /// The name that joins all records about this socket; made on first use.
    #[inline(always)]
    pub fn name(&self) -> u64 {
        if knob!(name_by_address) != 0 {
            return self.address();
        }
        if self.trusted {
            // SAFETY: `at` is the program's own BTF-typed argument, which the
            // verifier checks; the helper only reads or makes the cookie.
            return unsafe { bpf_get_socket_cookie(self.at.cast_mut()) };
        }
        self.known_name()
    }

    /// As [`Sock::name`], but 0 where nothing has asked for a cookie yet.
    #[inline(always)]
    pub fn known_name(&self) -> u64 {
        if knob!(name_by_address) != 0 {
            return self.address();
        }
        self.field(offset!(cookie))
    }

    /// Both ends, or nothing where this is no internet socket.
    #[inline(always)]
    pub fn addresses(&self) -> Option<Addresses> {
        let family = self.field::<u16>(offset!(family));
        let (local, remote) = match family {
            AF_INET => (
                mapped(self.field(offset!(rcv_saddr))),
                mapped(self.field(offset!(daddr))),
            ),
            AF_INET6 => (
                self.field(offset!(v6_rcv_saddr)),
                self.field(offset!(v6_daddr)),
            ),
            _ => return None,
        };
        Some(Addresses {
            local,
            remote,
            local_port: self.local_port(),
            remote_port: u16::from_be(self.field(offset!(dport))),
            family,
            _pad: 0,
            netns: self.netns(),
        })
    }

    #[inline(always)]
    fn netns(&self) -> u32 {
        if offset!(net) == ABSENT {
            return 0;
        }
        let net: *const c_void = self.field(offset!(net));
        read_or_zero(net, offset!(net_inum))
    }

    /// `skc_state`
    #[inline(always)]
    pub fn state(&self) -> u16 {
        u16::from(self.field::<u8>(offset!(state)))
    }

    /// `sk_err`
    #[inline(always)]
    pub fn error(&self) -> i32 {
        self.field(offset!(err))
    }

    /// `sk_shutdown`
    #[inline(always)]
    pub fn shutdown(&self) -> u32 {
        u32::from(self.field::<u8>(offset!(shutdown)))
    }

    /// `sock_flag(sk, SOCK_DONE)`: the peer's FIN is in.
    #[inline(always)]
    pub fn peer_done(&self) -> bool {
        (self.field::<u64>(offset!(flags)) >> (offset!(sock_done_bit) & 63)) & 1 == 1
    }

    /// `sock_flag(sk, SOCK_DEAD)`: no program holds it any more.
    #[inline(always)]
    pub fn is_orphan(&self) -> bool {
        (self.field::<u64>(offset!(flags)) >> (offset!(sock_dead_bit) & 63)) & 1 == 1
    }

    /// The counters of `struct tcp_sock`.
    #[inline(always)]
    pub fn figures(&self) -> Figures {
        let of_tcp = self.of_tcp();
        if of_tcp.is_null() {
            return Figures::default();
        }
        let sent: u64 = of_tcp.field(offset!(bytes_sent));
        let again: u64 = of_tcp.field(offset!(bytes_retrans));
        Figures {
            tx_bytes: sent.wrapping_sub(again),
            rx_bytes: of_tcp.field(offset!(bytes_received)),
            retransmits: of_tcp.field(offset!(total_retrans)),
            srtt_us: of_tcp.field::<u32>(offset!(srtt_us)) >> 3,
        }
    }

    /// Milliseconds since payload was last sent or received, to the jiffy.
    #[inline(always)]
    pub fn idle_ms(&self) -> u32 {
        let of_tcp = self.of_tcp();
        if of_tcp.is_null() {
            return NO_IDLE;
        }
        // SAFETY: the helper takes nothing and only reads a counter.
        let now = unsafe { bpf_jiffies64() } as u32;
        let sent = now.wrapping_sub(of_tcp.field(offset!(lsndtime)));
        let received = now.wrapping_sub(of_tcp.field(offset!(lrcvtime)));
        let ticks = if sent < received { sent } else { received };
        (u64::from(ticks) * u64::from(knob!(tick_ns)) / 1_000_000) as u32
    }

    /// As the `struct tcp_sock` that it begins, for fields of that; null where it is not
    /// known to be one.
    #[inline(always)]
    fn of_tcp(&self) -> Self {
        if !self.trusted {
            return *self;
        }
        // SAFETY: as in `name`; the helper only looks at what kind of socket it is.
        let at = unsafe { bpf_skc_to_tcp_sock(self.at.cast_mut()) };
        Self::from_btf(at.cast())
    }

    /// A field, or zero where the read fails or this kernel has no such field.
    #[inline(always)]
    fn field<T: Plain>(&self, at: u32) -> T {
        if !self.trusted {
            return read_or_zero(self.at, at);
        }
        // SAFETY: `at` is the kernel's own BTF-typed argument, or made of it by a helper.
        unsafe { load(self.at, at) }
    }
}

/// An IPv4 address in mapped form, `::ffff:a.b.c.d`.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    // By words: the target would fill bytes by a call.
    transmute!([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), address])
}
