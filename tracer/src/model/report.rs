//! What `leaks`, `ps` and `doctor` report. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    diagnosis::{Verdict, forecast::Forecast, runtime::Runtime},
    model::{
        connection::Connection,
        frame::{self, Frame},
        untrusted::Untrusted,
    },
    table::ages::Ages,
    tcp::{Role, State},
};

/// What was lost on the way, and mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Records that hooks set out to write. At the end of a run these are the
    /// delivered ones and the lost ones, exactly; before it some are on their way.
    pub events_generated: u64,
    /// Records read from the ring and understood.
    pub events_delivered: u64,
    /// Lost, all reasons: those below.
    pub events_lost: u64,
    /// Lost because the ring was full.
    pub ring_full: u64,
    /// Lost because the kernel skipped a hook that was already running on that CPU.
    pub hook_missed: u64,
    /// Records that reached us and could not be read.
    pub undecodable: u64,
    /// Records that reached us, and that the recording does not hold: its disk was too
    /// slow or full, or a block of it is damaged.
    pub unrecorded: u64,
    /// Events that `trace` dropped, after delivery, because its reader stalled.
    #[serde(skip)]
    pub unwritten: u64,
    /// Connections that a snapshot had to mend.
    pub repaired: u64,
    /// The recording is damaged, or cut off: what that took cannot be counted.
    #[serde(skip)]
    pub is_damaged: bool,
}

/// Who owns a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupOwner {
    /// Process id; `None` for exited processes grouped by name, or unknown.
    pub pid: Option<u32>,
    /// Name.
    pub comm: Option<Untrusted>,
    /// Path of the program; `None` where it cannot be read.
    pub exe: Option<Untrusted>,
    /// Control group.
    pub cgroup: Option<Untrusted>,
    /// Container id found in the control group's path.
    pub container: Option<Untrusted>,
    /// How many processes this stands for.
    pub processes: u64,
    /// What it runs on.
    pub runtime: Runtime,
    /// File descriptors in use, and its soft limit of them; `None` where they cannot
    /// be read.
    pub fds: Option<(u64, u64)>,
}

/// Which code opened a group's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeSite {
    /// The same for the same owner, role, end and code in every run.
    pub id: String,
    /// Call stack of connect or accept, innermost first; empty where it was not taken.
    pub frames: Vec<Frame>,
    /// The call stack goes on, but could not be followed to where it begins.
    pub cut_short: bool,
    /// All were there before the trace, so their opening was not seen.
    pub opened_before_start: bool,
}

impl CodeSite {
    /// The frame that names the code best.
    #[must_use]
    pub fn call_site(&self) -> Option<&Frame> {
        self.frames.get(frame::call_site(&self.frames)?)
    }
}

/// A program of this host at the other end of a group's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherEnd {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: Untrusted,
    /// How many of the live ones it has the other end of, or should accept.
    pub connections: u64,
}

/// Connections of one owner to one end, and what is said of them.
#[derive(Clone, Debug)]
pub struct Group {
    /// The finding.
    pub verdict: Verdict,
    /// Who.
    pub owner: GroupOwner,
    /// Which side the owner is on.
    pub role: Role,
    /// Client: the remote end. Server: `*`.
    pub remote: String,
    /// Server: the local port. Client: 0.
    pub local_port: u16,
    /// Opened by which code.
    pub site: CodeSite,
    /// Where the peer must act: which programs of this host that is, most connections
    /// first; empty where it is elsewhere, or is not watched.
    pub other_ends: Vec<OtherEnd>,
    /// Open now.
    pub live: u64,
    /// Opened during the watch.
    pub opened: u64,
    /// Ended during the watch.
    pub closed: u64,
    /// There before the watch.
    pub inherited: u64,
    /// Records were lost while it was watched: `opened` and `closed` may be more.
    pub incomplete: bool,
    /// What ended ones have left in the kernel.
    pub lingering: Left,
    /// Age of the oldest live one; `None` if that was opened before the watch.
    pub oldest_age_ms: Option<u64>,
    /// Live ones by state.
    pub states: BTreeMap<State, u64>,
    /// The live ones, oldest first.
    pub connections: Vec<Connection>,
    /// What its owner runs out of.
    pub forecast: Forecast,
    /// Opened and live in the course of the watch, oldest first.
    pub curve: Vec<Count>,
    /// How long those lived that ended, where their opening was seen.
    pub lives: Ages,
}

/// How many connections of a group there were at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// When.
    pub at: Timestamp,
    /// Opened since the watch began, or there before it.
    pub opened: u64,
    /// Of those, open then.
    pub live: u64,
}

/// Mini-sockets that the kernel still has of a group's ended connections. One that
/// was ended ahead of its time is counted until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// In TIME_WAIT.
    pub time_wait: u64,
    /// Orphans in FIN_WAIT2: the peer has not closed.
    pub fin_wait2: u64,
    /// When the last of them expires; `None` without any.
    pub until: Option<Timestamp>,
}

/// Counts over all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Seen during the watch, inherited ones included; listeners are not counted.
    pub connections_seen: u64,
    /// Open now.
    pub live: u64,
    /// Ended.
    pub closed: u64,
    /// Dropped from the table for want of room; counted, no longer followed.
    pub evicted: u64,
    /// Live ones that a verdict of class leak speaks of.
    pub leaked: u64,
    /// Live ones that a verdict of class stuck speaks of.
    pub stuck: u64,
}

/// The report of `leaks`.
#[derive(Clone, Debug)]
pub struct Leaks {
    /// Host name.
    pub host: Untrusted,
    /// Kernel release.
    pub kernel: Untrusted,
    /// Name of the probe plan in use.
    pub plan: &'static str,
    /// What that plan cannot see, a sentence each.
    pub blind: Vec<String>,
    /// Start and end of the watch.
    pub window: (Timestamp, Timestamp),
    /// What was lost.
    pub loss: Loss,
    /// Worst first.
    pub groups: Vec<Group>,
    /// Counts.
    pub summary: Summary,
}

/// How a check of `doctor` came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Ok,
    /// Works in part; tcpleak runs without it and says what is lost.
    Degraded,
    /// Missing; tcpleak cannot trace.
    Missing,
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do; `None` where nothing is to be done.
    pub fix: Option<String>,
}

/// The report of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doctor {
    /// Kernel release.
    pub kernel: String,
    /// The plan that would be used; `None` if none works.
    pub plan: Option<&'static str>,
    /// What that plan cannot see.
    pub blind: Vec<String>,
    /// In the order in which they depend on each other.
    pub checks: Vec<Check>,
}
