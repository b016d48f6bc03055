//! What a snapshot may change in the table. Pure; decided in `reconcile`.

use std::net::SocketAddr;

use rustc_hash::FxHashSet;

use super::{Change, Entry, Origin, Table};
use crate::{
    clock::BootTime,
    decode::{Ends, Event, Owner},
    table::{
        by_ends::{is_portless, portless},
        connection::{ConnId, Connection, Holder, Sample},
        socket::Socket,
    },
    tcp::{Known, OwnerKnown, Role, State},
};

/// Sockets freed while a snapshot is being taken: they must not be taken for
/// missed ones.
#[derive(Debug, Default)]
pub(super) struct Freed {
    names: FxHashSet<u64>,
    /// Where sockets are named by address, which no snapshot knows.
    pub(super) ends: FxHashSet<Ends>,
}

impl Table {
    /// A snapshot is about to be taken: remember which sockets are freed from
    /// here on, so that they are not taken for missed ones.
    pub fn begin_snapshot(&mut self) {
        self.freed = Some(Freed::default());
    }

    /// The snapshot is worked in; `missing` are the connections that it should
    /// have shown and did not, and that stay all the same.
    pub fn end_snapshot(&mut self, missing: FxHashSet<u64>) {
        self.freed = None;
        self.warming_up = false;
        self.missing = missing;
    }

    /// Whether the snapshot before this one already lacked a connection.
    #[must_use]
    pub fn was_missing(&self, sock: u64) -> bool {
        self.missing.contains(&sock)
    }

    /// A socket is being freed.
    pub(super) fn note_freed(&mut self, sock: u64) {
        self.subflows.remove(&sock);
        self.last_freed.rotate_right(1);
        self.last_freed[0] = sock;
        if let Some(freed) = &mut self.freed {
            freed.names.insert(sock);
            self.note_left(sock);
        }
    }

    /// A socket leaves its ends behind: it is freed, or about to have others.
    pub(super) fn note_left(&mut self, sock: u64) {
        if self.by_address
            && let Some(freed) = &mut self.freed
            && let Some(entry) = self.entries.get(&sock)
        {
            freed.ends.insert(entry.connection.ends());
        }
    }

    /// Whether a socket of the snapshot, called `name`, was freed since that began.
    #[must_use]
    pub fn was_freed(&self, name: u64, socket: &Socket) -> bool {
        let Some(freed) = &self.freed else {
            return false;
        };
        if !self.by_address {
            return freed.names.contains(&name);
        }
        // What has an address now may be another than what was freed there.
        if let Some(connection) = self.get(name) {
            return connection.end.freed_at.is_some();
        }
        let ends = &socket.ends;
        freed.ends.contains(ends)
            || (is_portless(socket.state) && freed.ends.contains(&portless(*ends)))
    }

    /// Whether a socket is known to be a further subflow of an MPTCP connection.
    #[must_use]
    pub fn is_subflow(&self, sock: u64) -> bool {
        self.subflows.contains(&sock)
    }

    /// The connection called `sock`.
    #[must_use]
    pub fn get(&self, sock: u64) -> Option<&Connection> {
        self.entries.get(&sock).map(|entry| &entry.connection)
    }

    /// Whether sockets are named by address.
    #[must_use]
    pub fn is_by_address(&self) -> bool {
        self.by_address
    }

    /// Adds a socket that nothing announced: there before the trace, kept back by
    /// a filter until now, or its opening was lost. `has_lost`: records were lost
    /// lately, so that a filter is not what kept it back.
    pub fn adopt(
        &mut self,
        id: ConnId,
        ends: Ends,
        role: Role,
        state: State,
        owner: Option<Owner>,
        has_lost: bool,
    ) -> Known {
        let sock = id.sock;
        let mut connection = Connection::new(id, ends, role, state);
        if let Some(owner) = owner {
            connection.own(owner, OwnerKnown::Fds);
        }
        let (known, origin) = if self.warming_up || (self.is_partial && !has_lost) {
            (Known::Inherited, Origin::Inherited)
        } else {
            (Known::Repaired, Origin::Opened)
        };
        connection.known = known;
        if self.insert(connection, origin) {
            self.counters.repaired += u64::from(known == Known::Repaired);
            if self.by_address {
                self.unnamed.insert(ends, sock);
            }
        }
        known
    }

    /// Tells of a connection that a snapshot brought in or changed.
    pub(crate) fn tell(
        &self,
        sock: u64,
        change: Change,
        at: BootTime,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        if let Some(connection) = self.get(sock) {
            tell(change, at, connection);
        }
    }

