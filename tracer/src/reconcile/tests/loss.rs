//! What is told of what a snapshot mends, and what a loss changes.

use super::*;

#[test]
fn what_a_snapshot_mends_is_told_once() {
    let mut table = warm();
    for sock in [1, 2] {
        open(&mut table, SECOND, sock, 5);
    }
    let sockets = vec![
        socket(2, ends(4000, 80), State::CloseWait, 12),
        socket(3, ends(4002, 80), State::Established, 13),
    ];
    let after_loss = snapshot(2 * SECOND, sockets, &[(12, 50, 5)]);
    let repaired = Known::Repaired;
    assert_eq!(
        told(&mut table, &after_loss, true),
        [
            (2, Change::State, repaired),
            (3, Change::Opened, repaired),
            (1, Change::AppClosed, repaired),
            (1, Change::Gone, repaired),
        ]
    );
    assert_eq!(told(&mut table, &after_loss, true), []);
    let mut late = Vec::new();
    let event = Event::Gone {
        at: BootTime::from_ns(4 * SECOND),
        sock: 1,
    };
    table.apply(&event, |change, _, _| late.push(change));
    assert_eq!(late, [], "its end has been told");
}

#[test]
fn what_was_there_before_is_not_told() {
    let mut table = Table::new(false, false);
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    assert_eq!(told(&mut table, &snapshot(0, sockets, &[]), false), []);
}

#[test]
fn without_a_loss_one_snapshot_that_lacks_a_connection_does_not_end_it() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
    let lacking = |at| snapshot(at * SECOND, vec![], &[]);
    assert_eq!(told(&mut table, &lacking(2), false), []);
    let found = snapshot(4 * SECOND, sockets, &[(11, 50, 5)]);
    assert_eq!(told(&mut table, &found, false), []);
    assert_eq!(told(&mut table, &lacking(6), false), []);
    assert_eq!(told(&mut table, &lacking(8), false).len(), 2);
    assert_eq!(table.live(), 0);
}

#[test]
fn after_a_loss_what_turns_up_under_a_filter_was_lost() {
    for (has_lost, known) in [(false, Known::Inherited), (true, Known::Repaired)] {
        let mut table = Table::new(false, true);
        told(&mut table, &snapshot(0, vec![], &[]), false);
        let sockets = vec![socket(1, ends(4000, 80), State::Established, 11)];
        let told = told(&mut table, &snapshot(SECOND, sockets, &[]), has_lost);
        assert_eq!(told.len(), usize::from(has_lost));
        assert_eq!(table.get(1).map(|connection| connection.known), Some(known));
    }
}

#[test]
fn a_dead_socket_that_was_held_before_is_inherited() {
    let mut table = Table::new(false, false);
    let never_connected = socket(2, ends(4001, 0), State::Close, 12);
    let sockets = vec![socket(1, ends(4000, 80), State::Close, 11), never_connected];
    told(
        &mut table,
        &snapshot(0, sockets, &[(11, 50, 5), (12, 50, 6)]),
        false,
    );
    let dead = table.get(1).expect("inherited");
    assert_eq!((dead.state, dead.known), (State::Close, Known::Inherited));
    assert!(dead.is_held());
    assert_eq!(
        table.live(),
        1,
        "a socket without another end is no connection"
    );
}

#[test]
fn a_dead_socket_whose_holder_is_hidden_may_be_held() {
    let mut table = warm();
    let sockets = vec![socket(1, ends(4000, 80), State::Close, 11)];
    told(
        &mut table,
        &snapshot(SECOND, sockets, &[(11, 50, 5)]),
        false,
    );
    let mut hidden = snapshot(2 * SECOND, vec![], &[]);
    hidden.unreadable.insert(50);
    assert_eq!(told(&mut table, &hidden, true), []);
    for (at, changes) in [(3, 0), (4, 2)] {
        let shown = snapshot(at * SECOND, vec![], &[]);
        assert_eq!(told(&mut table, &shown, true).len(), changes);
    }
}

#[test]
fn an_end_whose_last_record_was_lost_does_not_stay_live() {
    let mut table = warm();
    open(&mut table, SECOND, 1, 5);
    let closes = Event::State {
        at: BootTime::from_ns(SECOND),
        sock: 1,
        ends: ends(4000, 80),
        old: State::FinWait2,
        new: State::Close,
        how: Circumstance {
            both_shut: true,
            peer_done: true,
            ..Circumstance::default()
        },
        task: table
            .get(1)
            .and_then(|connection| connection.owner)
            .expect("owned"),
    };
    table.apply(&closes, |_, _, _| {});
    assert_eq!(table.live(), 1, "for all that is known its fd may be held");

    // Its fd still is.
    table.begin_snapshot();
    let held = vec![socket(1, ends(4000, 80), State::Close, 99)];
    reconcile(&mut table, &snapshot(2 * SECOND, held, &[(99, 50, 5)]));
    assert_eq!((table.live(), table.counters().repaired), (1, 0));
    for (at, live) in [(4, 1), (6, 0)] {
        table.begin_snapshot();
        reconcile(&mut table, &snapshot(at * SECOND, vec![], &[]));
        assert_eq!(table.live(), live);
    }
}
