//! A snapshot of the kernel's sockets and their holders against the table. Pure.
//!
//! The snapshot is gathered elsewhere (`snapshot`), and the ring is drained after
//! it, before it comes here: so the table may be ahead of it, never behind,
//! unless records were lost.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::BTreeMap, time::Duration};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use crate::{
    clock::BootTime,
    decode::Owner,
    table::{
        ByEnds, Change, Table,
        connection::{ConnId, Connection},
    },
    tcp::{Known, OwnerKnown, Role, State},
};

pub use crate::table::{connection::Holder, socket::Socket};

/// All sockets and holders of the host at one time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// When gathering began.
    pub began: BootTime,
    /// When the last socket and fd had been read.
    pub ended: BootTime,
    /// What sock_diag listed, and what is held in CLOSE.
    pub sockets: Vec<Socket>,
    /// Sockets of namespaces that sock_diag does not reach: without cookie, times
    /// and totals.
    pub nameless: Vec<Socket>,
    /// Who has which socket open, by inode.
    pub holders: FxHashMap<u32, Vec<Holder>>,
    /// Network namespaces that were listed whole.
    pub namespaces: FxHashSet<u32>,
    /// Processor time that gathering took.
    pub cost: Duration,
    /// Network namespaces that have a process or a name; none where there may be more.
    pub existing: FxHashSet<u32>,
    /// How many of those that were there at the start may not be entered.
    pub unreachable: u32,
    /// Processes whose fds could not be read.
    pub unreadable: FxHashSet<u32>,
}

impl Snapshot {
    /// Each socket once, by its cookie, as it was last: one that goes to another hash bucket
    /// while the kernel lists them is listed twice, and TIME_WAIT has the cookie of the socket
    /// that it follows (`inet_twsk_alloc`, net/ipv4/inet_timewait_sock.c).
    #[must_use]
    pub fn latest(&self) -> BTreeMap<u64, &Socket> {
        let sockets = self.sockets.iter();
        sockets.map(|socket| (socket.cookie, socket)).collect()
    }

    /// Who holds `socket`, the lowest pid first: usually the one that opened it.
    #[must_use]
    pub fn holders_of(&self, socket: &Socket) -> &[Holder] {
        match socket.sample.inode {
            0 => &[],
            inode => self.holders.get(&inode).map_or(&[], Vec::as_slice),
        }
    }

    /// The cookies of further subflows of MPTCP connections: they share an inode with
    /// the first one (`mptcp_sock_graft`, net/mptcp/protocol.h), which is the one that
    /// comes first by `order`, and of those the one that got its cookie first.
    #[must_use]
    pub fn subflows<T: Ord>(&self, order: impl Fn(&Socket) -> T) -> FxHashSet<u64> {
        let mut firsts: FxHashMap<u32, &Socket> = FxHashMap::default();
        let mut others = FxHashSet::default();
        let held = self.sockets.iter().filter(|s| s.sample.inode != 0);
        let rank = |socket: &Socket| (order(socket), socket.cookie);
        for socket in held {
            let first = firsts.entry(socket.sample.inode).or_insert(socket);
            let (keep, other) = if rank(socket) < rank(first) {
                (socket, *first)
            } else {
                (*first, socket)
            };
            *first = keep;
            if other.cookie != keep.cookie {
                others.insert(other.cookie);
            }
        }
        others
    }

    /// The ports that have a listener, by namespace.
    #[must_use]
    pub fn listening(&self) -> FxHashSet<(u32, u16)> {
        self.sockets
            .iter()
            .filter(|socket| socket.state == State::Listen)
            .map(|socket| (socket.ends.netns, socket.ends.local.port()))
            .collect()
    }

    /// Which side a socket is on, told by whether its port has a listener.
    #[must_use]
    pub fn role_of(socket: &Socket, listening: &FxHashSet<(u32, u16)>) -> Role {
        if socket.state == State::Listen {
            Role::Listener
        } else if listening.contains(&(socket.ends.netns, socket.ends.local.port())) {
            Role::Server
        } else {
            Role::Client
        }
    }
}

/// On what terms a snapshot is worked in.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Which sockets the user asked for; others are not adopted.
    pub wants: &'a dyn Fn(&Socket) -> bool,
    /// Which of several holders the user asked for.
    pub prefers: &'a dyn Fn(&Holder) -> bool,
    /// Whether records were lost since the last snapshot. If not, a socket in CLOSE
    /// whose end was not announced is still held, whatever /proc shows, unless the
    /// snapshot before this one lacked it after a loss.
    pub has_lost: bool,
}

