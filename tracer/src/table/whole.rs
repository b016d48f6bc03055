//! Connections that came and went at once: into the books, and never into the table. Pure.

use super::{Entry, Origin, Table, connection::ConnId};
use crate::{
    decode::{Event, Owner},
    table::connection::{ConnectReturn, Connection},
    tcp::{OwnerKnown, Role, State},
};

impl Table {
    /// Applies all events of a connection, of which nothing was told before: as
    /// [`Table::apply`] of each, where nobody wants to hear what changes. It ended without an
    /// error or a reset, and is freed.
    pub fn apply_whole(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut whole = None;
        for event in events {
            match &mut whole {
                None => whole = birth(event),
                Some(entry) => self.goes_on(entry, event),
            }
        }
        let Some(Entry { connection, .. }) = whole else {
            return;
        };
        self.counters.seen += 1;
        self.counters.closed += 1;
        if let Some(owner) = &connection.owner {
            let site = self.sites.enter(&connection, owner, Origin::Opened);
            self.sites.leave(Some(site), &connection);
        }
        self.note_freed(connection.id.sock);
    }

    /// Whether a connection may be applied as a whole.
    #[must_use]
    pub fn takes_whole(&self, sock: u64) -> bool {
        !self.by_address && !self.entries.contains_key(&sock)
    }

    fn goes_on(&self, entry: &mut Entry, event: Event) {
        let may_skip = self.may_skip()(&entry.connection);
        let connection = &mut entry.connection;
        match event {
            Event::State {
                at,
                ends,
                old,
                new,
                how,
                ..
            } => {
                entry.moves(at, ends, (old, new), how, self.hears, may_skip);
            }
            Event::Connect {
                errno, latency_ns, ..
            } => connection.connect = Some(ConnectReturn::new(errno, latency_ns)),
            Event::Accept { owner, .. } => connection.own(owner, OwnerKnown::Accept),
            Event::Close { at, exiting, .. } => connection.let_go(at, exiting),
            Event::TimeWait {
                at, state, stays, ..
            } => connection.note_linger(at, state, stays),
            // These leave none whole, or are no part of one.
            Event::Reset { .. }
            | Event::Gone { .. }
            | Event::Join { .. }
            | Event::Exec { .. }
            | Event::Exit { .. } => {}
        }
    }
}

/// The first of its events.
fn birth(event: Event) -> Option<Entry> {
    let Event::State {
        at,
        sock,
        ends,
        new,
        task,
        ..
    } = event
    else {
        return None;
    };
    let (role, owner): (Role, Option<Owner>) = match new {
        State::SynSent => (Role::Client, Some(task)),
        _ => (Role::Server, None),
    };
    let id = ConnId {
        sock,
        generation: 0,
    };
    let connection = Connection::born(at, id, ends, (role, new), owner);
    Some(Entry::new(connection, None, Origin::Opened))
}
