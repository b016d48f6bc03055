//! Connections of one owner to one end: what a verdict is about. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::{
    clock::BootTime,
    decode::Comm,
    table::{connection::Connection, lingers::Lingers},
    tcp::Role,
};

/// What groups connections.
///
/// A client's connections are grouped by the remote address and port, a
/// server's by the local port, a listener's by its local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteKey {
    /// The owner's process id; 0 for processes that have exited and left no
    /// connection, which are grouped by name, and for owners unknown.
    pub pid: u32,
    /// The owner's name.
    pub comm: Comm,
    /// Which side the owner is on.
    pub role: Role,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Client: the remote end. Server and listener: the local port, with an
    /// unspecified address.
    pub end: SocketAddr,
}

impl SiteKey {
    /// The site of `connection` if `pid` and `comm` own it.
    #[must_use]
    pub fn of(connection: &Connection, pid: u32, comm: Comm) -> Self {
        let end = match connection.role {
            Role::Client => connection.remote,
            Role::Server | Role::Listener => {
                SocketAddr::new(IpAddr::from([0, 0, 0, 0]), connection.local.port())
            }
        };
        Self {
            pid,
            comm,
            role: connection.role,
            netns: connection.netns,
            end,
        }
    }
}

/// A point of a site's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: BootTime,
    /// Connections opened from the trace's start (or inherited) until then.
    pub opened: u64,
    /// Of those, not ended by then.
    pub live: u64,
}

/// What is kept of a site's connections, ended ones included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// There when the trace started.
    pub inherited: u64,
    /// Opened during the trace.
    pub opened: u64,
    /// Ended, of both.
    pub closed: u64,
    /// Ended with our FIN first, and left in TIME_WAIT or FIN_WAIT2.
    pub time_waits: u64,
    /// Of those, what the kernel still has.
    pub lingers: Lingers,
    /// Sum of the lifetimes of those ended whose opening was seen, in ms.
    pub lifetime_ms: u64,
    /// How many `lifetime_ms` sums up.
    pub lifetimes: u64,
    /// Connect calls that failed.
    pub connect_failures: u64,
    /// Processes that this site stands for; 1 but for exited ones.
    pub processes: u64,
    /// Records were lost while it was there: `opened` and `closed` may be more.
    pub incomplete: bool,
    /// Opened and live at the watch's checkpoints, oldest first.
    pub curve: Vec<Point>,
}

impl Tally {
    /// Inherited and opened, less ended.
    #[must_use]
    pub const fn live(&self) -> u64 {
        (self.inherited + self.opened).saturating_sub(self.closed)
    }
}
