//! Load-time knobs: set before the programs are loaded, constant afterwards,
//! so that the verifier removes the branches that are not used.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Ring size when the user names none, in bytes. 30 bytes/us at 36,000
/// connections/s: this holds two seconds of a stopped collector there.
pub const DEFAULT_RING_BYTES: u32 = 8 << 20;
/// The smallest ring worth having, in bytes.
pub const MIN_RING_BYTES: u32 = 64 << 10;
/// The largest ring the kernel takes without question, in bytes.
pub const MAX_RING_BYTES: u32 = 1 << 30;
/// Calls of connect, shutdown and, where its entry is hooked, accept in progress that are
/// remembered at once. A task is in one at a time, so this is tasks blocked in one.
pub const IN_FLIGHT_CALLS: u32 = 16_384;
/// Sockets followed at once under a filter by process.
pub const FOLLOWED_SOCKETS: u32 = 262_144;
/// Processes of a traced command followed at once: more than any test suite runs side
/// by side, and twice the number that the kernel hands out by default.
pub const TREE_PROCESSES: u32 = 65_536;
/// Listening ports followed under a filter by process.
pub const FOLLOWED_PORTS: u32 = 4_096;

/// Connections to MPTCP listeners that are remembered until they are accepted:
/// as many as the accept queues of sixteen listeners with the default
/// `somaxconn` of 4,096 hold.
pub const MPTCP_CHILDREN: u32 = 65_536;

/// Different call stacks that the kernel keeps at once, a power of two. A stack's
/// hash picks its place, so one in ten is hard to keep when a tenth are taken;
/// user space empties the map long before that. 17 MB.
pub const KEPT_STACKS: u32 = 16_384;

/// Chains of calls whose stack has been copied and need not be again: a few for each
/// call site, since what lies on a stack differs a little from call to call.
pub const KNOWN_CHAINS: u32 = 16_384;

/// Call stacks that are taken of one process in a window of `1 <<` [`STACK_WINDOW_SHIFT`]
/// ns: about a second. One takes the kernel some 3 us, so this is 0.3 % of a processor.
/// Of those that open more a share stands for the rest.
pub const STACKS_A_WINDOW: u32 = 1_000;
/// See [`STACKS_A_WINDOW`].
pub const STACK_WINDOW_SHIFT: u32 = 30;
/// Processes whose stacks are counted at once; one that is left out begins anew.
pub const STACK_BUDGETS: u32 = 4_096;

/// Connections opened on one processor, both ends counted, in a window of `1 <<`
/// [`FOLD_WINDOW_SHIFT`] ns, above which they are folded: some 1,000 a second. Below,
/// each transition is told at once, and all of them together cost next to nothing.
pub const FOLD_ABOVE: u32 = 67;
/// Never fold.
pub const FOLD_NEVER: u32 = u32::MAX;
/// See [`FOLD_ABOVE`].
pub const FOLD_WINDOW_SHIFT: u32 = 26;
/// How long a connection is folded, in nanoseconds.
pub const FOLD_NS: u64 = 1_000_000_000;
/// A folded connection that is so old, in nanoseconds, is written to no more,
pub const FOLD_LEFT_NS: u64 = 8 * FOLD_NS;
/// and may be taken out of the map by user space when it is so old: no hook takes as long
/// as the difference.
pub const FOLD_FREE_NS: u64 = 10 * FOLD_NS;
/// Connections folded at once; beyond that they are told at once.
pub const FOLDED_SOCKETS: u32 = 16_384;

/// Which sockets the kernel side writes records about. A field of zeros
/// switches its filter off.
///
/// The kernel passes what it cannot yet tell (a socket without a local port);
/// user space applies the same filter again to what arrives.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Filter {
    /// Network the remote address must lie in, IPv4 in mapped form: the bytes
    /// of the address in network order, taken as native words.
    pub remote: [u32; 4],
    /// Mask of `remote`; all zero means any.
    pub remote_mask: [u32; 4],
    /// Thread group id of the owner; 0 means any.
    pub pid: u32,
    /// Set where the owner must be a process in the map of a command's processes.
    pub tree: u32,
    /// Network namespace inode; 0 means any.
    pub netns: u32,
    /// Local or remote port; 0 means any.
    pub port: u32,
}

/// Where registers lie in `struct pt_regs`: offsets in bytes. See [`REGISTERS`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Registers {
    /// The first argument.
    pub arg0: u32,
    /// The second.
    pub arg1: u32,
    /// The third.
    pub arg2: u32,
    /// The return value.
    pub ret: u32,
    /// The instruction pointer; this and the next are 0 where stacks are not copied.
    pub ip: u32,
    /// The stack pointer.
    pub sp: u32,
    /// The frame pointer.
    pub fp: u32,
}

/// Each architecture that breakpoints are understood on, by its name in Rust's
/// `std::env::consts::ARCH`.
pub const REGISTERS: [(&str, Registers); 2] = [
    // rdi, rsi, rdx; rax; rip, rsp, rbp: arch/x86/include/asm/ptrace.h
    (
        "x86_64",
        Registers {
            arg0: 112,
            arg1: 104,
            arg2: 96,
            ret: 80,
            ip: 128,
            sp: 152,
            fp: 32,
        },
    ),
    // x0, x1, x2; x0: arch/arm64/include/asm/ptrace.h
    (
        "aarch64",
        Registers {
            arg0: 0,
            arg1: 8,
            arg2: 16,
            ret: 0,
            ip: 0,
            sp: 0,
            fp: 0,
        },
    ),
];

/// All knobs.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Config {
    /// Which sockets.
    pub filter: Filter,
    /// Where breakpoints find arguments.
    pub registers: Registers,
    /// The reader is woken once this many bytes wait in the ring.
    pub wake_bytes: u32,
    /// Set where [`crate::event::Header::sock`] is the socket's address, for want of a cookie.
    pub name_by_address: u32,
    /// Length of a jiffy in nanoseconds.
    pub tick_ns: u32,
    /// Set where the call stacks of connect and accept are wanted.
    pub stacks: u32,
    /// See [`FOLD_ABOVE`].
    pub fold_above: u32,
}

const _: () = assert!(size_of::<Filter>() == 48 && size_of::<Config>() == 96);

/// A listening port of a followed process: key of a map that both sides fill.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListenPort {
    /// Network namespace inode.
    pub netns: u32,
    /// Port, host order.
    pub port: u32,
}