/// Works a snapshot into the table; `tell` hears of what that mended.
///
/// [`Table::begin_snapshot`] must have been called before it was gathered.
pub fn reconcile(
    table: &mut Table,
    snapshot: &Snapshot,
    terms: Terms<'_>,
    mut tell: impl FnMut(Change, BootTime, &Connection),
) {
    let listening = snapshot.listening();
    let mut present = FxHashSet::default();
    let is_by_address = table.is_by_address();
    let needs_ends = is_by_address || !snapshot.nameless.is_empty();
    let mut by_ends = if needs_ends {
        table.by_ends()
    } else {
        ByEnds::default()
    };
    let subflows = snapshot.subflows(|socket| {
        let is_known = table.get(socket.cookie).is_some();
        (!is_known, table.is_subflow(socket.cookie))
    });
    let whole = |socket: &&Socket| !socket.is_mini;
    let mut sockets = Vec::with_capacity(snapshot.sockets.len());
    // A dump lists a socket again where another one enters its hash bucket between two
    // messages (see `Snapshot::latest`). By its ends it would be found once only; and where
    // its state is to be corrected, that is done once.
    let matters_twice = is_by_address || terms.has_lost;
    let mut listed = FxHashSet::default();
    let is_latest = |socket: &&Socket| !matters_twice || listed.insert(socket.cookie);
    let latest = snapshot.sockets.iter().rev().filter(is_latest);
    for socket in latest.filter(whole) {
        let known = is_by_address
            .then(|| by_ends.find(socket, snapshot.holders_of(socket)))
            .flatten();
        // One that is left alone stands for the connection, but for one that closes.
        let is_subflow = match socket.sample.inode {
            0 => table.is_subflow(socket.cookie),
            _ => subflows.contains(&socket.cookie),
        };
        if known.is_some() || !is_subflow {
            sockets.push((known.unwrap_or(socket.cookie), socket));
        }
    }
    sockets.reverse();
    // A socket without a cookie could not be told from its next event, so none is
    // adopted.
    let nameless = snapshot.nameless.iter().filter(whole);
    sockets.extend(nameless.filter_map(|socket| {
        let name = by_ends.find(socket, snapshot.holders_of(socket))?;
        Some((name, socket))
    }));
    for (name, socket) in sockets {
        if table.was_freed(name, socket) {
            continue;
        }
        let holders = snapshot.holders_of(socket);
        let mut mended = None;
        match table.get(name) {
            None if socket.is_unconnected() || !(terms.wants)(socket) => continue,
            None => {
                let role = Snapshot::role_of(socket, &listening);
                let owner =
                    choose(holders, terms.prefers).map(|holder| owner_of(holder, socket.uid));
                let (ends, state) = (socket.ends, socket.state);
                // Not a name that is used again: the cookie.
                let id = ConnId {
                    sock: name,
                    generation: 0,
                };
                let known = table.adopt(id, ends, role, state, owner, terms.has_lost);
                mended = (known == Known::Repaired).then_some(Change::Opened);
            }
            Some(known) => {
                let stale = known.state != socket.state
                    && known.state_at.is_none_or(|at| at < snapshot.began);
                let owner = better_owner(known.owner, holders, terms.prefers, socket.uid);
                if stale {
                    table.correct(name, socket.state, snapshot.ended);
                    mended = Some(Change::State);
                }
                if let Some(owner) = owner {
                    table.hand_over(name, owner, OwnerKnown::Fds);
                }
            }
        }
        let is_let_go = table.measure(name, socket, holders);
        present.insert(name);
        if let Some(change) = mended {
            table.tell(name, change, snapshot.ended, &mut tell);
        }
        if is_let_go {
            table.tell(name, Change::AppClosed, snapshot.ended, &mut tell);
        }
    }

    let found_by_ends = snapshot.nameless.iter().map(|socket| socket.ends.netns);
    let found_by_ends: FxHashSet<u32> = found_by_ends.collect();
    // A dump may pass over a socket, where another of its hash bucket goes between
    // two messages, and one in CLOSE shows nowhere while its fd is on its way through a
    // unix socket: these are gone once they are missing twice, and the latter only if
    // its end may have been lost.
    let may_have_gone = |name, connection: &Connection| {
        terms.has_lost || connection.state != State::Close || table.was_missing(name)
    };
    let has_gone = |name, connection: &Connection| {
        (terms.has_lost && connection.state != State::Close) || table.was_missing(name)
    };
    let (vanished, missing): (Vec<_>, Vec<_>) = table
        .named()
        .filter(|(name, _)| !present.contains(name))
        .filter(|&(name, connection)| may_have_gone(name, connection))
        .filter(|(_, connection)| has_vanished(connection, snapshot, &found_by_ends))
        .partition(|&(name, connection)| has_gone(name, connection));
    let mut vanished: Vec<_> = vanished.iter().map(|&(name, c)| (c.id, name)).collect();
    vanished.sort_unstable();
    let missing = missing.into_iter().map(|(name, _)| name).collect();
    for (_, name) in vanished {
        table.vanish(name, snapshot.ended, &mut tell);
    }
    table.end_snapshot(missing);
}

