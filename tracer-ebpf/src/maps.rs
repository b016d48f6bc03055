//! All maps, and the constants that user space sets before load.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, StackTrace},
};
use tracer_common::{
    chain::MAX_LOOKED_UP,
    config::{
        Config, DEFAULT_RING_BYTES, FOLD_NEVER, FOLDED_SOCKETS, FOLLOWED_PORTS, FOLLOWED_SOCKETS,
        Filter, IN_FLIGHT_CALLS, KEPT_STACKS, KNOWN_CHAINS, ListenPort, MPTCP_CHILDREN, Registers,
        STACK_BUDGETS, TREE_PROCESSES,
    },
    drop::COUNTERS_PER_CPU,
    event::{FoldRecord, StackRecord},
    offsets::{self, Offsets},
    pair::Pair,
};

/// Records on their way to user space. Resized before load.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(DEFAULT_RING_BYTES, 0);

/// What became of each record: slots of `tracer_common::drop`, a row for each CPU.
/// User space reads it in place. Resized before load.
#[map]
pub static COUNTS: Array<u64> = Array::with_max_entries(COUNTERS_PER_CPU, BPF_F_MMAPABLE);

/// How much is left out: one of [`tracer_common::shed`]. User space writes it in place.
#[map]
pub static SHED: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the first of two programs has in hand: see [`crate::turn`].
#[map]
pub static MARKS: PerCpuArray<Mark> = PerCpuArray::with_max_entries((ENDS + 1) * SLOTS, 0);

/// The system call that a task is in. Key: `bpf_get_current_pid_tgid`.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(IN_FLIGHT_CALLS, 0);

/// The processes of the traced command, by thread group id. User space puts the first
/// in; cut down to one entry where no command is traced.
#[map]
pub static TREE: HashMap<u32, u8> = HashMap::with_max_entries(TREE_PROCESSES, 0);

/// Under a filter by process, the sockets of the wanted ones. Both sides fill it.
#[map]
pub static FOLLOWED: HashMap<u64, u8> = HashMap::with_max_entries(FOLLOWED_SOCKETS, 0);

/// Under a filter by process, the ports that the wanted ones listen on. Both sides fill it.
#[map]
pub static PORTS: HashMap<[u8; size_of::<ListenPort>()], u8> =
    HashMap::with_max_entries(FOLLOWED_PORTS, 0);

/// Connections to an MPTCP listener: one whose peer speaks plain TCP looks like a
/// kernel socket from its handshake until it is accepted. Key: its address, as it
/// has no cookie at first. Least recently used first out, should some be left over.
#[map]
pub static MPTCP: LruHashMap<u64, u8> = LruHashMap::with_max_entries(MPTCP_CHILDREN, 0);

/// Call stacks in user space, each kept once: see [`crate::stack`]. Cut down to one
/// entry where they are not wanted.
#[map]
pub static STACKS: StackTrace = StackTrace::with_max_entries(KEPT_STACKS, 0);

/// Chains of calls whose stack has been copied; user space takes one out that it could
/// not deal with. Least recently used first out.
#[map]
pub static COPIED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(KNOWN_CHAINS, 0);

/// What each process has had of its share of stacks, by thread group id. Least recently
/// used first out.
#[map]
pub static BUDGETS: LruHashMap<u32, Budget> = LruHashMap::with_max_entries(STACK_BUDGETS, 0);

/// Where stacks are looked at.
#[map]
pub static COPIES: PerCpuArray<StackCopy> = PerCpuArray::with_max_entries(ASKERS, 0);

/// Connections that are folded: see [`crate::fold`]. Cut down to one entry where none
/// are.
#[map]
pub static FOLDS: HashMap<u64, FoldRecord> = HashMap::with_max_entries(FOLDED_SOCKETS, 0);

/// Where one is made up, for each of two programs that take turns and each way to begin:
/// before 6.1 (commit 05b24ff9b2cf) a softirq may run a program on top of itself.
#[map]
pub static BLANKS: PerCpuArray<FoldRecord> = PerCpuArray::with_max_entries(4, 0);

/// Connections opened lately on each CPU.
#[map]
pub static BIRTHS: PerCpuArray<Births> = PerCpuArray::with_max_entries(1, 0);

/// Connections opened in a window of time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Births {
    /// Number of the window.
    pub window: u32,
    /// How many there are in it,
    pub count: u32,
    /// and how many there were in the one before.
    pub before: u32,
}

/// How many programs take stacks: the values of [`crate::stack::Asker`].
pub const ASKERS: u32 = 3;

/// What is on the stack, and room for what is counted, in memory that the verifier
/// keeps no track of: it would follow each count apart.
#[repr(C)]
pub struct StackCopy {
    pub record: StackRecord,
    /// Words that may be return addresses into a library, and how many.
    pub looked_up: [u64; MAX_LOOKED_UP],
    pub count: u64,
}

/// Stacks taken of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Budget {
    /// Number of the window of time.
    pub window: u32,
    /// How many were taken in it.
    pub taken: u32,
}

/// What tells an event from those that come on top of it: the socket's
/// address, and what happens to it.
pub type Mark = [u64; 2];

/// The last row of marks: see [`crate::turn::note_end`]. Those before it are of the pairs
/// that no call in [`CALLS`] tells apart.
pub const ENDS: u32 = Pair::Close as u32 + 1;

/// Marks in a row.
pub const SLOTS: u32 = 64;

/// A system call in progress.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// When it was entered, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// The socket it set out to connect, once the state hook has seen it; 0 before.
    pub sock: u64,
    /// The fd handed in.
    pub fd: i32,
    /// [`CONNECT`], [`SHUTDOWN`] or [`ACCEPT`].
    pub what: u32,
}

/// [`Call::what`]: connect(2). Each is a bit of its own.
pub const CONNECT: u32 = 1 << 0;
/// [`Call::what`]: shutdown(2).
pub const SHUTDOWN: u32 = 1 << 1;
/// [`Call::what`]: accept(2) or accept4(2).
pub const ACCEPT: u32 = 1 << 2;

/// The field offsets of the running kernel. Read through [`offset!`].
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = offsets::ALL_ABSENT;

/// The knobs of this run. Read through [`knob!`].
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config {
    filter: Filter {
        remote: [0; 4],
        remote_mask: [0; 4],
        pid: 0,
        tree: 0,
        netns: 0,
        port: 0,
    },
    registers: Registers {
        arg0: 0,
        arg1: 0,
        arg2: 0,
        ret: 0,
        ip: 0,
        sp: 0,
        fp: 0,
    },
    wake_bytes: 0,
    name_by_address: 0,
    tick_ns: 0,
    stacks: 0,
    fold_above: FOLD_NEVER,
};

/// One field's offset, a constant to the verifier.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: the static is initialised, aligned and never written by this
        // side; volatile, because the loader replaces what the compiler sees.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) }
    }};
}

/// One knob, a constant to the verifier.
macro_rules! knob {
    ($($field:ident).+) => {{
        // SAFETY: as in `offset!`.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::CONFIG.$($field).+) }
    }};
}

pub(crate) use {knob, offset};
