//! Snapshots against tables: what is adopted, corrected, ended, left alone.

use std::{net::SocketAddr, num::NonZeroU32};

use super::{Holder, Snapshot, Socket, Terms};
use crate::{
    clock::BootTime,
    decode::{Circumstance, Comm, Ends, Event, Figures, Owner},
    table::{Change, Table, connection::Sample},
    tcp::{Known, OwnerKnown, Role, State},
};

mod by_address;
mod loss;
mod naming;

const SECOND: u64 = 1_000_000_000;

fn ends(local: u16, remote: u16) -> Ends {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Ends {
        local: at(local),
        remote: at(remote),
        netns: 1,
    }
}

fn socket(cookie: u64, ends: Ends, state: State, inode: u32) -> Socket {
    Socket {
        cookie,
        ends,
        state,
        is_mini: state.is_mini_socket(),
        uid: 0,
        sample: Sample {
            inode,
            ..Sample::default()
        },
        figures: Figures::default(),
    }
}

fn snapshot(at: u64, sockets: Vec<Socket>, holders: &[(u32, u32, i32)]) -> Snapshot {
    let mut snapshot = Snapshot {
        began: BootTime::from_ns(at),
        ended: BootTime::from_ns(at + SECOND),
        sockets: sockets
            .into_iter()
            .map(|mut socket| {
                socket.sample.at = BootTime::from_ns(at);
                socket
            })
            .collect(),
        namespaces: [1].into_iter().collect(),
        existing: [1, 2].into_iter().collect(),
        ..Snapshot::default()
    };
    for &(inode, pid, fd) in holders {
        let comm = Comm::from(b"app".as_slice());
        snapshot
            .holders
            .entry(inode)
            .or_default()
            .push(Holder { pid, fd, comm });
    }
    snapshot
}

fn open(table: &mut Table, at: u64, sock: u64, fd: i32) {
    for step in [
        (State::Close, State::SynSent),
        (State::SynSent, State::Established),
    ] {
        go(table, at, sock, fd, step, Circumstance::default());
    }
}

fn go(table: &mut Table, at: u64, sock: u64, fd: i32, step: (State, State), how: Circumstance) {
    go_between(table, at, sock, fd, ends(4000, 80), step, how);
}

fn go_between(
    table: &mut Table,
    at: u64,
    sock: u64,
    fd: i32,
    ends: Ends,
    (old, new): (State, State),
    how: Circumstance,
) {
    let task = Owner {
        pid: 50,
        tid: NonZeroU32::new(51),
        uid: 0,
        comm: Comm::from(b"app".as_slice()),
        fd: Some(fd),
        stack: None,
    };
    let event = Event::State {
        at: BootTime::from_ns(at),
        sock,
        ends,
        old,
        new,
        how,
        task,
    };
    table.apply(&event, |_, _, _| {});
}

fn gone(table: &mut Table, at: u64, sock: u64) {
    let event = Event::Gone {
        at: BootTime::from_ns(at),
        sock,
    };
    table.apply(&event, |_, _, _| {});
}

/// After a loss, with everything asked for.
fn reconcile(table: &mut Table, snapshot: &Snapshot) {
    work_in(table, snapshot, true, true);
}

fn work_in(table: &mut Table, snapshot: &Snapshot, wanted: bool, has_lost: bool) {
    let terms = Terms {
        wants: &|_| wanted,
        prefers: &|_| true,
        has_lost,
    };
    super::reconcile(table, snapshot, terms, |_, _, _| {});
}

/// A table past its first, empty snapshot.
fn warm() -> Table {
    warmed(Table::new(false, false))
}

/// The same, where sockets are named by address.
fn warm_by_address() -> Table {
    warmed(Table::new(true, false))
}

fn warmed(mut table: Table) -> Table {
    table.begin_snapshot();
    reconcile(&mut table, &snapshot(0, vec![], &[]));
    table
}

/// What a snapshot tells, by socket.
fn told(table: &mut Table, snapshot: &Snapshot, has_lost: bool) -> Vec<(u64, Change, Known)> {
    let mut told = Vec::new();
    let terms = Terms {
        wants: &|_| true,
        prefers: &|_| true,
        has_lost,
    };
    table.begin_snapshot();
    super::reconcile(table, snapshot, terms, |change, at, connection| {
        assert_eq!(at, snapshot.ended);
        told.push((connection.id.sock, change, connection.known));
    });
    told
}

