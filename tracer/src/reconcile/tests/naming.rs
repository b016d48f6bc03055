//! Sockets found by cookie and by their ends; subflows; who opened them.

use std::mem;

use rustc_hash::FxHashSet;

use super::*;

/// A socket of another namespace, as /proc/PID/net shows it.
fn bare(ends: Ends, state: State, inode: u32) -> Socket {
    let mut socket = socket(0, ends, state, inode);
    socket.sample.is_bare = true;
    socket
}

#[test]
fn a_socket_without_a_cookie_is_found_by_its_ends() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 5);
    let mut without = snapshot(2 * SECOND, vec![], &[(11, 70, 9)]);
    without.nameless = vec![
        bare(ends(4000, 80), State::CloseWait, 11),
        bare(ends(4001, 80), State::Established, 12),
    ];
    let mended = told(&mut table, &without, true);
    assert_eq!(mended, [(7, Change::State, Known::Repaired)]);
    let connection = table.get(7).expect("live");
    assert_eq!(connection.owner.map(|owner| owner.pid), Some(70));
    assert_eq!(
        connection.idle_ms(BootTime::from_ns(9 * SECOND)),
        None,
        "not told"
    );
    assert_eq!(table.live(), 1, "one that cannot be named is not adopted");
}

#[test]
fn connections_go_with_their_namespace() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 5);
    let mut after = snapshot(2 * SECOND, vec![], &[]);
    after.namespaces.clear();
    assert_eq!(told(&mut table, &after, true), []);
    let there = mem::take(&mut after.existing);
    assert_eq!(told(&mut table, &after, true), [], "it may be hidden");
    after.existing = FxHashSet::from_iter([9]);
    assert!(!there.contains(&9));
    assert_eq!(told(&mut table, &after, true).len(), 2);
}

#[test]
fn a_namespace_is_kept_by_sockets_that_somebody_holds() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 5);
    let listed = vec![socket(7, ends(4000, 80), State::Established, 11)];
    told(
        &mut table,
        &snapshot(2 * SECOND, listed, &[(11, 50, 5)]),
        true,
    );
    // Whoever was in it has left.
    for second in 3..6 {
        let mut after = snapshot(second * SECOND, vec![], &[(11, 50, 5)]);
        after.namespaces.clear();
        after.existing = FxHashSet::from_iter([9]);
        assert_eq!(told(&mut table, &after, true), []);
    }
}

#[test]
fn who_opened_a_connection_stays_on_record() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    let opener = |table: &Table| {
        let connection = table.get(1).expect("live");
        let opener = connection.opener().expect("seen");
        let owner = connection.owner.expect("owned");
        (
            opener.pid,
            opener.fd,
            owner.pid,
            owner.fd,
            connection.owner_known,
        )
    };
    let connect = Some(OwnerKnown::Connect);
    assert_eq!(opener(&table), (50, Some(5), 50, Some(5), connect));
    assert_eq!(
        table.get(1).and_then(|c| c.holders()),
        None,
        "not looked yet"
    );

    let mut at = SECOND;
    let mut hold = |table: &mut Table, holders: &[(u32, u32, i32)]| {
        at += SECOND;
        let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
        told(table, &snapshot(at, sockets, holders), false);
        let holders = table.get(1).and_then(|c| c.holders()).expect("told");
        let pairs: Vec<_> = holders.iter().map(|h| (h.pid, h.fd)).collect();
        pairs
    };
    assert_eq!(hold(&mut table, &[(11, 50, 5)]), [(50, 5)]);
    // dup(2), and the first fd closed.
    assert_eq!(hold(&mut table, &[(11, 50, 8)]), [(50, 8)]);
    assert_eq!(opener(&table), (50, Some(5), 50, Some(8), connect));
    // Shared with a child, then left to it.
    let both = [(11, 50, 8), (11, 60, 8)];
    assert_eq!(hold(&mut table, &both), [(50, 8), (60, 8)]);
    assert_eq!(hold(&mut table, &[(11, 60, 8)]), [(60, 8)]);
    let fds = Some(OwnerKnown::Fds);
    assert_eq!(opener(&table), (50, Some(5), 60, Some(8), fds));
    assert_eq!(hold(&mut table, &[]), []);
}

#[test]
fn a_socket_that_is_about_to_be_listed_is_not_missed() {
    let mut table = warm();
    let event = Event::State {
        at: BootTime::from_ns(2 * SECOND),
        sock: 1,
        ends: ends(4000, 80),
        old: State::Close,
        new: State::SynSent,
        how: Circumstance::default(),
        task: Owner {
            pid: 50,
            tid: None,
            uid: 0,
            comm: Comm::default(),
            fd: None,
            stack: None,
        },
    };
    table.apply(&event, |_, _, _| {});
    assert_eq!(
        told(&mut table, &snapshot(2 * SECOND + 1, vec![], &[]), true),
        []
    );
    assert_eq!(
        told(&mut table, &snapshot(4 * SECOND, vec![], &[]), true).len(),
        2
    );
}

