//! What a trace learns beside the kernel's records. Pure.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{BootTime, WallClock},
    course::shed::Shed,
    model::{frame::CallFrames, report::GroupOwner, untrusted::Untrusted},
    plan::PlanName,
    reconcile::Snapshot,
    selection::Selection,
    table::{Hears, site::CallStack},
};

/// What holds for a whole trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Host name.
    pub host: Untrusted,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: Untrusted,
    /// The plan in use.
    pub plan: PlanName,
    /// What that plan, on this host, cannot see: a sentence each.
    pub blind: Vec<String>,
    /// Sockets are named by address, for want of a cookie.
    pub by_address: bool,
    /// What is heard and what has to be concluded.
    pub hears: Hears,
    /// Which connections were asked for: others are not told, or in part.
    pub selection: Selection,
    /// Size of `net.ipv4.ip_local_port_range`.
    pub ephemeral_ports: u32,
    /// Boot time to wall time.
    pub clock: WallClock,
    /// When the trace began.
    pub from: BootTime,
}

impl Setup {
    /// Of a trace that began then, of everything, on a host of which nothing is known.
    #[must_use]
    pub fn new(plan: PlanName, clock: WallClock, from: BootTime) -> Self {
        Self {
            host: Untrusted::default(),
            kernel: Untrusted::default(),
            plan,
            blind: Vec::new(),
            by_address: false,
            hears: Hears::default(),
            selection: Selection::default(),
            ephemeral_ports: 0,
            clock,
            from,
        }
    }
}

/// The ring's counters, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records written.
    pub submitted: u64,
    /// Records lost for want of room.
    pub ring_full: u64,
    /// Hooks that the kernel skipped because the same program was running on
    /// that CPU, interrupted by a softirq (`recursion_misses`, since 5.12), and
    /// that no second program took over.
    pub missed: u64,
    /// Sockets of the wanted process that are not followed, for want of room.
    pub not_followed: u64,
    /// System calls that were not remembered, for want of room.
    pub calls_forgotten: u64,
    /// Processes of the traced command that are not followed, for want of room.
    pub processes_left_out: u64,
    /// Connections whose call stack could not be taken or kept.
    pub without_stack: u64,
    /// Stacks that frame pointers do not show and that were not copied, for want of room.
    pub not_copied: u64,
}

impl Counts {
    /// Records that hooks set out to write, or would have.
    #[must_use]
    pub const fn generated(&self) -> u64 {
        self.submitted + self.lost()
    }

    /// Records lost, for whatever reason.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.ring_full + self.missed
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            submitted: self.submitted.saturating_sub(earlier.submitted),
            ring_full: self.ring_full.saturating_sub(earlier.ring_full),
            missed: self.missed.saturating_sub(earlier.missed),
            not_followed: self.not_followed.saturating_sub(earlier.not_followed),
            calls_forgotten: self.calls_forgotten.saturating_sub(earlier.calls_forgotten),
            processes_left_out: self
                .processes_left_out
                .saturating_sub(earlier.processes_left_out),
            without_stack: self.without_stack.saturating_sub(earlier.without_stack),
            not_copied: self.not_copied.saturating_sub(earlier.not_copied),
        }
    }
}

/// How a trace itself stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The kernel side's counters.
    pub counts: Counts,
    /// Records taken from the ring.
    pub taken: u64,
    /// Of these, those that the course was told of: not the copies of stacks.
    pub told: u64,
    /// Call stacks that were not named, for want of room or time.
    pub unnamed: u64,
    /// Sockets and ports that the process asked for had before, and that the kernel
    /// side has no room for.
    pub left_out: u64,
}

/// What a trace learns.
///
/// A recording holds them in this form: new ones are added at the end, and none that
/// was ever written changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A snapshot is begun.
    Begin,
    /// It is taken, and events up to its end have been told; with the processes that
    /// are followed by their descent.
    Snapshot(Box<Snapshot>, FxHashSet<u32>),
    /// How the trace stands.
    Standing(Standing),
    /// A point on the sites' curves.
    Checkpoint(BootTime),
    /// A second has passed.
    Tick(BootTime),
    /// No more records will come.
    Settle,
    /// A call stack has been named.
    Name(CallStack, CallFrames),
    /// A process has been looked up.
    Owner(u32, GroupOwner),
    /// That was all.
    End,
    /// So much is left out from then on, as tracing costs too much, or no more does.
    Shed(BootTime, Shed),
}

impl Entry {
    /// When it was learned, if that is told by a clock.
    #[must_use]
    pub fn at(&self) -> Option<BootTime> {
        match self {
            Self::Snapshot(snapshot, _) => Some(snapshot.ended),
            Self::Checkpoint(at) | Self::Tick(at) | Self::Shed(at, _) => Some(*at),
            _ => None,
        }
    }
}

/// What is kept of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When the last socket and fd had been read.
    pub(super) ended: BootTime,
    /// Processes whose fds could not be read.
    pub(super) unreadable: usize,
    /// Namespaces that were there at the start and may not be entered.
    pub(super) unreachable: u32,
    /// Namespaces of which it had no times.
    pub(super) timeless: usize,
}

impl Seen {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let timeless = snapshot.nameless.iter().map(|socket| socket.ends.netns);
        Self {
            ended: snapshot.ended,
            unreadable: snapshot.unreadable.len(),
            unreachable: snapshot.unreachable,
            timeless: timeless.collect::<FxHashSet<_>>().len(),
        }
    }
}
