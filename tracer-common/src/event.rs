//! The event ABI: one `repr(C)` record per kind.
//!
//! Every record starts with [`Header`]; its `kind` tells which record follows.
//! Addresses are 16 bytes in network order; IPv4 is stored IPv4-mapped
//! (`::ffff:a.b.c.d`), and `family` tells a true IPv4 socket from an IPv6 one
//! that talks to an IPv4 peer. Times are nanoseconds of `CLOCK_BOOTTIME`.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length of a task's `comm`, as in `TASK_COMM_LEN` (include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// `fd` where the opening call handed out none (io_uring's direct descriptors)
/// or where no call was seen.
pub const NO_FD: i32 = -1;

/// `stack` where none was taken: switched off, or not to be had.
pub const NO_STACK: i32 = -1;

/// `chain` where the frame pointers are relied on, or nothing else is to be had.
pub const NO_CHAIN: u64 = 0;

/// Words of a stack that are copied at most: 8 KiB, as perf does by default. The
/// copy ends with a page, since the stack does.
pub const STACK_WORDS: usize = 1_024;

/// Values of [`Header::kind`].
pub mod kind {
    /// [`super::StateRecord`]
    pub const STATE: u32 = 1;
    /// [`super::ConnectRecord`]
    pub const CONNECT: u32 = 2;
    /// [`super::AcceptRecord`]
    pub const ACCEPT: u32 = 3;
    /// [`super::GoneRecord`]
    pub const GONE: u32 = 4;
    /// [`super::ExitRecord`]
    pub const EXIT: u32 = 5;
    /// [`super::CloseRecord`]
    pub const CLOSE: u32 = 6;
    /// [`super::TimeWaitRecord`]
    pub const TIME_WAIT: u32 = 7;
    /// [`super::ResetRecord`]
    pub const RESET: u32 = 8;
    /// [`super::OpenRecord`]
    pub const OPEN: u32 = 9;
    /// [`super::JoinRecord`]
    pub const JOIN: u32 = 10;
    /// [`super::StackRecord`]
    pub const STACK: u32 = 11;
    /// [`super::ExecRecord`]
    pub const EXEC: u32 = 12;
    /// [`super::FoldRecord`]
    pub const FOLD: u32 = 13;
}

/// Bits of [`StateRecord::flags`] and [`CloseRecord::flags`].
pub mod flag {
    /// The current task was inside `shutdown(2)`: the transition is a half
    /// close, not a close.
    pub const IN_SHUTDOWN: u32 = 1 << 0;
    /// The current task was exiting (`PF_EXITING`).
    pub const EXITING: u32 = 1 << 1;
    /// `SOCK_DONE`: the peer's FIN has been received.
    pub const PEER_DONE: u32 = 1 << 2;
    /// A subflow of an MPTCP connection, which the kernel closes, not a program.
    pub const SUBFLOW: u32 = 1 << 3;
    /// `SOCK_DEAD`: no program holds the socket any more.
    pub const ORPHAN: u32 = 1 << 4;
}

/// Whether the kernel frees a socket right after a transition to CLOSE with these
/// [`flag`]s and this `sk_err`, and sends nothing more for it (`tcp_done`,
/// net/ipv4/tcp.c): both sides have closed, and no program holds it. No
/// [`GoneRecord`] follows then.
#[inline(always)]
#[must_use]
pub const fn is_freed_with(flags: u32, error: i32) -> bool {
    let all = flag::ORPHAN | flag::PEER_DONE;
    flags & (all | flag::SUBFLOW) == all && error == 0
}

/// [`StateRecord::idle_ms`] where it is not told.
pub const NO_IDLE: u32 = u32::MAX;

/// Values of [`ResetRecord::by`].
pub mod reset {
    /// We sent the RST.
    pub const SENT: u32 = 1;
    /// The peer's RST came in.
    pub const RECEIVED: u32 = 2;
}

/// What every record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// Nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`).
    pub ts_ns: u64,
    /// Names the socket: its cookie, or where the kernel has no cookie helper
    /// for tracing programs (before 5.12) its address. 0 for a record about a
    /// process.
    pub sock: u64,
    /// One of [`kind`].
    pub kind: u32,
    /// Thread group id of the current task. In a softirq this is a bystander.
    pub pid: u32,
    /// Thread id of the current task.
    pub tid: u32,
    /// Real uid of the current task, in the initial user namespace.
    pub uid: u32,
}