/// A socket of a snapshot as a connection of its own, for what is listed without
/// a trace.
#[must_use]
pub fn connection_of(
    snapshot: &Snapshot,
    socket: &Socket,
    role: Role,
    prefers: impl Fn(&Holder) -> bool,
) -> Connection {
    let id = ConnId {
        sock: socket.cookie,
        generation: 0,
    };
    let holders = snapshot.holders_of(socket);
    let mut connection = Connection::new(id, socket.ends, role, socket.state);
    connection.known = Known::Inherited;
    if let Some(holder) = choose(holders, prefers) {
        connection.own(owner_of(holder, socket.uid), OwnerKnown::Fds);
    }
    connection.set_figures(socket.figures);
    if !socket.is_mini {
        connection.sample = Some(socket.sample);
        connection.note_holders(holders);
    }
    connection
}

/// Of several holders the one asked for, else the first.
fn choose(holders: &[Holder], prefers: impl Fn(&Holder) -> bool) -> Option<&Holder> {
    holders
        .iter()
        .find(|holder| prefers(holder))
        .or(holders.first())
}

fn owner_of(holder: &Holder, uid: u32) -> Owner {
    Owner {
        pid: holder.pid,
        tid: None,
        uid,
        comm: holder.comm,
        fd: Some(holder.fd),
        stack: None,
    }
}

/// The owner that the fds prove, where that differs from the one on record.
fn better_owner(
    known: Option<Owner>,
    holders: &[Holder],
    prefers: impl Fn(&Holder) -> bool,
    uid: u32,
) -> Option<Owner> {
    let first = choose(holders, prefers)?;
    let Some(known) = known else {
        return Some(owner_of(first, uid));
    };
    let mut own = holders
        .iter()
        .filter(|holder| holder.pid == known.pid)
        .peekable();
    let Some(lowest) = own.peek().copied() else {
        // Passed on: the opener no longer has it.
        return Some(owner_of(first, uid));
    };
    if own.any(|holder| Some(holder.fd) == known.fd) {
        return None;
    }
    Some(Owner {
        fd: Some(lowest.fd),
        ..known
    })
}

/// A socket is listed this many milliseconds after SYN_SENT or SYN_RECV is
/// announced: microseconds, unless its task is made to wait in between.
const HASHED_MS: u64 = 1_000;

/// Whether a connection that the snapshot does not show is really gone.
/// `found_by_ends`: the namespaces whose sockets have no cookie.
fn has_vanished(
    connection: &Connection,
    snapshot: &Snapshot,
    found_by_ends: &FxHashSet<u32>,
) -> bool {
    let netns = connection.netns;
    // A socket in CLOSE shows only to those who may look at its holder's fds.
    let is_held = connection
        .sample
        .is_some_and(|sample| snapshot.holders.contains_key(&sample.inode));
    // A namespace is kept by the sockets in it, too; once they are closed they go with it.
    let is_gone = !snapshot.existing.is_empty() && !snapshot.existing.contains(&netns) && !is_held;
    let is_covered = snapshot.namespaces.contains(&netns) || is_gone;
    // The states before ESTABLISHED are announced before the socket is hashed.
    let opens = matches!(connection.state, State::SynSent | State::SynRecv);
    let margin_ms = if opens { HASHED_MS } else { 0 };
    let began = snapshot.began.minus_ms(margin_ms);
    let is_older = connection.state_at.is_none_or(|at| at < began);
    if !is_older || !is_covered {
        return false;
    }
    if found_by_ends.contains(&netns) && connection.local().port() == 0 {
        // Its ends are not known in full, so it is not found by them.
        return false;
    }
    let is_hidden = connection
        .owner
        .is_some_and(|owner| snapshot.unreadable.contains(&owner.pid));
    connection.state != State::Close || !(is_held || is_hidden)
}

#[cfg(test)]
mod tests;
