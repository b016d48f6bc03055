//! Where close, TIME_WAIT and resets are heard, nothing is concluded from
//! transitions.

use std::time::Duration;

use super::{CLOSES, Change, Circumstance, NOTHING, Script, State};
use crate::{
    clock::BootTime,
    decode::Event,
    table::Hears,
    tcp::{ClosedBy, Known, ResetBy},
};

const MS: u64 = super::MS;

impl Script {
    fn hearing() -> Self {
        let mut script = Self::new();
        script.table = script.table.hearing(Hears {
            close: true,
            resets: true,
        });
        script
    }

    fn closes(&mut self, sock: u64, exiting: bool) -> &mut Self {
        self.apply(|at| Event::Close { at, sock, exiting })
    }

    fn reset(&mut self, sock: u64, by_us: bool) -> &mut Self {
        self.apply(|at| Event::Reset { at, sock, by_us })
    }

    fn time_wait(&mut self, sock: u64, state: State, stays: Duration) -> &mut Self {
        self.apply(|at| Event::TimeWait {
            at,
            sock,
            state,
            stays,
        })
    }
}

#[test]
fn the_close_has_a_time_of_its_own() {
    let mut script = Script::hearing();
    script
        .connected(7)
        .step(7, State::Established, State::CloseWait, NOTHING)
        .closes(7, false)
        .step(7, State::CloseWait, State::LastAck, CLOSES)
        .step(7, State::LastAck, State::Close, CLOSES)
        .gone(7);
    let last = script.last();
    assert_eq!(last.end.app_closed_at, Some(BootTime::from_ns(4 * MS)));
    assert_eq!(last.end.at, Some(BootTime::from_ns(6 * MS)));
    assert_eq!(last.end.by, Some(ClosedBy::Peer));
    let closes = script
        .told
        .iter()
        .filter(|(change, _)| *change == Change::AppClosed);
    assert_eq!(closes.count(), 1);
    assert_eq!(script.table.live(), 0);
}

#[test]
fn a_fin_without_a_close_is_a_half_close() {
    // As io_uring's shutdown makes it, which no system call announces.
    let mut script = Script::hearing();
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, CLOSES);
    assert!(script.last().half_closed);
    assert_eq!(script.last().end.app_closed_at, None);
    assert_eq!(script.last().end.by, Some(ClosedBy::Local));
    script
        .step(7, State::FinWait1, State::FinWait2, NOTHING)
        .closes(7, true);
    assert_eq!(
        script.last().end.app_closed_at,
        Some(BootTime::from_ns(5 * MS))
    );
    assert_eq!(
        script.last().end.by,
        Some(ClosedBy::Local),
        "the first cause counts"
    );
}

#[test]
fn a_subflows_close_is_concluded() {
    let mut script = Script::hearing();
    let how = Circumstance {
        subflow: true,
        ..CLOSES
    };
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, how);
    assert_eq!(
        script.last().end.app_closed_at,
        Some(BootTime::from_ns(3 * MS))
    );
}

#[test]
fn an_exit_closes_what_was_reset_before() {
    let mut script = Script::hearing();
    let how = Circumstance {
        error: 104,
        ..NOTHING
    };
    script
        .connected(7)
        .reset(7, false)
        .step(7, State::Established, State::Close, how);
    assert_eq!(script.last().end.reset_by, Some(ResetBy::Peer));
    assert_eq!(script.last().end.by, Some(ClosedBy::Reset));
    assert_eq!(script.table.live(), 1, "the fd is still held");
    script.closes(7, true);
    assert_eq!(script.table.live(), 0);
    assert_eq!(script.last().end.by, Some(ClosedBy::Reset));
}

#[test]
fn a_socket_that_ss_destroys_is_the_administrators() {
    for hears in [Script::hearing(), Script::new()] {
        let mut script = hears;
        let how = Circumstance {
            error: 103,
            ..NOTHING
        };
        script
            .connected(7)
            .reset(7, true)
            .step(7, State::Established, State::Close, how);
        assert_eq!(script.last().end.reset_by, Some(ResetBy::Admin));
        assert_eq!(script.last().end.by, Some(ClosedBy::Reset));
    }
}

#[test]
fn our_own_reset_is_told_apart_from_the_peers() {
    let mut script = Script::hearing();
    script
        .connected(7)
        .closes(7, false)
        .step(7, State::Established, State::Close, CLOSES)
        .reset(7, true)
        .gone(7);
    assert_eq!(script.last().end.reset_by, Some(ResetBy::Local));
    assert_eq!(script.last().end.by, Some(ClosedBy::Local));

    // Unheard, the errno tells the peer's.
    let mut script = Script::new();
    let how = Circumstance {
        error: 104,
        ..NOTHING
    };
    script
        .connected(7)
        .step(7, State::Established, State::Close, how);
    assert_eq!(script.last().end.reset_by, Some(ResetBy::Peer));
}

