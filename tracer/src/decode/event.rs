//! What happens in the kernel, in the words of the rest. Pure.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};
use tracer_common::{config::KEPT_STACKS, event::COMM_LEN};

use crate::{clock::BootTime, tcp::State};

/// A task's name as the kernel keeps it: up to 15 bytes that the task chose,
/// then zeros. Becomes text in `model`, never here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Comm(pub [u8; COMM_LEN]);

impl Comm {
    /// The bytes before the first zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(COMM_LEN);
        &self.0[..end]
    }
}

impl From<&[u8]> for Comm {
    /// Keeps the first 15 bytes, as the kernel does.
    fn from(bytes: &[u8]) -> Self {
        let mut comm = [0; COMM_LEN];
        let len = bytes.len().min(COMM_LEN - 1);
        comm[..len].copy_from_slice(&bytes[..len]);
        Self(comm)
    }
}

/// A call stack: one that the kernel keeps, by its place in the map of stacks, and how
/// often that map had been emptied; or a chain of calls, by a number of ours. One process has other code at its addresses than
/// another, so only with a process id does it name code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackId(NonZeroU32);

/// Numbers of stacks that the kernel keeps end here, and those of chains follow.
const CHAINS_FROM: u32 = u32::MAX / 2;

impl StackId {
    /// The stack at `place`, below [`KEPT_STACKS`]; `None` for any other number.
    #[must_use]
    pub fn at(place: u32) -> Option<Self> {
        let number = (place < KEPT_STACKS).then(|| place + 1)?;
        NonZeroU32::new(number).map(Self)
    }

    /// Its number, which is not 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// The stack with this number; `None` for 0.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Whether it is a chain of calls.
    #[must_use]
    pub const fn is_chain(self) -> bool {
        self.0.get() > CHAINS_FROM
    }

    /// Its place in the map.
    #[must_use]
    pub const fn place(self) -> u32 {
        (self.0.get() - 1) % KEPT_STACKS
    }

    /// The chain with this number, which is below 2^31.
    #[must_use]
    pub fn of_chain(number: u32) -> Option<Self> {
        let number = (number < CHAINS_FROM).then(|| number + CHAINS_FROM + 1)?;
        NonZeroU32::new(number).map(Self)
    }

    /// The stack in the same place once the map has been emptied `times` times.
    #[must_use]
    pub fn after(self, times: u32) -> Self {
        // Numbers repeat after 131,072 times, by when nobody remembers the first.
        let epoch = times % (CHAINS_FROM / KEPT_STACKS);
        let number = NonZeroU32::new(epoch * KEPT_STACKS + self.place() + 1);
        Self(number.unwrap_or(self.0))
    }
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// The thread that opened or accepted it; `None` where that was not seen.
    pub tid: Option<NonZeroU32>,
    /// Real uid of the opener, or the socket's uid.
    pub uid: u32,
    /// Name at that time.
    pub comm: Comm,
    /// File descriptor in `pid`; `None` where none was handed out or seen.
    pub fd: Option<i32>,
    /// Its call stack in connect or accept; `None` where that was not taken.
    pub stack: Option<StackId>,
}

/// Both ends of a socket and the namespace they live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ends {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// What the application or peer had to do with a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstance {
    /// Made by shutdown(2).
    pub in_shutdown: bool,
    /// Made by a task that was exiting.
    pub exiting: bool,
    /// The peer's FIN is in.
    pub peer_done: bool,
    /// No program holds the socket any more.
    pub orphan: bool,
    /// Both directions are shut down.
    pub both_shut: bool,
    /// A subflow of an MPTCP connection: the kernel closes it, not a program.
    pub subflow: bool,
    /// The kernel frees the socket next, and tells no more of it.
    pub freed: bool,
    /// `sk_err`: 0 or a positive errno.
    pub error: i32,
    /// How long no payload had moved, in milliseconds; `None` where that is not told.
    pub idle_ms: Option<u32>,
    /// The last figures, with a transition to CLOSE.
    pub figures: Option<Figures>,
}

/// The kernel's own figures, from a record or a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Payload bytes sent once.
    pub tx_bytes: u64,
    /// Payload bytes received, plus one for the peer's FIN.
    pub rx_bytes: u64,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
}

/// Errno values of connect(2) that do not mean failure: EINTR, EALREADY and
/// EINPROGRESS, and the kernel's own ERESTARTSYS, where the call goes on.
const CONNECT_GOES_ON: [i32; 4] = [4, 114, 115, 512];

/// Whether connect(2) has failed that returned this errno.
#[must_use]
pub fn has_connect_failed(errno: i32) -> bool {
    errno != 0 && !CONNECT_GOES_ON.contains(&errno)
}

/// Something that happened in the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A socket goes from one state to another.
    State {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// Its ends, as far as set.
        ends: Ends,
        /// From.
        old: State,
        /// To.
        new: State,
        /// How.
        how: Circumstance,
        /// The current task: the owner for CLOSE -> SYN_SENT and CLOSE -> LISTEN,
        /// anyone for other transitions.
        task: Owner,
    },
    /// The connect call that opened a connection returned.
    Connect {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// 0 or a positive errno.
        errno: i32,
        /// Nanoseconds in the call.
        latency_ns: u64,
    },
    /// A server-side connection was taken over.
    Accept {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// Its ends.
        ends: Ends,
        /// By whom.
        owner: Owner,
        /// Its state.
        state: State,
    },
    /// The last reference from a program is gone.
    Close {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// By a task that was exiting.
        exiting: bool,
    },
    /// A mini-socket takes the socket's place; its transition to CLOSE follows.
    TimeWait {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// TIME_WAIT, or FIN_WAIT2 where the peer's FIN is not in.
        state: State,
        /// How long it was asked to stay.
        stays: Duration,
    },
    /// A RST went out or came in.
    Reset {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
        /// We sent it.
        by_us: bool,
    },
    /// The socket is freed.
    Gone {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
    },
    /// It is a further subflow of an MPTCP connection, no connection of its own.
    Join {
        /// When.
        at: BootTime,
        /// Which socket.
        sock: u64,
    },
    /// A process has become another program.
    Exec {
        /// When.
        at: BootTime,
        /// Which.
        pid: u32,
    },
    /// A process has ended.
    Exit {
        /// When.
        at: BootTime,
        /// Which.
        pid: u32,
    },
}

impl Event {
    /// The task that opens or accepts a connection with it.
    pub fn opener_mut(&mut self) -> Option<&mut Owner> {
        match self {
            Self::State { task, .. } => Some(task),
            Self::Accept { owner, .. } => Some(owner),
            _ => None,
        }
    }

    /// The call stack that opens or accepts a connection with it, where it has one.
    #[must_use]
    pub const fn stack(&self) -> Option<StackId> {
        match self {
            Self::State { task: owner, .. } | Self::Accept { owner, .. } => owner.stack,
            _ => None,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> BootTime {
        match *self {
            Self::State { at, .. }
            | Self::Connect { at, .. }
            | Self::Accept { at, .. }
            | Self::Close { at, .. }
            | Self::TimeWait { at, .. }
            | Self::Reset { at, .. }
            | Self::Gone { at, .. }
            | Self::Join { at, .. }
            | Self::Exec { at, .. }
            | Self::Exit { at, .. } => at,
        }
    }
}