#[test]
fn what_was_there_before_is_inherited_with_its_owner_and_role() {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    let sockets = vec![
        socket(1, ends(4000, 80), State::Established, 11),
        socket(2, ends(80, 4000), State::Established, 12),
        socket(3, ends(80, 0), State::Listen, 13),
        socket(4, ends(4001, 80), State::TimeWait, 0),
    ];
    let holders = [(11, 50, 5), (12, 60, 6), (13, 60, 3)];
    reconcile(&mut table, &snapshot(0, sockets, &holders));

    let client = table.get(1).expect("inherited");
    assert_eq!(
        (client.known, client.role),
        (Known::Inherited, Role::Client)
    );
    assert_eq!(
        client.owner.map(|owner| (owner.pid, owner.fd)),
        Some((50, Some(5)))
    );
    assert_eq!(table.get(2).map(|server| server.role), Some(Role::Server));
    assert_eq!(
        table.get(3).map(|listener| listener.role),
        Some(Role::Listener)
    );
    assert!(table.get(4).is_none(), "a mini-socket has no owner to find");
    assert_eq!(table.counters().seen, 2);
    assert_eq!(table.counters().repaired, 0);
}

#[test]
fn a_socket_opened_before_and_seen_by_both_is_there_once() {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    open(&mut table, SECOND, 1, 5);
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    assert_eq!(table.counters().seen, 1);
    assert_eq!(
        table.get(1).map(|connection| connection.known),
        Some(Known::Observed)
    );
}

#[test]
fn a_socket_freed_while_the_snapshot_was_taken_stays_gone() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    gone(&mut table, 3 * SECOND, 1);
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[]));
    assert!(table.get(1).is_none());
    assert_eq!(table.counters().repaired, 0);
}

#[test]
fn a_missed_opening_is_repaired_and_counted() {
    let mut table = warm();
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::CloseWait, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    assert_eq!(
        table.get(1).map(|connection| connection.known),
        Some(Known::Repaired)
    );
    assert_eq!(table.counters().repaired, 1);
}

#[test]
fn a_missed_transition_is_corrected() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::CloseWait, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    let connection = table.get(1).expect("live");
    assert_eq!(
        (connection.state, connection.known),
        (State::CloseWait, Known::Repaired)
    );
}

#[test]
fn a_transition_after_the_snapshot_began_is_believed() {
    let mut table = warm();
    table.begin_snapshot();
    open(&mut table, 3 * SECOND, 1, 5);
    let sockets = vec![socket(1, ends(4000, 80), State::SynSent, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    let connection = table.get(1).expect("live");
    assert_eq!(
        (connection.state, connection.known),
        (State::Established, Known::Observed)
    );
}

#[test]
fn a_missed_end_ends_the_connection() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    reconcile(&mut table, &snapshot(2 * SECOND, vec![], &[]));
    assert_eq!(table.live(), 0);
    assert_eq!(table.counters().repaired, 1);
}

#[test]
fn a_namespace_that_was_not_listed_proves_nothing() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let mut elsewhere = snapshot(2 * SECOND, vec![], &[]);
    elsewhere.namespaces = [2].into_iter().collect();
    reconcile(&mut table, &elsewhere);
    assert_eq!(table.live(), 1);
}

#[test]
fn a_dead_socket_is_live_while_its_fd_is_held() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    let reset = Event::State {
        at: BootTime::from_ns(3 * SECOND),
        sock: 1,
        ends: ends(4000, 80),
        old: State::Established,
        new: State::Close,
        how: Circumstance {
            error: 104,
            ..Circumstance::default()
        },
        task: table
            .get(1)
            .and_then(|connection| connection.owner)
            .expect("owned"),
    };
    table.apply(&reset, |_, _, _| {});

    table.begin_snapshot();
    reconcile(&mut table, &snapshot(9 * SECOND, vec![], &[(11, 50, 5)]));
    assert_eq!(table.live(), 1, "its fd is still there");
    table.begin_snapshot();
    reconcile(&mut table, &snapshot(12 * SECOND, vec![], &[]));
    assert_eq!(
        table.live(),
        1,
        "its fd may be on its way through a unix socket"
    );
    table.begin_snapshot();
    work_in(&mut table, &snapshot(14 * SECOND, vec![], &[]), true, false);
    assert_eq!(table.live(), 0, "nobody holds it any more");
}

#[test]
fn a_connection_passed_on_goes_to_its_holder() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 70, 9)]));
    let owner = table
        .get(1)
        .and_then(|connection| connection.owner)
        .expect("owned");
    assert_eq!((owner.pid, owner.fd, owner.tid), (70, Some(9), None));
}

