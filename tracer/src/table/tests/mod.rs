//! Lifecycles as the kernel announces them, and what the table makes of them.

use super::{Change, Table};
use crate::{
    clock::BootTime,
    decode::{Circumstance, Event, Figures},
    tcp::{ClosedBy, Known, Role, State},
};
use script::{CLOSES, MS, NOTHING, Script, ends, task};

mod books;
mod call_sites;
mod hearing;
mod script;
mod using;
mod whole;

#[test]
fn a_client_that_closes_first_leaves_time_wait() {
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, CLOSES)
        .step(7, State::FinWait1, State::FinWait2, CLOSES)
        .step(
            7,
            State::FinWait2,
            State::Close,
            Circumstance {
                peer_done: true,
                figures: Some(Figures {
                    tx_bytes: 10,
                    rx_bytes: 20,
                    retransmits: 0,
                    srtt_us: 30,
                }),
                ..CLOSES
            },
        )
        .gone(7);
    assert_eq!(
        script.history(),
        [
            State::SynSent,
            State::Established,
            State::FinWait1,
            State::FinWait2,
            State::TimeWait,
            State::Close
        ]
    );
    let last = script.last();
    assert_eq!(last.end.by, Some(ClosedBy::Local));
    assert_eq!(last.end.app_closed_at, Some(BootTime::from_ns(3 * MS)));
    assert_eq!(last.end.at, Some(BootTime::from_ns(5 * MS)));
    assert_eq!(
        last.end.linger.map(|linger| linger.state),
        Some(State::TimeWait)
    );
    assert_eq!((last.tx_bytes, last.rx_bytes), (10, 20));
    let changes: Vec<Change> = script.told.iter().map(|&(change, _)| change).collect();
    assert_eq!(
        changes,
        [
            Change::Opened,
            Change::Established,
            Change::AppClosed,
            Change::State,
            Change::State,
            Change::State,
            Change::TimeWait,
            Change::Gone
        ]
    );
}

#[test]
fn an_orphan_whose_peer_stays_lingers_in_fin_wait2() {
    let orphan = Circumstance {
        orphan: true,
        ..CLOSES
    };
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, CLOSES)
        .step(7, State::FinWait1, State::FinWait2, CLOSES)
        .step(7, State::FinWait2, State::Close, orphan);
    assert_eq!(
        script.last().end.linger.map(|linger| linger.state),
        Some(State::FinWait2)
    );
    assert!(!script.history().contains(&State::TimeWait));
}

#[test]
fn a_peer_that_closes_first_leaves_the_program_to_act() {
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::CloseWait, NOTHING);
    assert_eq!(script.last().end.by, Some(ClosedBy::Peer));
    assert_eq!(script.last().end.app_closed_at, None);
    assert_eq!(script.table.live(), 1);

    script
        .step(7, State::CloseWait, State::LastAck, CLOSES)
        .step(7, State::LastAck, State::Close, CLOSES)
        .gone(7);
    assert_eq!(script.last().end.by, Some(ClosedBy::Peer));
    assert_eq!(
        script.last().end.app_closed_at,
        Some(BootTime::from_ns(4 * MS))
    );
    assert_eq!(script.table.live(), 0);
}

#[test]
fn a_peer_that_closes_first_unheard_is_told_by_the_states_that_follow() {
    let exits = Circumstance {
        exiting: true,
        ..CLOSES
    };
    for (old, new) in [
        (State::CloseWait, State::LastAck),
        (State::LastAck, State::Close),
        (State::CloseWait, State::Close),
    ] {
        let mut script = Script::new();
        script.connected(7).step(7, old, new, exits);
        assert_eq!(script.last().end.by, Some(ClosedBy::Peer), "{old:?}");
    }
}

