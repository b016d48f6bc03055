use super::{HEALTHY, UNKNOWN};
use crate::{
    diagnosis::{
        Class, Confidence, Fault,
        abandoned::{ANNOUNCED_MS, ANSWER_MS, FAREWELL_BYTES},
        rules::{missing_close::CODE, response_not_finished},
        testing::{Conn, close_wait, conn, dead, established, site},
    },
    tcp::{ClosedBy, State},
};

/// What is said where something was left unread.
const UNREAD: &str = response_not_finished::CODE;

/// The end of the grace period of a watch of one minute.
const GRACE_MS: u64 = 15_000;

/// An answer `gap` ms after the request, then the peer's FIN `after` ms later.
fn answered(gap: u64, after: u64) -> Conn {
    let received = 20_000 + after;
    close_wait(20_000).moved(Some(received + gap), Some(received))
}

#[test]
fn end_of_file_read_and_not_closed() {
    let verdict = site().with(3, close_wait(20_000).recv_q(0)).judge();
    assert_eq!((verdict.code, verdict.class), (CODE, Class::Leak));
    assert_eq!(verdict.confidence, Confidence::High);
    assert_eq!(verdict.fault, Some(Fault::LocalApp));
}

#[test]
fn an_unread_answer() {
    let long = close_wait(20_000).recv_q(FAREWELL_BYTES + 1);
    assert_eq!(site().with(3, long).code(), UNREAD);
    // Short, but it answered our request and the peer hung up much later.
    let short = answered(10, 30_000).recv_q(9);
    assert_eq!(site().with(3, short).code(), UNREAD);
}

#[test]
fn a_server_that_does_not_close() {
    let served = close_wait(20_000).moved(Some(50_000), Some(50_010));
    let verdict = site().server().with(3, served).judge();
    assert_eq!(verdict.code, CODE);
    assert!(verdict.why.contains("at local port 8099"));
    assert!(verdict.fix.contains("end-of-file"));
}

#[test]
fn a_close_announced_with_the_answer() {
    let edge = ANNOUNCED_MS - 1;
    assert_eq!(site().with(3, answered(ANSWER_MS, edge)).code(), UNREAD);
    assert_eq!(
        site().with(3, answered(ANSWER_MS, edge + 1)).code(),
        UNKNOWN
    );
    assert_eq!(
        site().with(3, answered(ANSWER_MS + 1, edge)).code(),
        UNKNOWN
    );
}

#[test]
fn a_number_that_grows_in_both_halves() {
    // Each idles in a pool for 5 s; then the peer hangs up. All of them stay.
    let leak = site().each(50, |i| close_wait(i * 1_000).opened(i * 1_000 + 5_000));
    let verdict = leak.judge();
    assert_eq!(verdict.code, UNREAD);
    assert!(verdict.why.contains("keeps growing"));
    assert_eq!(verdict.affected, 50, "the young ones too");
}

#[test]
fn those_from_before_the_trace() {
    let old = close_wait(0).recv_q(0).inherited();
    assert_eq!(site().with(3, old.clone()).code(), CODE);
    assert_eq!(site().watched(2_100).with(3, old.clone()).code(), CODE);
    assert_eq!(site().watched(1_900).with(3, old).code(), UNKNOWN);
    // The last acknowledgement dates it, however short the watch.
    let dated = close_wait(90_000).recv_q(0).inherited();
    let verdict = site().watched(1_000).with(3, dated.clone()).judge();
    assert_eq!(verdict.code, CODE);
    assert!(verdict.why.contains("at least 90 s"));
    // After a loss only that dates it.
    let repaired = close_wait(1_000).recv_q(0).repaired();
    assert_eq!(site().with(3, repaired).code(), HEALTHY);
}

#[test]
fn the_socket_that_left_ss_with_its_descriptor_open() {
    let mut hidden = dead(ClosedBy::Peer, 5_000, 60_000);
    let fin = crate::clock::BootTime::from_ns(3_500_000_000_000);
    hidden.0.pass_through(fin, State::CloseWait);
    assert_eq!(site().server().with(3, hidden).code(), CODE);
}

#[test]
fn grace_is_over_after_its_last_millisecond() {
    assert_eq!(
        site().with(3, close_wait(GRACE_MS + 1).recv_q(0)).code(),
        CODE
    );
    assert_eq!(
        site().with(3, close_wait(GRACE_MS).recv_q(0)).code(),
        UNKNOWN
    );
}