/// Both ends of a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Addresses {
    /// Local address; all zero while unbound.
    pub local: [u8; 16],
    /// Remote address; all zero for a listener.
    pub remote: [u8; 16],
    /// Local port, host order; 0 while unbound.
    pub local_port: u16,
    /// Remote port, host order; 0 for a listener.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Always 0.
    pub _pad: u16,
    /// Inode number of the network namespace, as in /proc/PID/ns/net.
    pub netns: u32,
}

/// The kernel's own figures for a socket, from `struct tcp_sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Figures {
    /// `bytes_sent` less `bytes_retrans`: payload bytes sent once.
    pub tx_bytes: u64,
    /// `bytes_received`: payload bytes received, plus one for the peer's FIN.
    pub rx_bytes: u64,
    /// `total_retrans`: segments retransmitted.
    pub retransmits: u32,
    /// `srtt_us >> 3`: smoothed round-trip time in microseconds.
    pub srtt_us: u32,
}

/// A program opens a connection or begins to listen, from `inet_sock_set_state`:
/// CLOSE -> SYN_SENT or CLOSE -> LISTEN. The current task is the opener.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OpenRecord {
    /// The common start.
    pub header: Header,
    /// Both ends, as far as the kernel knows them yet.
    pub addresses: Addresses,
    /// The fd handed to the connect call in progress, else [`NO_FD`].
    pub fd: i32,
    /// Name of the opener.
    pub comm: [u8; COMM_LEN],
    /// State after, as in include/net/tcp_states.h.
    pub new: u16,
    /// Always 0.
    pub _pad: u16,
    /// The opener's call stack: its place in the map of stacks, or [`NO_STACK`].
    pub stack: i32,
    /// The chain of calls that this stack is cut short of, or [`NO_CHAIN`].
    pub chain: u64,
}

/// Any other transition, from `inet_sock_set_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StateRecord {
    /// The common start.
    pub header: Header,
    /// Both ends, as far as the kernel knows them yet.
    pub addresses: Addresses,
    /// State before, as in include/net/tcp_states.h.
    pub old: u16,
    /// State after.
    pub new: u16,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `sk_err`: a positive errno, 0 for none.
    pub error: i32,
    /// `sk_shutdown`: 1 receive side closed, 2 send side, 3 both.
    pub shutdown: u32,
    /// Milliseconds since payload was last sent or received, where a command is traced
    /// and `new` is FIN_WAIT1, LAST_ACK or CLOSE; else [`NO_IDLE`].
    pub idle_ms: u32,
    /// The last figures where `new` is CLOSE, else zero. `tcp_disconnect` clears
    /// them right after.
    pub figures: Figures,
}

/// The end of a connect call that made CLOSE -> SYN_SENT.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectRecord {
    /// The common start; `ts_ns` is the time of return.
    pub header: Header,
    /// Time spent in the call, in nanoseconds.
    pub latency_ns: u64,
    /// The fd handed in.
    pub fd: i32,
    /// What the call returned: 0, or a negative errno.
    pub ret: i32,
}

/// The successful end of an accept call.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AcceptRecord {
    /// The common start.
    pub header: Header,
    /// Both ends.
    pub addresses: Addresses,
    /// The fd handed out.
    pub fd: i32,
    /// Name of the accepting process.
    pub comm: [u8; COMM_LEN],
    /// The socket's state now.
    pub state: u16,
    /// Always 0.
    pub _pad: u16,
    /// The call stack that accepts: its place in the map of stacks, or [`NO_STACK`].
    pub stack: i32,
    /// As [`OpenRecord::chain`].
    pub chain: u64,
}

/// The socket is freed, from `tcp_destroy_sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GoneRecord {
    /// The common start.
    pub header: Header,
}

/// The last thread of a process is exiting, from `sched_process_exit`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExitRecord {
    /// The common start; `pid` is the process.
    pub header: Header,
}

/// A process runs another program from now on, from `sched_process_exec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecRecord {
    /// The common start; `pid` is the process.
    pub header: Header,
}

/// The last reference from a program is gone, from `tcp_close`. The current task
/// is the one that let go.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CloseRecord {
    /// The common start.
    pub header: Header,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Always 0.
    pub _pad: u32,
}

/// A mini-socket takes the socket's place, from `tcp_time_wait`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TimeWaitRecord {
    /// The common start.
    pub header: Header,
    /// How long it was asked to stay, in nanoseconds. In TIME_WAIT it stays
    /// `TCP_TIMEWAIT_LEN` all the same.
    pub stays_ns: u64,
    /// TIME_WAIT, or FIN_WAIT2 where the peer's FIN is not in.
    pub state: u16,
    /// Always 0.
    pub _pad: [u16; 3],
}