#[test]
fn a_half_close_is_not_a_close() {
    let mut script = Script::new();
    let half = Circumstance {
        in_shutdown: true,
        ..NOTHING
    };
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, half)
        .step(7, State::FinWait1, State::FinWait2, NOTHING);
    assert_eq!(script.last().end.app_closed_at, None);
    assert!(script.last().half_closed);

    // shutdown(SHUT_RDWR) shuts both directions, and is still no close.
    let both = Circumstance {
        in_shutdown: true,
        ..CLOSES
    };
    script
        .connected(8)
        .step(8, State::Established, State::FinWait1, both);
    assert_eq!(script.last().end.app_closed_at, None);
}

#[test]
fn after_a_half_close_the_peers_fin_does_not_let_go_of_the_fd() {
    let mut script = Script::new();
    let half = Circumstance {
        in_shutdown: true,
        ..NOTHING
    };
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, half)
        .step(7, State::FinWait1, State::FinWait2, NOTHING)
        .step(
            7,
            State::FinWait2,
            State::Close,
            Circumstance {
                peer_done: true,
                ..CLOSES
            },
        );
    assert_eq!(script.last().end.app_closed_at, None);
    assert_eq!(script.table.live(), 1);
    script.gone(7);
    assert_eq!(
        script.last().end.app_closed_at,
        Some(BootTime::from_ns(6 * MS))
    );
    assert_eq!(script.table.live(), 0);
    let end: Vec<Change> = script
        .told
        .iter()
        .rev()
        .take(2)
        .map(|&(change, _)| change)
        .collect();
    assert_eq!(end, [Change::Gone, Change::AppClosed]);
}

#[test]
fn after_a_half_close_the_last_ack_does_not_let_go_of_the_fd() {
    let mut script = Script::new();
    // The peer closed first, so shutdown(SHUT_WR) shuts the second direction; the
    // last acknowledgement comes in a softirq, long after the call.
    let half = Circumstance {
        in_shutdown: true,
        ..CLOSES
    };
    script
        .connected(7)
        .step(7, State::Established, State::CloseWait, NOTHING)
        .step(7, State::CloseWait, State::LastAck, half)
        .step(7, State::LastAck, State::Close, CLOSES);
    assert_eq!(script.last().end.app_closed_at, None);
    assert_eq!(script.table.live(), 1);
    script.gone(7);
    assert_eq!(script.table.live(), 0);
}

#[test]
fn a_reset_is_told_from_a_timeout_and_leaves_the_fd() {
    for (errno, by) in [
        (104, ClosedBy::Reset),
        (32, ClosedBy::Reset),
        (110, ClosedBy::Timeout),
    ] {
        let mut script = Script::new();
        let how = Circumstance {
            error: errno,
            ..NOTHING
        };
        script
            .connected(7)
            .step(7, State::Established, State::Close, how);
        assert_eq!(script.last().end.by, Some(by));
        assert_eq!(script.last().end.error, errno);
        assert_eq!(script.table.live(), 1, "the fd is still held");
        let later = BootTime::from_ns(1_000 * MS);
        assert_eq!(script.last().age_ms(later), Some(999), "its age goes on");
        script.gone(7);
        assert_eq!(script.table.live(), 0);
        assert!(script.last().age_ms(later) < Some(10));
    }
}

#[test]
fn a_close_with_unread_data_is_the_programs() {
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::Close, CLOSES);
    assert_eq!(script.last().end.by, Some(ClosedBy::Local));
    assert_eq!(script.table.live(), 0);
}

#[test]
fn an_exit_is_told_from_a_close() {
    let mut script = Script::new();
    let exits = Circumstance {
        exiting: true,
        ..CLOSES
    };
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, exits);
    assert_eq!(script.last().end.by, Some(ClosedBy::Exit));
}

#[test]
fn a_refused_connect_is_told_once() {
    let mut script = Script::new();
    let refused = Circumstance {
        error: 111,
        ..NOTHING
    };
    script
        .step(7, State::Close, State::SynSent, NOTHING)
        .step(7, State::SynSent, State::Close, refused)
        .apply(|at| Event::Connect {
            at,
            sock: 7,
            errno: 111,
            latency_ns: 5_000,
        });
    let failed = script
        .told
        .iter()
        .filter(|(change, _)| *change == Change::ConnectFailed);
    assert_eq!(failed.count(), 1);
}