#[test]
fn one_or_two_are_named_but_not_accused() {
    let verdict = site().with(2, close_wait(20_000).recv_q(0)).judge();
    assert_eq!(verdict.code, UNKNOWN);
    assert!(
        verdict.why.starts_with("2 connections to"),
        "{}",
        verdict.why
    );
    assert_eq!(verdict.affected, 2);
}

#[test]
fn a_pool_without_a_reader_is_not_accused() {
    let verdict = site().with(10, close_wait(40_000)).judge();
    assert_eq!(verdict.code, UNKNOWN);
    assert!(verdict.why.contains("pool without a background reader"));
    assert_eq!(site().with(2, close_wait(40_000)).code(), HEALTHY);
}

#[test]
fn a_pool_that_the_peer_hangs_up_one_by_one_does_not_grow() {
    let pool = site().each(10, |i| close_wait(16_000 + i * 4_000).opened(90_000));
    assert_eq!(pool.code(), UNKNOWN);
    // Nor does one whose members are replaced as they are found dead.
    let used = site().each(10, |i| close_wait(i * 6_000).opened(i * 6_000 + 5_000));
    assert_eq!(used.closed(10, 60_000, 60_000).code(), UNKNOWN);
}

#[test]
fn a_pool_over_tls_keeps_the_farewell_unread() {
    // close_notify, long after the last answer, right before the FIN.
    let pool = close_wait(20_000)
        .recv_q(32)
        .moved(Some(50_000), Some(20_010));
    assert_eq!(site().with(10, pool.clone()).code(), UNKNOWN);
    assert_eq!(site().with(10, pool.inherited()).code(), UNKNOWN);
}

#[test]
fn an_answer_still_on_its_way_is_no_leak() {
    let sending = close_wait(20_000).recv_q(0).moved(Some(200), Some(20_000));
    assert_eq!(site().server().with(9, sending).code(), HEALTHY);
    let queued = close_wait(20_000).recv_q(0).edit(|s| s.send_q = 9_000);
    assert_eq!(site().server().with(9, queued).code(), HEALTHY);
}

#[test]
fn a_slow_handler_outlives_its_clients_patience() {
    let slow = |ms| close_wait(ms).moved(None, Some(ms + 10_000));
    assert_ne!(site().server().with(9, slow(59_000)).code(), CODE);
    assert_eq!(site().server().with(9, slow(61_000)).code(), CODE);
}

#[test]
fn a_snapshot_from_before_the_hang_up_proves_nothing() {
    let stale = close_wait(20_000)
        .recv_q(0)
        .edit(|s| s.at = s.at.minus_ms(21_000));
    assert_eq!(site().with(3, stale).code(), UNKNOWN);
    assert_eq!(
        site().with(3, close_wait(20_000).unsampled()).code(),
        UNKNOWN
    );
}

#[test]
fn a_pool_that_comes_back_for_those_hung_up_on() {
    let closed = |n: u64, waiting| {
        let mut pool = site().with(6, waiting).closed(24, 60_000, 15_000);
        pool.tally.ended_by[ClosedBy::Peer as usize] = n;
        pool
    };
    for age in [8_000, 20_000] {
        assert_eq!(closed(6, close_wait(age)).code(), HEALTHY);
        assert_eq!(closed(5, close_wait(age)).code(), UNKNOWN);
    }
    // It knows of these.
    let known = closed(24, close_wait(20_000)).with(2, close_wait(20_000).recv_q(0));
    assert_eq!(known.code(), UNKNOWN);
    // A server has no pool.
    assert_eq!(closed(24, close_wait(8_000)).server().code(), UNKNOWN);
}

#[test]
fn a_busy_server_passes_through_close_wait() {
    let busy = site().server().with(500, established(30_000, 5));
    assert_eq!(
        busy.clone().with(20, close_wait(3).recv_q(0)).code(),
        HEALTHY
    );
    assert_eq!(busy.with(20, close_wait(1_500).recv_q(0)).code(), UNKNOWN);
}

#[test]
fn a_closed_one_is_not_ours() {
    assert_eq!(site().with(9, conn(State::LastAck, 20_000)).code(), HEALTHY);
}