#[test]
fn subflows_of_one_connection_are_one() {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    let first = snapshot(
        0,
        vec![
            socket(8, ends(4001, 80), State::Established, 11),
            socket(7, ends(4000, 80), State::Established, 11),
        ],
        &[(11, 50, 3)],
    );
    reconcile(&mut table, &first);
    assert_eq!(table.live(), 1);
    assert_eq!(table.get(7).map(|c| c.local().port()), Some(4000));

    // Heard of as such before any snapshot shows it.
    let joins = Event::Join {
        at: BootTime::from_ns(SECOND),
        sock: 5,
    };
    table.apply(&joins, |_, _, _| {});
    table.begin_snapshot();
    let second = snapshot(
        2 * SECOND,
        vec![
            socket(5, ends(4002, 80), State::FinWait2, 0),
            socket(7, ends(4000, 80), State::Established, 11),
        ],
        &[(11, 50, 3)],
    );
    reconcile(&mut table, &second);
    assert_eq!((table.live(), table.counters().repaired), (1, 0));

    // The first is gone and the connection lives on by another.
    gone(&mut table, 3 * SECOND, 7);
    table.begin_snapshot();
    let third = snapshot(
        4 * SECOND,
        vec![socket(5, ends(4002, 80), State::Established, 11)],
        &[(11, 50, 3)],
    );
    reconcile(&mut table, &third);
    assert_eq!(table.live(), 1);
    assert!(table.get(5).is_some());
}

#[test]
fn a_close_after_a_snapshot_began_is_not_taken_back_by_it() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 3);
    let half = Circumstance {
        in_shutdown: true,
        ..Circumstance::default()
    };
    for step in [
        (State::Established, State::FinWait1),
        (State::FinWait1, State::FinWait2),
    ] {
        go(&mut table, SECOND, 7, 3, step, half);
    }
    table.begin_snapshot();
    let held = socket(7, ends(4000, 80), State::FinWait2, 11);
    let shown = snapshot(2 * SECOND, vec![held], &[(11, 50, 3)]);
    let closes = Event::Close {
        at: BootTime::from_ns(2 * SECOND + 1),
        sock: 7,
        exiting: false,
    };
    table.apply(&closes, |_, _, _| {});
    work_in(&mut table, &shown, true, false);
    let let_go = table.get(7).and_then(|c| c.end.app_closed_at);
    assert_eq!(let_go, Some(BootTime::from_ns(2 * SECOND + 1)));
}

/// The same where sockets have cookies: what the snapshot shows is the connection before.
#[test]
fn a_connection_has_nothing_of_the_one_before_of_its_socket() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 3);
    table.begin_snapshot();
    let mut seen = socket(7, ends(4000, 80), State::Established, 11);
    seen.sample.at = BootTime::from_ns(2 * SECOND);
    seen.sample.send_q = 9;
    let seen = snapshot(2 * SECOND, vec![seen], &[(11, 50, 3)]);
    for (port, remote, step) in [
        (4000, 80, (State::Established, State::Close)),
        (0, 443, (State::Close, State::SynSent)),
    ] {
        let (at, how) = (2 * SECOND + 1, Circumstance::default());
        go_between(&mut table, at, 7, 3, ends(port, remote), step, how);
    }
    work_in(&mut table, &seen, false, false);
    let connection = table.get(7).expect("live");
    assert_eq!(connection.remote().port(), 443);
    assert_eq!(connection.sample, None);
}

#[test]
fn after_a_loss_a_socket_that_is_listed_twice_is_what_it_was_last() {
    let mut table = warm();
    open(&mut table, SECOND, 7, 5);
    let listed = [State::FinWait1, State::FinWait2];
    let listed = listed.map(|state| socket(7, ends(4000, 80), state, 0));
    told(
        &mut table,
        &snapshot(2 * SECOND, listed.to_vec(), &[]),
        true,
    );
    let state = table.get(7).map(|connection| connection.state);
    assert_eq!(state, Some(State::FinWait2));
}

#[test]
fn a_socket_that_is_listed_twice_is_what_it_was_last() {
    let ends = ends(50_000, 80);
    let snapshot = snapshot(
        SECOND,
        vec![
            socket(1, ends, State::FinWait2, 0),
            socket(2, ends, State::Established, 0),
            socket(1, ends, State::TimeWait, 0),
        ],
        &[],
    );
    let states = snapshot.latest().into_values().map(|socket| socket.state);
    assert_eq!(
        states.collect::<Vec<_>>(),
        [State::TimeWait, State::Established]
    );
}