#[test]
fn what_lingers_says_until_when() {
    let mut script = Script::hearing();
    script
        .connected(7)
        .closes(7, false)
        .step(7, State::Established, State::FinWait1, CLOSES)
        .step(7, State::FinWait1, State::FinWait2, CLOSES)
        .time_wait(7, State::FinWait2, Duration::from_secs(5))
        .step(7, State::FinWait2, State::Close, CLOSES);
    let linger = script.last().end.linger.expect("it lingers");
    assert_eq!(linger.state, State::FinWait2);
    assert_eq!(
        linger.until,
        BootTime::from_ns(6 * MS) + Duration::from_secs(5)
    );
    assert_eq!(
        script.told.last().map(|told| told.0),
        Some(Change::TimeWait)
    );

    // The kernel had no room for a mini-socket, and made none.
    let mut script = Script::hearing();
    script
        .connected(7)
        .closes(7, false)
        .step(7, State::Established, State::FinWait1, CLOSES)
        .step(7, State::FinWait1, State::FinWait2, CLOSES)
        .step(7, State::FinWait2, State::Close, CLOSES);
    assert_eq!(script.last().end.linger, None);
}

#[test]
fn what_is_concluded_to_linger_is_told_though_it_is_still_held() {
    let peer_closes = Circumstance {
        peer_done: true,
        ..NOTHING
    };
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, NOTHING)
        .step(7, State::FinWait1, State::FinWait2, NOTHING)
        .step(7, State::FinWait2, State::Close, peer_closes);
    let mut told = Vec::new();
    for ms in [6, 60, 600] {
        script
            .table
            .settle(BootTime::from_ns(ms * MS), |change, _, _| {
                told.push((ms, change))
            });
    }
    assert_eq!(told, [(60, Change::TimeWait)]);
    script.gone(7);
    let again = script.told.iter().any(|told| told.0 == Change::TimeWait);
    assert!(!again, "once is enough");
}

#[test]
fn after_a_half_close_only_an_orphan_lingers_in_fin_wait2() {
    let linger = |orphan: bool| {
        let how = Circumstance { orphan, ..CLOSES };
        let mut script = Script::new();
        script
            .connected(7)
            .step(7, State::Established, State::FinWait1, NOTHING)
            .step(7, State::FinWait1, State::FinWait2, NOTHING)
            .step(7, State::FinWait2, State::Close, how)
            .gone(7);
        script.last().end.linger.map(|linger| linger.state)
    };
    assert_eq!(linger(true), Some(State::FinWait2));
    // connect(AF_UNSPEC)
    assert_eq!(linger(false), None);
}

#[test]
fn a_transition_that_comes_twice_is_told_once() {
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::CloseWait, NOTHING)
        .step(7, State::Established, State::CloseWait, NOTHING);
    let last = script.last();
    assert_eq!(last.known, Known::Observed);
    assert_eq!(last.history().count(), 3);
}

#[test]
fn whose_reset_ended_an_orphan_is_heard_after_it_is_freed() {
    let by = |ours: bool| {
        let reset = Circumstance {
            error: 104,
            ..CLOSES
        };
        let mut script = Script::hearing();
        script
            .connected(7)
            .closes(7, false)
            .step(7, State::Established, State::FinWait1, CLOSES)
            .reset(7, false)
            .step(7, State::FinWait1, State::Close, reset)
            .gone(7);
        if ours {
            script.reset(7, true);
        }
        let (mut gone, mut by) = (0, None);
        script.table.settle(BootTime::END, |change, _, connection| {
            gone += usize::from(change == Change::Gone);
            by = connection.end.reset_by;
        });
        if ours {
            assert_eq!(script.told.pop().map(|told| told.0), Some(Change::Gone));
            by = script.last().end.reset_by;
        }
        assert_eq!(gone, usize::from(!ours), "told once");
        by
    };
    assert_eq!(by(true), Some(ResetBy::Local));
    assert_eq!(by(false), Some(ResetBy::Peer));
}

#[test]
fn an_address_is_used_again_before_a_held_back_end_is_told() {
    let reset = Circumstance {
        error: 104,
        ..CLOSES
    };
    let mut script = Script::hearing();
    script
        .connected(7)
        .closes(7, false)
        .step(7, State::Established, State::FinWait1, CLOSES)
        .reset(7, false)
        .step(7, State::FinWait1, State::Close, reset)
        .gone(7);
    assert_ne!(script.told.last().map(|told| told.0), Some(Change::Gone));
    script.step(7, State::SynRecv, State::Established, NOTHING);
    let told: Vec<_> = script
        .told
        .iter()
        .rev()
        .take(3)
        .map(|told| told.0)
        .collect();
    assert_eq!(told, [Change::Established, Change::Opened, Change::Gone]);
    assert_eq!(script.history(), [State::SynRecv, State::Established]);
}

#[test]
fn what_was_concluded_to_linger_does_not_after_our_reset() {
    let unread = Circumstance {
        peer_done: true,
        ..CLOSES
    };
    let mut script = Script::new();
    script
        .connected(7)
        .step(7, State::Established, State::FinWait1, NOTHING)
        .step(7, State::FinWait1, State::FinWait2, NOTHING)
        .step(7, State::FinWait2, State::Close, unread)
        .reset(7, true)
        .gone(7);
    assert_eq!(script.last().end.linger, None);
    assert!(!script.history().contains(&State::TimeWait));
    assert!(
        script
            .told
            .iter()
            .all(|&(change, _)| change != Change::TimeWait)
    );
}
