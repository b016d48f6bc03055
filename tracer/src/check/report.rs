//! What `check` reports. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use super::{rule::Verdict, site::Site};
use crate::{
    model::{connection::Connection, report::Loss, untrusted::Untrusted},
    tcp::Role,
};

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Ended {
    /// As a shell tells it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

/// Connections that no program closed, opened by the same code and judged alike.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How they are judged.
    pub verdict: Verdict,
    /// The verdict's name.
    pub code: &'static str,
    /// In plain words, with the numbers in it.
    pub why: String,
    /// What to do.
    pub fix: String,
    /// The pattern of `--allow` that lets them pass.
    pub allowed_by: Option<String>,
    /// Whether the run fails for them.
    pub fails: bool,
    /// Name of the process that had them.
    pub comm: Option<Untrusted>,
    /// Its process id; `None` where there were several.
    pub pid: Option<u32>,
    /// Which side it was on.
    pub role: Role,
    /// Client: the other end, `*` for several. Server: `*`.
    pub remote: String,
    /// Server: the local port, 0 for several. Client: 0.
    pub local_port: u16,
    /// The code that opened or accepted them.
    pub site: Arc<Site>,
    /// The connections, oldest first, as they were when they were left.
    pub connections: Vec<Connection>,
}

/// Counts over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Opened or accepted by the command's processes.
    pub seen: u64,
    /// Closed by a program.
    pub closed: u64,
    /// Leaked, and not allowed.
    pub leaked: u64,
    /// Stuck, and not allowed.
    pub stuck: u64,
    /// Closed by nothing but an exit, or open still, and not allowed.
    pub held: u64,
    /// Let pass by `--allow`.
    pub allowed: u64,
    /// Not judged, for want of room.
    pub forgotten: u64,
}

/// The report of `check`.
#[derive(Clone, Debug)]
pub struct Run {
    /// Host name.
    pub host: Untrusted,
    /// Kernel release.
    pub kernel: Untrusted,
    /// Name of the probe plan in use.
    pub plan: &'static str,
    /// What that plan cannot see, a sentence each.
    pub blind: Vec<String>,
    /// The command and its arguments.
    pub command: Vec<Untrusted>,
    /// The folder that it ran in.
    pub folder: Option<Untrusted>,
    /// How it ended.
    pub ended: Ended,
    /// When it started and ended.
    pub window: (Timestamp, Timestamp),
    /// `--grace`, in milliseconds.
    pub grace_ms: u64,
    /// `--strict`
    pub strict: bool,
    /// What was lost.
    pub loss: Loss,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// Counts.
    pub counts: Counts,
}

impl Run {
    /// Whether connections were leaked.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.findings.iter().any(|finding| finding.fails)
    }
}
