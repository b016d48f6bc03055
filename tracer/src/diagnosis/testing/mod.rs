//! Builds sites for scenario tests: `site().with(25, close_wait(20_000).recv_q(0))`.
//! Times are milliseconds before now.

mod conn;
mod simulation;

use std::net::SocketAddr;

pub(crate) use conn::{Conn, close_wait, conn, dead, established, unaccepted};
pub(crate) use simulation::{Leak, Pool, Traffic, World};

use crate::{
    clock::BootTime,
    decode::Comm,
    diagnosis::{Backlog, Case, Host, Verdict, judge, runtime::Runtime},
    table::{
        connection::Connection,
        site::{Point, SiteKey, Tally},
    },
    tcp::Role,
};

/// Now, in all scenarios: an hour after boot.
pub(crate) const NOW: BootTime = BootTime::from_ns(3_600_000_000_000);

/// The parts into which checkpoints cut the watch.
const CHECKPOINTS: u64 = 20;

fn ago(ms: u64) -> BootTime {
    NOW.minus_ms(ms)
}

/// A site in the making.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) key: SiteKey,
    pub(crate) live: Vec<Connection>,
    pub(crate) host: Host,
    pub(crate) tally: Tally,
    pub(crate) watched_ms: u64,
    /// When connections that have ended did so and were opened, in ms before now.
    ended: Vec<(u64, u64)>,
    pub(crate) runtime: Runtime,
    pub(crate) destinations: usize,
    pub(crate) inbound: Vec<BootTime>,
    /// Set where the tally is not to be counted from the connections.
    pub(crate) counted: Option<Tally>,
}

/// A client site, watched for a minute, without connections.
pub(crate) fn site() -> Site {
    Site {
        key: SiteKey {
            pid: 123,
            comm: Comm::from(&b"\x1b[31mevil"[..]),
            role: Role::Client,
            netns: 1,
            end: SocketAddr::from(([127, 0, 0, 1], 8_099)),
            stack: None,
        },
        live: Vec::new(),
        host: Host {
            ephemeral_ports: 28_232,
            ..Host::default()
        },
        tally: Tally {
            processes: 1,
            ..Tally::default()
        },
        watched_ms: 60_000,
        ended: Vec::new(),
        runtime: Runtime::Unknown,
        destinations: 1,
        inbound: Vec::new(),
        counted: None,
    }
}

impl Site {
    pub(crate) fn role(mut self, role: Role) -> Self {
        self.key.role = role;
        self
    }

    pub(crate) fn server(self) -> Self {
        self.role(Role::Server)
    }

    pub(crate) fn watched(mut self, ms: u64) -> Self {
        self.watched_ms = ms;
        self
    }

    pub(crate) fn with(self, n: u64, conn: Conn) -> Self {
        self.each(n, |_| conn.clone())
    }

    pub(crate) fn each(mut self, n: u64, conn: impl Fn(u64) -> Conn) -> Self {
        let role = self.key.role;
        self.live.extend((0..n).map(|i| {
            let mut connection = conn(i).0;
            connection.role = role;
            connection
        }));
        self
    }

    /// `n` connections that ended, evenly over the last `last_ms` of the watch,
    /// we first, each after `lifetime_ms`.
    pub(crate) fn closed(mut self, n: u64, last_ms: u64, lifetime_ms: u64) -> Self {
        let ends = (0..n).map(|i| i * last_ms / n);
        self.ended.extend(ends.map(|end| (end, end + lifetime_ms)));
        self.tally.time_waits += n;
        self.tally.lifetimes += n;
        for _ in 0..n {
            self.tally.lives.record(lifetime_ms);
        }
        self.tally.lifetime_ms += n * lifetime_ms;
        self
    }

    pub(crate) fn queue(mut self, waiting: u32, limit: u32) -> Self {
        let listener = (self.key.netns, self.key.end.port());
        self.host
            .backlogs
            .insert(listener, Backlog { waiting, limit });
        self
    }

    /// Opened (or inherited) and ended until `ms` before now.
    fn point(&self, ms: u64) -> Point {
        let at = ago(ms);
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let is_open = |c: &&Connection| c.opened_at.is_none_or(|t| t <= at);
        let live = count(self.live.iter().filter(is_open).count());
        let opened = count(self.ended.iter().filter(|(_, o)| ago(*o) <= at).count());
        let ended = count(self.ended.iter().filter(|(e, _)| ago(*e) <= at).count());
        Point {
            at,
            opened: live + opened,
            live: live + opened - ended,
        }
    }

    /// Counts and curve as the connections imply.
    fn counted(&self) -> Tally {
        if let Some(tally) = &self.counted {
            return tally.clone();
        }
        let watched = self.watched_ms;
        let ends = self.point(0);
        let inherited = self.point(watched).opened;
        let checkpoints = (1..=CHECKPOINTS).rev();
        Tally {
            inherited,
            opened: ends.opened - inherited,
            closed: ends.opened - ends.live,
            curve: checkpoints
                .map(|i| self.point(i * watched / CHECKPOINTS))
                .collect(),
            ..self.tally.clone()
        }
    }

    /// What the rules say, after a look that no name got into the words.
    pub(crate) fn judge(&self) -> Verdict {
        let live: Vec<_> = self.live.iter().collect();
        let verdict = judge(&Case {
            key: &self.key,
            live: &live,
            tally: &self.counted(),
            host: &self.host,
            from: ago(self.watched_ms),
            now: NOW,
            runtime: self.runtime,
            destinations: self.destinations,
            inbound: &self.inbound,
            significance: 0.01,
        });
        let words = format!("{verdict:?}");
        assert!(!words.contains("evil"), "untrusted name in {words}");
        verdict
    }

    pub(crate) fn code(&self) -> &'static str {
        self.judge().code
    }
}