#[test]
fn the_opener_is_kept_while_it_holds_the_socket_and_its_fd_follows_dup() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    let holders = [(11, 40, 3), (11, 50, 8)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &holders));
    let owner = table
        .get(1)
        .and_then(|connection| connection.owner)
        .expect("owned");
    assert_eq!(
        (owner.pid, owner.fd, owner.tid),
        (50, Some(8), NonZeroU32::new(51))
    );
}

#[test]
fn a_half_close_taken_for_a_close_is_seen_by_its_inode() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    for (old, new) in [
        (State::Established, State::FinWait1),
        (State::FinWait1, State::FinWait2),
    ] {
        let how = Circumstance {
            both_shut: true,
            ..Circumstance::default()
        };
        go(&mut table, SECOND, 1, 5, (old, new), how);
    }
    assert!(
        table
            .get(1)
            .is_some_and(|connection| connection.end.app_closed_at.is_some())
    );
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::FinWait2, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    let connection = table.get(1).expect("live");
    assert!(connection.end.app_closed_at.is_none() && connection.half_closed);
}

#[test]
fn a_look_before_the_last_transition_says_nothing_of_who_holds_it() {
    let mut table = Table::new(false, false);
    open(&mut table, SECOND, 1, 5);
    let step = (State::Established, State::FinWait1);
    go(&mut table, 4 * SECOND, 1, 5, step, Circumstance::default());
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::SynRecv, 0)];
    reconcile(&mut table, &snapshot(3 * SECOND, sockets, &[]));
    assert_eq!(table.get(1).expect("live").end.app_closed_at, None);
}

#[test]
fn what_was_sent_stays_known_after_a_disconnect() {
    let mut table = Table::new(false, false);
    open(&mut table, SECOND, 1, 5);
    let sent = Figures {
        tx_bytes: 7,
        ..Figures::default()
    };
    let how = Circumstance {
        figures: Some(sent),
        ..Circumstance::default()
    };
    let step = (State::Established, State::Close);
    go(&mut table, SECOND, 1, 5, step, how);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::Close, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 50, 5)]));
    assert_eq!(table.get(1).expect("held").tx_bytes, 7);
}

#[test]
fn what_the_user_did_not_ask_for_is_not_adopted() {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    work_in(&mut table, &snapshot(0, sockets, &[]), false, false);
    assert_eq!(table.counters().seen, 0);
}

#[test]
fn a_connection_passed_on_is_in_its_holders_account() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::CloseWait, 11)];
    reconcile(&mut table, &snapshot(2 * SECOND, sockets, &[(11, 70, 9)]));
    let sites = table.sites();
    let of = |pid| sites.iter().find(|(key, ..)| key.pid == pid);
    let (_, tally, live) = of(70).expect("the holder has a site");
    assert_eq!((tally.opened, live.len()), (1, 1));
    let (_, tally, live) = of(50).expect("the opener had one");
    assert_eq!((tally.opened, tally.closed, live.len()), (0, 0, 0));
}

#[test]
fn without_a_loss_a_dead_socket_is_held_until_its_end_is_announced() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    let reset = Event::State {
        at: BootTime::from_ns(SECOND),
        sock: 1,
        ends: ends(4000, 80),
        old: State::Established,
        new: State::Close,
        how: Circumstance {
            error: 104,
            ..Circumstance::default()
        },
        task: table
            .get(1)
            .and_then(|connection| connection.owner)
            .expect("owned"),
    };
    table.apply(&reset, |_, _, _| {});
    // dup(2) gave it another fd and the first was closed.
    table.begin_snapshot();
    let moved = snapshot(2 * SECOND, vec![], &[(99, 50, 6)]);
    work_in(&mut table, &moved, true, false);
    assert_eq!((table.live(), table.counters().repaired), (1, 0));
}

#[test]
fn of_several_holders_the_one_asked_for_owns() {
    let mut table = Table::new(false, true);
    table.begin_snapshot();
    let sockets = vec![socket(1, ends(4000, 80), State::CloseWait, 11)];
    let shared = snapshot(0, sockets, &[(11, 40, 3), (11, 50, 8)]);
    let terms = Terms {
        wants: &|_| true,
        prefers: &|holder| holder.pid == 50,
        has_lost: false,
    };
    super::reconcile(&mut table, &shared, terms, |_, _, _| {});
    let owner = table
        .get(1)
        .and_then(|connection| connection.owner)
        .expect("owned");
    assert_eq!((owner.pid, owner.fd), (50, Some(8)));
}
