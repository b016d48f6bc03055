//! A snapshot of the kernel's sockets and their holders against the table. Pure.
//!
//! The snapshot is gathered elsewhere (`snapshot`), and the ring is drained after
//! it, before it comes here: so the table may be ahead of it, never behind,
//! unless records were lost.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    clock::BootTime,
    decode::{Comm, Ends, Figures, Owner},
    table::{
        Change, Table,
        connection::{ConnId, Connection, Sample},
    },
    tcp::{Known, Role, State},
};

/// A socket as sock_diag shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Socket {
    /// Its cookie.
    pub cookie: u64,
    /// Both ends, and the namespace.
    pub ends: Ends,
    /// State.
    pub state: State,
    /// A mini-socket: TIME_WAIT, an orphan's FIN_WAIT2, or half-open.
    pub is_mini: bool,
    /// Effective uid of its creator.
    pub uid: u32,
    /// Queues and times; for a mini-socket without meaning.
    pub sample: Sample,
    /// Totals.
    pub figures: Figures,
}

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// File descriptor.
    pub fd: i32,
    /// Name of the process.
    pub comm: Comm,
}

/// All sockets and holders of the host at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When gathering began.
    pub began: BootTime,
    /// When the last socket and fd had been read.
    pub ended: BootTime,
    /// What sock_diag listed.
    pub sockets: Vec<Socket>,
    /// Who has which socket open, by inode.
    pub holders: FxHashMap<u32, Vec<Holder>>,
    /// Network namespaces that were listed whole.
    pub namespaces: FxHashSet<u32>,
    /// Processes whose fds could not be read.
    pub unreadable: FxHashSet<u32>,
}

impl Snapshot {
    /// Who holds `socket`, the lowest pid first: usually the one that opened it.
    #[must_use]
    pub fn holders_of(&self, socket: &Socket) -> &[Holder] {
        match socket.sample.inode {
            0 => &[],
            inode => self.holders.get(&inode).map_or(&[], Vec::as_slice),
        }
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
    /// whose end was not announced is still held, whatever /proc shows.
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
    for socket in snapshot.sockets.iter().filter(|socket| !socket.is_mini) {
        let name = if table.is_by_address() {
            table.find(socket.ends).unwrap_or(socket.cookie)
        } else {
            socket.cookie
        };
        if table.was_freed(name) {
            continue;
        }
        let holders = snapshot.holders_of(socket);
        let mut mended = None;
        match table.get(name) {
            None if !(terms.wants)(socket) => continue,
            None => {
                let role = Snapshot::role_of(socket, &listening);
                let owner =
                    choose(holders, terms.prefers).map(|holder| owner_of(holder, socket.uid));
                let (ends, state) = (socket.ends, socket.state);
                let known = table.adopt(name, ends, role, state, owner, terms.has_lost);
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
                    table.hand_over(name, owner);
                }
            }
        }
        table.measure(name, socket.sample, socket.figures);
        present.insert(name);
        if let Some(change) = mended {
            table.tell(name, change, snapshot.ended, &mut tell);
        }
    }

    let unlisted = if terms.has_lost {
        unlisted_fds(snapshot)
    } else {
        FxHashSet::default()
    };
    let missing = table
        .connections()
        .filter(|connection| !present.contains(&connection.id.sock))
        .filter(|connection| terms.has_lost || connection.state != State::Close)
        .filter(|connection| has_vanished(connection, snapshot, &unlisted));
    // A dump may pass over a socket, where another of its hash bucket goes between
    // two messages; and the states before ESTABLISHED are announced before the
    // socket can be listed. Only what is missing twice is then gone.
    let (vanished, missing): (Vec<&Connection>, Vec<&Connection>) =
        missing.partition(|connection| {
            let opens = matches!(connection.state, State::SynSent | State::SynRecv);
            (terms.has_lost && !opens) || table.was_missing(connection.id.sock)
        });
    let mut vanished: Vec<_> = vanished.iter().map(|connection| connection.id).collect();
    vanished.sort_unstable();
    let missing = missing
        .iter()
        .map(|connection| connection.id.sock)
        .collect();
    for ConnId { sock, .. } in vanished {
        table.vanish(sock, snapshot.ended, &mut tell);
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
    connection.owner = choose(holders, prefers).map(|holder| owner_of(holder, socket.uid));
    connection.set_figures(socket.figures);
    connection.sample = (!socket.is_mini).then_some(socket.sample);
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

/// The open sockets that sock_diag did not list: those in CLOSE, and those of
/// other protocols.
fn unlisted_fds(snapshot: &Snapshot) -> FxHashSet<(u32, i32)> {
    let listed: FxHashSet<u32> = snapshot
        .sockets
        .iter()
        .map(|socket| socket.sample.inode)
        .collect();
    let unlisted = snapshot
        .holders
        .iter()
        .filter(|(inode, _)| !listed.contains(inode));
    unlisted
        .flat_map(|(_, holders)| holders.iter().map(|holder| (holder.pid, holder.fd)))
        .collect()
}

/// Whether a connection that the snapshot does not show is really gone.
fn has_vanished(
    connection: &Connection,
    snapshot: &Snapshot,
    unlisted: &FxHashSet<(u32, i32)>,
) -> bool {
    let is_covered = snapshot.namespaces.contains(&connection.netns);
    let is_older = connection.state_at.is_none_or(|at| at < snapshot.began);
    if !is_older || (!is_covered && connection.state != State::Close) {
        return false;
    }
    if connection.state != State::Close {
        return true;
    }
    // sock_diag does not list CLOSE: only an fd shows that it is still held, if the
    // owner lets us see its fds.
    let inode = connection.sample.map_or(0, |sample| sample.inode);
    let holder = connection
        .owner
        .and_then(|owner| Some((owner.pid, owner.fd?)));
    let is_held = match (inode, holder) {
        (0, Some(holder)) => unlisted.contains(&holder),
        (0, None) => connection.owner.is_some(),
        (inode, _) => snapshot.holders.contains_key(&inode),
    };
    let is_hidden = |owner: Owner| snapshot.unreadable.contains(&owner.pid);
    !is_held && !connection.owner.is_some_and(is_hidden)
}

#[cfg(test)]
mod tests;
