//! Plays records to a table, and hears what it tells.

use std::{net::SocketAddr, num::NonZeroU32};

use crate::{
    clock::BootTime,
    decode::{Circumstance, Comm, Ends, Event, Owner},
    table::{Change, Table, connection::Connection},
    tcp::State,
};

pub(super) const MS: u64 = 1_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn ends(local: &str, remote: &str) -> Ends {
    Ends {
        local: addr(local),
        remote: addr(remote),
        netns: 1,
    }
}

pub(super) fn task(pid: u32, fd: Option<i32>) -> Owner {
    Owner {
        pid,
        tid: NonZeroU32::new(pid),
        uid: 0,
        comm: Comm::from(b"app".as_slice()),
        fd,
        stack: None,
    }
}

pub(super) const CLOSES: Circumstance = Circumstance {
    in_shutdown: false,
    exiting: false,
    peer_done: false,
    orphan: false,
    both_shut: true,
    subflow: false,
    freed: false,
    error: 0,
    idle_ms: None,
    figures: None,
};
pub(super) const NOTHING: Circumstance = Circumstance {
    both_shut: false,
    ..CLOSES
};

/// Feeds a table and notes what it tells.
pub(super) struct Script {
    pub(super) table: Table,
    pub(super) now: u64,
    pub(super) told: Vec<(Change, State)>,
    pub(super) last: Option<Connection>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with(Table::new(false, false))
    }

    pub(super) fn with(mut table: Table) -> Self {
        table.begin_snapshot();
        table.end_snapshot(Default::default());
        Self {
            table,
            now: 0,
            told: Vec::new(),
            last: None,
        }
    }

    pub(super) fn apply(&mut self, event: impl Fn(BootTime) -> Event) -> &mut Self {
        self.now += MS;
        let event = event(BootTime::from_ns(self.now));
        self.table.apply(&event, |change, _, connection| {
            self.told.push((change, connection.state));
            self.last = Some(connection.clone());
        });
        self
    }

    pub(super) fn step(
        &mut self,
        sock: u64,
        old: State,
        new: State,
        how: Circumstance,
    ) -> &mut Self {
        self.apply(|at| Event::State {
            at,
            sock,
            ends: ends("127.0.0.1:4000", "127.0.0.1:80"),
            old,
            new,
            how,
            task: task(9, Some(5)),
        })
    }

    pub(super) fn connected(&mut self, sock: u64) -> &mut Self {
        self.step(sock, State::Close, State::SynSent, NOTHING).step(
            sock,
            State::SynSent,
            State::Established,
            NOTHING,
        )
    }

    pub(super) fn gone(&mut self, sock: u64) -> &mut Self {
        self.apply(|at| Event::Gone { at, sock })
    }

    pub(super) fn last(&self) -> &Connection {
        self.last.as_ref().expect("something was told")
    }

    pub(super) fn history(&self) -> Vec<State> {
        self.last().history().map(|(state, _)| state).collect()
    }
}
