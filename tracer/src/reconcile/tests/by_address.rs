//! Sockets that records name by their address, and snapshots by their cookie.

use super::*;

#[test]
fn named_by_address_a_socket_is_found_by_its_ends() {
    let mut table = Table::new(true, false);
    let inherited = || vec![socket(1, ends(4000, 80), State::Established, 11)];
    told(&mut table, &snapshot(0, inherited(), &[(11, 50, 5)]), false);
    // Its first record names it by its address.
    let event = Event::State {
        at: BootTime::from_ns(SECOND),
        sock: 0xffff_8000,
        ends: ends(4000, 80),
        old: State::Established,
        new: State::CloseWait,
        how: Circumstance::default(),
        task: table.get(1).and_then(|c| c.owner).expect("owned"),
    };
    table.apply(&event, |_, _, _| {});
    assert!(table.get(1).is_none() && table.get(0xffff_8000).is_some());
    let mut seen = inherited();
    seen[0].state = State::CloseWait;
    assert_eq!(told(&mut table, &snapshot(2 * SECOND, seen, &[]), true), []);
    assert_eq!(table.live(), 1);
    // Who was told of it knows it by its first name.
    let gone = told(&mut table, &snapshot(4 * SECOND, vec![], &[]), true);
    let told = [Change::AppClosed, Change::Gone].map(|change| (1, change, Known::Repaired));
    assert_eq!(gone, told);
    assert_eq!(table.live(), 0);
}

#[test]
fn named_by_address_each_dead_socket_is_found_once() {
    let mut table = warm_by_address();
    // Two of the same ends, one after the other, both reset and held; and a third,
    // which is open.
    let reset = Circumstance {
        error: 104,
        ..Circumstance::default()
    };
    for (sock, fd) in [(0xa0, 3), (0xb0, 4)] {
        open(&mut table, SECOND, sock, fd);
        let dies = (State::Established, State::Close);
        go(&mut table, SECOND, sock, fd, dies, reset);
    }
    open(&mut table, SECOND, 0xc0, 5);
    for round in [2, 4] {
        table.begin_snapshot();
        let held = [
            socket(1, ends(4000, 80), State::Close, 11),
            socket(2, ends(4000, 80), State::Close, 12),
            socket(3, ends(4000, 80), State::Established, 13),
        ];
        let holders = [(11, 50, 3), (12, 50, 4), (13, 50, 5)];
        reconcile(
            &mut table,
            &snapshot(round * SECOND, held.to_vec(), &holders),
        );
        assert_eq!(table.counters().repaired, 0, "round {round}");
        assert_eq!(table.live(), 3);
    }
    let inode = |sock| table.get(sock).and_then(|c| c.sample).map(|s| s.inode);
    assert_eq!(inode(0xc0), Some(13));
    let dead = [inode(0xa0), inode(0xb0)];
    assert!(
        dead.contains(&Some(11)) && dead.contains(&Some(12)),
        "{dead:?}"
    );
}

#[test]
fn named_by_address_one_whose_port_is_not_known_yet_is_found_by_its_holder() {
    let mut table = warm_by_address();
    // Both wait for the same peer; the kernel chose their ports after it said so.
    for (sock, fd) in [(0xa0, 3), (0xb0, 4)] {
        let opens = (State::Close, State::SynSent);
        go_between(
            &mut table,
            SECOND,
            sock,
            fd,
            ends(0, 80),
            opens,
            Circumstance::default(),
        );
    }
    let holders = [(11, 50, 4), (12, 50, 3)];
    for (round, state) in [(2, State::SynSent), (4, State::Close)] {
        if state == State::Close {
            // Refused, and its port taken away again.
            let dies = (State::SynSent, State::Close);
            go_between(
                &mut table,
                3 * SECOND,
                0xb0,
                4,
                ends(0, 80),
                dies,
                Circumstance::default(),
            );
        }
        table.begin_snapshot();
        let sockets = vec![
            socket(1, ends(4001, 80), state, 11),
            socket(2, ends(4002, 80), State::SynSent, 12),
        ];
        reconcile(&mut table, &snapshot(round * SECOND, sockets, &holders));
        let port = |sock| table.get(sock).map(|c| c.local().port());
        assert_eq!((port(0xa0), port(0xb0)), (Some(4002), Some(4001)));
        assert_eq!((table.live(), table.counters().repaired), (2, 0));
    }
}

#[test]
fn named_by_address_one_that_is_freed_without_a_port_is_not_brought_back() {
    let mut table = warm_by_address();
    let opens = (State::Close, State::SynSent);
    go_between(
        &mut table,
        SECOND,
        0xa0,
        3,
        ends(0, 80),
        opens,
        Circumstance::default(),
    );
    table.begin_snapshot();
    let seen = vec![socket(1, ends(4001, 80), State::Close, 11)];
    let seen = snapshot(2 * SECOND, seen, &[(11, 50, 3)]);
    gone(&mut table, 2 * SECOND + 1, 0xa0);
    work_in(&mut table, &seen, true, false);
    assert_eq!((table.live(), table.counters().repaired), (0, 0));
}

