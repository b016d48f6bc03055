//! From a site to a verdict. Pure: one rule per file, each
//! `check(&Case) -> Option<Verdict>`; `None` is "not this", or "too early".
//!
//! A verdict needs evidence. Crying wolf is the worst failure: an idle pooled
//! connection, a long-lived one and an exit that closes all are not leaks.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use serde::Serialize;
use serde_json::Value;

use runtime::Runtime;
pub use statistics::significance;

use crate::{
    clock::BootTime,
    table::{
        connection::Connection,
        site::{SiteKey, Tally},
    },
    tcp::named,
};

mod abandoned;
pub mod explain;
pub mod forecast;
mod left_behind;
pub mod rules;
pub mod runtime;
mod signs;
mod statistics;
#[cfg(test)]
mod testing;
pub(crate) mod text;
mod trend;

named! {
    /// What kind of trouble a verdict speaks of, worst first.
    Class {
        /// The local program holds what it should have closed.
        Leak = "leak",
        /// Sockets stuck in a wait state.
        Stuck = "stuck",
        /// The other side is at fault.
        Peer = "peer",
        /// Working, but wasteful.
        Churn = "churn",
        /// Cannot tell yet.
        Unknown = "unknown",
        /// Nothing wrong.
        Healthy = "healthy",
    }
}

named! {
    /// How sure a verdict is, surest first.
    Confidence {
        /// The kernel's state proves it.
        High = "high",
        /// Two independent signs agree.
        Medium = "medium",
        /// One sign.
        Low = "low",
    }
}

named! {
    /// Who must act.
    Fault {
        /// The owner named with the verdict.
        LocalApp = "local-app",
        /// The program at the other end.
        Peer = "peer",
        /// The path between.
        Network = "network",
        /// Settings of either.
        Config = "config",
    }
}

/// One fact that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// What was looked at, with its unit.
    pub fact: &'static str,
    /// What was seen.
    pub value: Value,
}

impl Evidence {
    /// A fact and its value.
    pub fn new(fact: &'static str, value: impl Into<Value>) -> Self {
        Self {
            fact,
            value: value.into(),
        }
    }
}

/// What a rule says of a site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Stable name, as in the signatures table.
    pub code: &'static str,
    /// Kind of trouble.
    pub class: Class,
    /// How sure.
    pub confidence: Confidence,
    /// Who must act; `None` where nothing is wrong or nothing is known.
    pub fault: Option<Fault>,
    /// In plain words, with the numbers in it.
    pub why: String,
    /// What to do.
    pub fix: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// How many of the site's live connections it speaks of.
    #[serde(skip)]
    pub affected: usize,
}

impl Verdict {
    /// The peer that it blames is the owner itself.
    pub fn turn_on_owner(&mut self) {
        self.fault = Some(Fault::LocalApp);
        self.why.push_str("; both ends are in this one process");
    }
}

/// The queue of one listening socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Connections waiting to be accepted.
    pub waiting: u32,
    /// How many may wait.
    pub limit: u32,
}

impl Backlog {
    /// Whether the kernel turns newcomers away: it admits one more than the
    /// limit (`sk_acceptq_is_full`).
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.waiting > self.limit
    }
}

/// Facts of the host that rules compare with.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Size of `net.ipv4.ip_local_port_range`: local ports for connections to
    /// one destination.
    pub ephemeral_ports: u32,
    /// Sockets in TIME_WAIT now by destination, of all programs.
    pub time_wait: HashMap<SocketAddr, u32>,
    /// Listening sockets by namespace and local port; summed where several
    /// share one (SO_REUSEPORT).
    pub backlogs: HashMap<(u32, u16), Backlog>,
    /// Sockets in FIN_WAIT2 that nobody holds any more, by destination; those of
    /// servers by local port, with an unspecified address.
    pub orphans: HashMap<SocketAddr, u32>,
    /// Local ports in use for connections to one destination, by network
    /// namespace and destination: of all programs, TIME_WAIT included.
    pub used_ports: HashMap<(u32, SocketAddr), u32>,
    /// Processes that have some socket open.
    pub holders: HashSet<u32>,
}

/// A site at one instant: what every rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who and where to.
    pub key: &'a SiteKey,
    /// Its live connections.
    pub live: &'a [&'a Connection],
    /// Its counts.
    pub tally: &'a Tally,
    /// The host's facts.
    pub host: &'a Host,
    /// When the watch began.
    pub from: BootTime,
    /// Now: when the last snapshot was taken.
    pub now: BootTime,
    /// What the owner runs on.
    pub runtime: Runtime,
    /// How many destinations these are: 1, but where a client's sites with too few
    /// connections to speak of are judged together.
    pub destinations: usize,
    /// When the owner's live inbound connections were opened, as far as seen.
    pub inbound: &'a [BootTime],
    /// The p-value up to which a test is significant among all that are made.
    pub significance: f64,
}

impl Case<'_> {
    /// Length of the watch in milliseconds.
    #[must_use]
    pub const fn watched_ms(&self) -> u64 {
        self.now.ms_since(self.from)
    }

    /// What to do about a verdict, on the owner's runtime.
    #[must_use]
    pub fn fix(&self, code: &str) -> String {
        explain::of(code).map_or_else(String::new, |text| text.fix(self.runtime))
    }

    /// How long a definite sign must last before it counts, in milliseconds: a
    /// quarter of the watch, so that a short watch can speak, within 2 s (time
    /// enough for any program to get round to a close) and 15 s.
    #[must_use]
    pub fn grace_ms(&self) -> u64 {
        (self.watched_ms() / 4).clamp(2_000, 15_000)
    }
}

/// The p-value of a site's test, for [`significance`]; `None` where it has too few
/// connections for one.
#[must_use]
pub fn p_value(case: &Case<'_>) -> Option<f64> {
    let tests = [case.left_behind(), case.unanswered()];
    let p_values = tests.iter().filter_map(|left| {
        case.windows(left)
            .and_then(|windows| left_behind::p_value(&windows))
    });
    p_values.min_by(f64::total_cmp)
}

/// What the first rule that answers says of a site.
#[must_use]
pub fn judge(case: &Case<'_>) -> Verdict {
    rules::RULES
        .iter()
        .find_map(|rule| rule(case))
        .unwrap_or_else(|| rules::healthy::verdict(case))
}

/// Sorts verdicts worst first: by class, how sure, how many connections are
/// affected, and how many of the site are `live`.
#[must_use]
pub fn rank(verdict: &Verdict, live: usize) -> impl Ord + use<> {
    (
        verdict.class,
        verdict.confidence,
        Reverse(verdict.affected),
        Reverse(live),
    )
}

#[cfg(test)]
mod tests;
