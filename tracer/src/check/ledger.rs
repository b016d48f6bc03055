//! What a command's processes did with connections. Pure.

use std::{collections::VecDeque, net::SocketAddr};

use rustc_hash::FxHashMap;

use crate::{
    clock::BootTime,
    decode::Owner,
    table::{
        Change, Table,
        connection::{ConnId, Connection},
        site::CallStack,
    },
    tcp::{Known, Role},
};

/// Openings that are remembered; more are only counted. A run that opens as many is a
/// load test, and what it leaks shows in the first ones.
const MAX_OPENINGS: usize = 262_144;

/// How long an interpreter may take to end, in milliseconds: what was closed earlier
/// than this before its process ended, the program closed.
const ENDS_WITHIN_MS: u64 = 10_000;

/// Connections that one process closed of late and that are remembered until it is
/// known whether it was ending.
const MAX_LATE: usize = 256;

/// Connections left open that are remembered, each a few hundred bytes.
const MAX_LEFT: usize = 65_536;

/// A program opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which.
    pub id: ConnId,
    /// By whom, as it was then.
    pub owner: Owner,
    /// To where.
    pub remote: SocketAddr,
    /// In which network namespace.
    pub netns: u32,
    /// When.
    pub at: BootTime,
}

impl Opening {
    /// The call stack that opened it.
    #[must_use]
    pub fn stack(&self) -> Option<CallStack> {
        let pid = self.owner.pid;
        self.owner.stack.map(|stack| CallStack { pid, stack })
    }
}

/// A connection that no program closed.
#[derive(Clone, Debug)]
pub struct Left {
    /// As it was last seen.
    pub connection: Connection,
    /// When its process began to end, or the command had ended. What comes after it, such
    /// as a FIN from the other end in the same process, is the end's doing.
    pub until: BootTime,
    /// Whether its process ended; else it lives on.
    pub by_exit: bool,
}

/// Books of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Processes that have ended, and when. One for each number that the kernel has
    /// for processes at most.
    exits: FxHashMap<u32, BootTime>,
    left: FxHashMap<ConnId, Left>,
    /// The connections that each process closed last.
    late: FxHashMap<u32, VecDeque<Connection>>,
    openings: Vec<Opening>,
    /// Connections opened or accepted.
    seen: u64,
    /// Of these, the ones that a program closed.
    closed: u64,
    /// Left open or opened, and not remembered for want of room.
    forgotten: u64,
}

impl Ledger {
    /// A connection changed.
    pub fn change(&mut self, change: Change, connection: &Connection) {
        if !is_of_run(connection) {
            return;
        }
        match change {
            Change::Opened => self.opened(connection),
            Change::Accepted => self.seen += 1,
            Change::AppClosed => self.let_go(connection),
            // What the last transitions tell comes after it.
            _ => {
                if let Some(left) = self.left.get_mut(&connection.id) {
                    left.connection = connection.clone();
                }
            }
        }
    }

    /// A process is about to end.
    pub fn exit(&mut self, at: BootTime, pid: u32) {
        self.exits.insert(pid, at);
        if let Some(late) = self.late.get_mut(&pid) {
            late.retain(|connection| {
                let closed = connection.end.app_closed_at.unwrap_or_default();
                at.ms_since(closed) <= ENDS_WITHIN_MS
            });
        }
    }

    /// Takes what a process closed while its interpreter was ending for what only the
    /// exit closed. `ends` tells since when a process's interpreter is.
    pub fn settle(&mut self, ends: impl Fn(u32) -> Option<BootTime>) {
        for (pid, late) in std::mem::take(&mut self.late) {
            let Some(began) = ends(pid) else {
                continue;
            };
            for connection in late {
                let closed = connection.end.app_closed_at.unwrap_or_default();
                if closed >= began {
                    self.closed -= 1;
                    self.leave(&connection, began, true);
                }
            }
        }
    }

    /// Takes in what living processes hold at the end of the run.
    pub fn finish(&mut self, table: &Table, now: BootTime, is_followed: impl Fn(u32) -> bool) {
        for connection in table.connections() {
            let is_held = connection.is_live() && connection.is_held();
            let is_ours = connection.owner.is_some_and(|owner| is_followed(owner.pid));
            if is_held && is_ours && is_of_run(connection) {
                self.leave(connection, now, false);
            }
        }
    }

    /// What no program closed, the oldest first.
    #[must_use]
    pub fn left(&self) -> Vec<&Left> {
        let mut left: Vec<_> = self.left.values().collect();
        left.sort_by_key(|left| (left.connection.opened_at, left.connection.id));
        left
    }

    /// What was opened, in order.
    #[must_use]
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }

    /// Connections opened or accepted, those closed by a program, and those not
    /// remembered for want of room.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64, u64) {
        (self.seen, self.closed, self.forgotten)
    }

    fn opened(&mut self, connection: &Connection) {
        let (Role::Client, Some(owner), Some(at)) =
            (connection.role, connection.owner, connection.opened_at)
        else {
            return;
        };
        self.seen += 1;
        // The number is in use again.
        self.exits.remove(&owner.pid);
        if self.openings.len() >= MAX_OPENINGS {
            self.forgotten += 1;
            return;
        }
        self.openings.push(Opening {
            id: connection.id,
            owner,
            remote: connection.remote(),
            netns: connection.netns,
            at,
        });
    }

    fn let_go(&mut self, connection: &Connection) {
        let Some(owner) = connection.owner else {
            return;
        };
        let at = connection.end.app_closed_at.unwrap_or_default();
        let exit = self.exits.get(&owner.pid).filter(|&&exit| exit <= at);
        if let Some(&exit) = exit {
            self.leave(connection, exit, true);
        } else {
            self.closed += 1;
            let late = self.late.entry(owner.pid).or_default();
            if late.len() >= MAX_LATE {
                late.pop_front();
            }
            late.push_back(connection.clone());
        }
    }

    fn leave(&mut self, connection: &Connection, until: BootTime, by_exit: bool) {
        // A connect that failed is no connection.
        let is_one = connection.established_at.is_some() || connection.end.at.is_none();
        if !is_one && connection.end.error != 0 {
            return;
        }
        if self.left.len() >= MAX_LEFT {
            self.forgotten += 1;
            return;
        }
        let left = Left {
            connection: connection.clone(),
            until,
            by_exit,
        };
        self.left.insert(connection.id, left);
    }
}

/// Whether a connection belongs to the run: not what the command was handed.
fn is_of_run(connection: &Connection) -> bool {
    connection.role != Role::Listener && connection.known != Known::Inherited
}