// coroot-node-agent#373: successful connects reported as failed.
#[test]
fn a_connect_that_goes_on_is_no_failure() {
    for errno in [0, 4, 114, 115, 512] {
        let mut script = Script::new();
        script
            .step(7, State::Close, State::SynSent, NOTHING)
            .apply(|at| Event::Connect {
                at,
                sock: 7,
                errno,
                latency_ns: 5_000,
            });
        assert!(
            script
                .told
                .iter()
                .all(|(change, _)| *change != Change::ConnectFailed)
        );
    }
}

#[test]
fn connecting_again_is_another_generation() {
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::Close, NOTHING)
        .connected(7);
    assert_eq!(script.last().id.generation, 1);
    assert_eq!(script.table.counters().seen, 2);
    assert_eq!(script.table.live(), 1);
}

/// Of neither socket the opening was heard.
#[test]
fn an_address_that_is_used_again_is_another_generation() {
    let mut script = Script::with(Table::new(true, false));
    let first = script
        .step(7, State::Established, State::Close, NOTHING)
        .last()
        .id;
    script.gone(7);
    let second = script
        .step(7, State::Established, State::Close, NOTHING)
        .last()
        .id;
    assert_ne!(first, second);
}

#[test]
fn an_accepted_connection_gets_its_owner() {
    let mut script = Script::new();
    script.step(7, State::Listen, State::SynRecv, NOTHING).step(
        7,
        State::SynRecv,
        State::Established,
        NOTHING,
    );
    assert_eq!(script.last().owner, None);
    assert_eq!(script.last().role, Role::Server);
    script.apply(|at| Event::Accept {
        at,
        sock: 7,
        ends: ends("127.0.0.1:80", "127.0.0.1:4000"),
        owner: task(33, Some(8)),
        state: State::Established,
    });
    assert_eq!(script.last().owner.map(|owner| owner.pid), Some(33));
}

// Kernels before 6.14 announce a child before it has a name.
#[test]
fn a_child_is_born_with_its_second_transition_at_the_latest() {
    let mut script = Script::new();
    script.step(7, State::SynRecv, State::Established, NOTHING);
    assert_eq!(script.last().role, Role::Server);
    assert_eq!(script.last().known, Known::Observed);
    assert_eq!(script.history(), [State::SynRecv, State::Established]);
    assert_eq!(script.table.live(), 1);
}

#[test]
fn a_lost_transition_marks_the_connection() {
    let mut script = Script::new();
    script.step(7, State::Close, State::SynSent, NOTHING).step(
        7,
        State::Established,
        State::CloseWait,
        NOTHING,
    );
    assert_eq!(script.last().known, Known::Repaired);
}

#[test]
fn a_listener_is_no_connection() {
    let mut script = Script::new();
    script.step(7, State::Close, State::Listen, NOTHING);
    assert_eq!(script.table.counters().seen, 0);
    script.step(7, State::Listen, State::Close, CLOSES).gone(7);
    assert_eq!(script.table.counters().closed, 0);
}

#[test]
fn where_the_table_is_full_what_has_ended_goes_first_and_live_ones_never() {
    let mut script = Script::new();
    script.table.room = 3;
    script.connected(1).connected(2).connected(3);
    script.connected(4);
    assert_eq!(script.table.counters().evicted, 1);
    // 3 has ended, and is not freed yet.
    script.step(3, State::Established, State::FinWait1, CLOSES);
    script.step(3, State::FinWait1, State::FinWait2, CLOSES);
    script.step(3, State::FinWait2, State::Close, CLOSES);
    script.connected(5);
    let mut kept: Vec<_> = script.table.connections().map(|c| c.id.sock).collect();
    kept.sort_unstable();
    assert_eq!(kept, [1, 2, 5]);
    script.gone(3);
    let counters = script.table.counters();
    assert_eq!(
        (counters.seen, counters.closed, counters.evicted),
        (5, 1, 1)
    );
    assert_eq!(script.table.live(), 3);
}