/// The snapshot shows it as it was, and meanwhile `connect(AF_UNSPEC)` has made another
/// connection of the same socket.
#[test]
fn named_by_address_one_whose_socket_is_used_again_is_not_brought_back() {
    let mut table = warm_by_address();
    let go_on = |table: &mut Table, at, port, step| {
        let how = Circumstance::default();
        go_between(table, at, 0xa0, 3, ends(port, 80), step, how);
    };
    go_on(&mut table, SECOND, 0, (State::Close, State::SynSent));
    go_on(
        &mut table,
        SECOND,
        4001,
        (State::SynSent, State::Established),
    );
    table.begin_snapshot();
    let seen = vec![socket(1, ends(4001, 80), State::Established, 11)];
    let seen = snapshot(2 * SECOND, seen, &[(11, 50, 3)]);
    for (port, step) in [
        (4001, (State::Established, State::Close)),
        (0, (State::Close, State::SynSent)),
        (4002, (State::SynSent, State::Established)),
    ] {
        go_on(&mut table, 2 * SECOND + 1, port, step);
    }
    work_in(&mut table, &seen, true, false);
    assert_eq!((table.live(), table.counters().repaired), (1, 0));
}

/// Of a connection that was there before, and one to the same peer that begins now.
#[test]
fn named_by_address_one_that_begins_is_not_taken_for_what_is_held() {
    let mut table = Table::new(true, false);
    table.begin_snapshot();
    let opens = (State::Close, State::SynSent);
    let how = Circumstance::default();
    go_between(&mut table, SECOND, 0xa0, 9, ends(0, 80), opens, how);
    let held = socket(1, ends(4001, 80), State::Established, 11);
    let first = snapshot(SECOND + 1, vec![held], &[(11, 60, 3)]);
    work_in(&mut table, &first, true, false);
    assert_eq!(table.live(), 2);
    let owner = |sock| table.get(sock).and_then(|c| c.owner);
    assert_eq!(owner(0xa0).map(|owner| owner.pid), Some(50));
    assert_eq!(owner(1).map(|owner| owner.pid), Some(60));
}

/// The same fd of the same process, twice: the snapshot shows the first connection.
#[test]
fn named_by_address_one_that_begins_is_not_taken_for_one_that_is_freed() {
    let mut table = Table::new(true, false);
    open(&mut table, SECOND, 0xa0, 3);
    table.begin_snapshot();
    let seen = socket(1, ends(4000, 80), State::Established, 11);
    let seen = snapshot(2 * SECOND, vec![seen], &[(11, 50, 3)]);
    gone(&mut table, 2 * SECOND + 1, 0xa0);
    let opens = (State::Close, State::SynSent);
    let how = Circumstance::default();
    go_between(&mut table, 2 * SECOND + 2, 0xb0, 3, ends(0, 80), opens, how);
    work_in(&mut table, &seen, true, false);
    assert_eq!(table.get(0xb0).map(|c| c.local().port()), Some(0));
}

#[test]
fn named_by_address_one_that_is_listed_twice_is_one() {
    let mut table = warm_by_address();
    open(&mut table, SECOND, 0xa0, 3);
    table.begin_snapshot();
    let socket = socket(1, ends(4000, 80), State::Established, 11);
    let listed = snapshot(2 * SECOND, vec![socket, socket], &[(11, 50, 3)]);
    work_in(&mut table, &listed, true, false);
    assert_eq!((table.live(), table.counters().repaired), (1, 0));
}

/// That it was free before is read from the ring after the snapshot began.
#[test]
fn named_by_address_one_that_has_the_address_of_what_was_freed_is_found() {
    let mut table = warm_by_address();
    open(&mut table, SECOND, 0xa0, 3);
    table.begin_snapshot();
    gone(&mut table, SECOND + 1, 0xa0);
    let opens = (State::SynRecv, State::Established);
    let how = Circumstance::default();
    go_between(&mut table, SECOND + 2, 0xa0, 4, ends(80, 4001), opens, how);
    let seen = socket(2, ends(80, 4001), State::Established, 12);
    let seen = snapshot(2 * SECOND, vec![seen], &[(12, 60, 4)]);
    work_in(&mut table, &seen, true, false);
    let holders = table.get(0xa0).and_then(|c| c.holders());
    assert_eq!(holders.map(|holders| holders.len()), Some(1));
}

/// One that was refused and freed while the first snapshot was taken, and one to the
/// same peer that was there before.
#[test]
fn named_by_address_what_is_held_is_not_taken_for_one_that_was_freed_without_a_port() {
    let mut table = Table::new(true, false);
    table.begin_snapshot();
    let opens = (State::Close, State::SynSent);
    let how = Circumstance::default();
    go_between(&mut table, SECOND, 0xa0, 9, ends(0, 80), opens, how);
    gone(&mut table, SECOND + 1, 0xa0);
    let held = socket(1, ends(4001, 80), State::Established, 11);
    let first = snapshot(SECOND, vec![held], &[(11, 60, 3)]);
    work_in(&mut table, &first, true, false);
    assert_eq!(table.get(1).map(|c| c.known), Some(Known::Inherited));
}