/// A RST, from `tcp_send_reset` or `tcp_receive_reset`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ResetRecord {
    /// The common start.
    pub header: Header,
    /// One of [`reset`].
    pub by: u32,
    /// Always 0.
    pub _pad: u32,
}

/// A socket is a further subflow of an MPTCP connection that there is already: from
/// here on nothing is told of it but that it is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct JoinRecord {
    /// The common start.
    pub header: Header,
}

/// The memory that a task's stack pointer points to, and its registers, for chains
/// that frame pointers do not show: written ahead of the first record of a chain.
/// The record ends with the last word that could be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StackRecord {
    /// The common start; `sock` is 0.
    pub header: Header,
    /// The chain.
    pub chain: u64,
    /// The instruction pointer in user space.
    pub ip: u64,
    /// The stack pointer: where `words` were read.
    pub sp: u64,
    /// The register that holds the frame pointer, or anything.
    pub fp: u64,
    /// What is there.
    pub words: [u64; STACK_WORDS],
}

/// What happened to one connection in its first second, where so many are opened that a
/// record for each transition would cost too much. Written when it has ended, or with
/// the first transition after that second; from then on each has its own record again.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FoldRecord {
    /// The common start: its first transition. The task is the one that opened or
    /// accepted it, zeros where neither was seen.
    pub header: Header,
    /// As [`OpenRecord::chain`].
    pub chain: u64,
    /// When it was accepted; 0 where it was not.
    pub accepted_ns: u64,
    /// When `tcp_close` let go of it; 0 where that was not seen.
    pub closed_ns: u64,
    /// The last figures once it is in CLOSE, else zero.
    pub figures: Figures,
    /// Both ends, as far as the kernel knew them.
    pub addresses: Addresses,
    /// As [`OpenRecord::fd`] or [`AcceptRecord::fd`].
    pub fd: i32,
    /// Name of the process.
    pub comm: [u8; COMM_LEN],
    /// As [`OpenRecord::stack`].
    pub stack: i32,
    /// As [`ConnectRecord::ret`].
    pub ret: i32,
    /// [`ConnectRecord::latency_ns`] in microseconds.
    pub latency_us: u32,
    /// One of [`opened`].
    pub opened: u8,
    /// Bits of [`flag`], of `closed_ns`.
    pub closed_flags: u8,
    /// Set once it is written: what happens from then on has records of its own.
    pub is_told: u8,
    /// How many of `phases` there are.
    pub count: u8,
    /// What happened, in order.
    pub phases: [Phase; PHASES],
}

/// Values of [`FoldRecord::opened`].
pub mod opened {
    /// By a peer.
    pub const NOT: u8 = 0;
    /// It began with CLOSE -> SYN_SENT, by the task that the record names.
    pub const BY_CONNECT: u8 = 1;
    /// So it did, and connect(2) has returned.
    pub const AND_RETURNED: u8 = 2;
}

/// Phases of a [`FoldRecord`]: what an orderly connection goes through, with one more.
pub const PHASES: usize = 6;

/// What happened to a connection that is folded.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Phase {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub ts_ns: u64,
    /// `sk_err` of a transition; milliseconds to stay of [`phase::TIME_WAIT`].
    pub value: i32,
    /// State before a transition, or one of [`phase`].
    pub old: u8,
    /// State after; of [`phase::RESET`] one of [`reset`].
    pub new: u8,
    /// As [`StateRecord::flags`].
    pub flags: u8,
    /// As [`StateRecord::shutdown`].
    pub shutdown: u8,
}

/// Values of [`Phase::old`] that are no state.
pub mod phase {
    /// As [`super::TimeWaitRecord`].
    pub const TIME_WAIT: u8 = 0x80;
    /// As [`super::ResetRecord`].
    pub const RESET: u8 = 0x81;
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Addresses>() == 44);
    assert!(size_of::<Figures>() == 24);
    assert!(size_of::<OpenRecord>() == 112);
    assert!(size_of::<StateRecord>() == 120);
    assert!(size_of::<ConnectRecord>() == 48);
    assert!(size_of::<AcceptRecord>() == 112);
    assert!(size_of::<GoneRecord>() == 32);
    assert!(size_of::<ExitRecord>() == 32);
    assert!(size_of::<ExecRecord>() == 32);
    assert!(size_of::<CloseRecord>() == 40);
    assert!(size_of::<TimeWaitRecord>() == 48);
    assert!(size_of::<ResetRecord>() == 40);
    assert!(size_of::<JoinRecord>() == 32);
    assert!(size_of::<StackRecord>() == 64 + 8 * STACK_WORDS);
    assert!(size_of::<FoldRecord>() == 256);
};