    /// Corrects a state whose transition was missed, or left out.
    pub fn correct(&mut self, sock: u64, state: State, at: BootTime) {
        let may_skip = self.may_skip();
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        let is_missed = !may_skip(&entry.connection);
        let connection = &mut entry.connection;
        connection.state = state;
        connection.state_at = Some(at);
        connection.pass_through(at, state);
        if is_missed {
            connection.known = Known::Repaired;
            self.counters.repaired += 1;
        }
    }

    /// Notes what the snapshot measured. Returns whether that shows that the last
    /// program has let go.
    pub fn measure(&mut self, sock: u64, socket: &Socket, holders: &[Holder]) -> bool {
        let Some(entry) = self.entries.get_mut(&sock) else {
            return false;
        };
        let connection = &mut entry.connection;
        connection.note_holders(holders);
        let is_later = connection.opened_at.is_some_and(|at| at > socket.sample.at);
        if connection.id.generation > 0 && is_later {
            // What was measured is the one before it, of the same socket.
            return false;
        }
        connection.set_sample(socket.sample);
        if connection.local().port() == 0 {
            connection.set_ends(socket.ends);
        }
        // `tcp_disconnect` sets the kernel's own figures back to zero.
        let is_final = connection.end.at.is_some() && connection.known == Known::Observed;
        if !socket.sample.is_bare && !is_final {
            connection.set_figures(socket.figures);
        }
        note_holding(entry, socket.sample, !holders.is_empty())
    }

    /// Ends a connection whose end was missed.
    pub fn vanish(
        &mut self,
        sock: u64,
        at: BootTime,
        tell: &mut impl FnMut(Change, BootTime, &Connection),
    ) {
        let Some(entry) = self.entries.get_mut(&sock) else {
            return;
        };
        if entry.connection.end.freed_at.is_some() {
            // Its end was heard.
            return;
        }
        entry.connection.known = Known::Repaired;
        self.counters.repaired += 1;
        self.gone(at, sock, tell);
    }

    /// Named by address: an event whose ends are not those of the connection that has the
    /// name is of another socket, and the end of that connection was not heard; or it is
    /// another connection of the same socket.
    pub fn give_way(&mut self, event: &Event, mut tell: impl FnMut(Change, BootTime, &Connection)) {
        // First: most kernels have cookies, and this is asked of every event.
        if !self.by_address {
            return;
        }
        let (Event::State { at, sock, ends, .. } | Event::Accept { at, sock, ends, .. }) = *event
        else {
            return;
        };
        let entry = self.entries.get(&sock);
        if entry.is_some_and(|entry| is_another(&entry.connection.ends(), &ends)) {
            self.note_left(sock);
            match *event {
                Event::State {
                    old: State::Close, ..
                } => self.gone(at, sock, &mut tell),
                _ => self.vanish(sock, at, &mut tell),
            }
        }
    }

    /// Named by address: gives a socket that a snapshot brought in, under its
    /// cookie, the name that its records use. Its id stays: it may have been told.
    pub(super) fn rename(&mut self, sock: u64, ends: Ends) -> bool {
        let Some(entry) = self
            .unnamed
            .remove(&ends)
            .and_then(|old| self.entries.remove(&old))
        else {
            return false;
        };
        self.entries.insert(sock, entry);
        true
    }
}

/// Whether a program holds the socket is certain from its inode: 0 once the
/// last holder has closed. What was concluded from transitions gives way where somebody
/// has it `open`. Returns whether it is found let go.
fn note_holding(entry: &mut Entry, sample: Sample, open: bool) -> bool {
    let connection = &mut entry.connection;
    let later = |at: Option<BootTime>| at.is_some_and(|at| at > sample.at);
    if later(connection.state_at) || later(connection.end.app_closed_at) {
        // A server's socket has no inode either before it is accepted.
        return false;
    }
    let closing = matches!(
        connection.state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck
    );
    let is_closed = connection.end.app_closed_at.is_some();
    if sample.inode != 0 && open && is_closed && closing {
        // A half close that no hook told from a close (io_uring). Nobody has it open any
        // more where close(2) waits for the peer (SO_LINGER): then it has its inode still.
        connection.end.app_closed_at = None;
        connection.half_closed = true;
    } else if sample.inode == 0 && !is_closed && closing {
        connection.end.app_closed_at = Some(sample.at);
        return true;
    }
    false
}

/// Whether these are the ends of two connections. A port may not be known yet, or any more,
/// and a local address may still be unspecified.
fn is_another(known: &Ends, told: &Ends) -> bool {
    let are_set = |one: SocketAddr, other: SocketAddr| one.port() != 0 && other.port() != 0;
    known.netns != told.netns
        || (are_set(known.remote, told.remote) && known.remote != told.remote)
        || (are_set(known.local, told.local) && known.local.port() != told.local.port())
}
