use super::{HEALTHY, UNKNOWN};
use crate::{
    diagnosis::{
        Class, Confidence,
        rules::{
            dead_fd::{self, IN_USE_MS, MID_EXCHANGE_MS},
            half_closed_held,
        },
        testing::{Conn, Site, conn, dead, site},
    },
    tcp::{ClosedBy, State},
};

const DEAD: &str = dead_fd::CODE;
const HELD: &str = half_closed_held::CODE;

fn reset(ms: u64, idle: u64) -> Conn {
    dead(ClosedBy::Reset, ms, idle)
}

/// Half closed `ms` ago, the last answer before that.
fn half_closed(ms: u64) -> Conn {
    let mut conn = conn(State::FinWait2, ms).moved(Some(ms + 60), Some(ms + 50));
    conn.0.half_closed = true;
    conn
}

fn one(conn: Conn) -> Site {
    site().with(1, conn)
}

#[test]
fn dead_servers_connections() {
    let verdict = site().server().with(3, reset(15_001, 600_000)).judge();
    assert_eq!((verdict.code, verdict.class), (DEAD, Class::Leak));
    assert_eq!(
        site().server().with(3, reset(15_000, 600_000)).code(),
        HEALTHY
    );
    assert_eq!(site().server().with(1, reset(60_001, 600_000)).code(), DEAD);
    assert_eq!(
        site().server().with(1, reset(60_000, 600_000)).code(),
        UNKNOWN
    );
}

#[test]
fn dead_in_the_middle_of_an_exchange() {
    assert_eq!(site().with(3, reset(20_000, IN_USE_MS)).code(), DEAD);
    assert_eq!(site().with(3, reset(20_000, IN_USE_MS + 1)).code(), UNKNOWN);
    assert_eq!(one(reset(60_001, MID_EXCHANGE_MS)).code(), DEAD);
    assert_eq!(one(reset(60_001, MID_EXCHANGE_MS + 1)).code(), UNKNOWN);
    assert_eq!(
        site().with(3, dead(ClosedBy::Timeout, 20_000, 0)).code(),
        DEAD
    );
}

#[test]
fn dead_ones_that_pile_up() {
    let pile = site().each(50, |i| reset(i * 1_000, 6_000).opened(i * 1_000 + 6_500));
    assert_eq!(pile.code(), DEAD);
}

#[test]
fn shut_down_by_both_sides_and_held() {
    let mut both = dead(ClosedBy::Local, 61_000, 600_000);
    both.0.half_closed = true;
    both.0.end.error = 0;
    assert_eq!(one(both).code(), DEAD);
}

#[test]
fn failed_connects_that_are_held() {
    let mut failed = reset(61_000, 0);
    failed.0.established_at = None;
    assert_eq!(site().with(3, failed.clone()).code(), DEAD);
    assert_eq!(
        one(failed).code(),
        HEALTHY,
        "a loop that reconnects keeps one"
    );
}

#[test]
fn a_pool_whose_server_restarted_has_not_noticed() {
    let verdict = site().with(10, reset(300_000, 30_000)).judge();
    assert_eq!(verdict.code, UNKNOWN);
    assert!(verdict.why.contains("not noticed"));
}

/// Dead before the trace, last used `idle` ms ago.
fn found_dead(idle: u64, error_waits: bool) -> Conn {
    let mut conn = dead(ClosedBy::Reset, 0, idle).inherited();
    (conn.0.end.at, conn.0.end.by, conn.0.end.error) = (None, None, 0);
    conn.edit(|sample| sample.error_waits = error_waits)
}

#[test]
fn dead_since_before_the_watch() {
    let watched = 60_000;
    let found = |idle, error_waits| site().with(3, found_dead(idle, error_waits)).judge();
    assert_eq!(found(600_000, false).code, DEAD, "the program knows");
    assert_eq!(found(watched + IN_USE_MS, true).code, DEAD, "it was in use");
    let pool = found(watched + IN_USE_MS + 1, true);
    assert_eq!(pool.code, UNKNOWN);
    assert!(pool.why.contains("not noticed"), "{}", pool.why);
    assert_eq!(one(found_dead(600_000, false)).code(), UNKNOWN);
}

#[test]
fn dead_ones_whose_error_was_read() {
    let read = reset(20_000, 600_000).edit(|sample| sample.error_waits = false);
    assert_eq!(site().with(3, read).code(), DEAD);
    // What the snapshot before the end showed tells nothing.
    let mut before = reset(20_000, 600_000).edit(|sample| sample.error_waits = false);
    before = before.edit(|sample| sample.at = crate::clock::BootTime::from_ns(1));
    assert_eq!(site().with(3, before).code(), UNKNOWN);
}

#[test]
fn let_go_or_never_used_is_not_dead() {
    let mut released = reset(90_000, 0);
    released.0.end.app_closed_at = Some(crate::clock::BootTime::from_ns(1));
    assert_eq!(site().with(9, released).code(), HEALTHY);
    let mut fresh = conn(State::Close, 90_000);
    fresh.0.opened_at = None;
    assert_eq!(site().with(9, fresh).code(), HEALTHY);
    let mut unowned = reset(90_000, 0);
    unowned.0.owner = None;
    assert_eq!(site().with(9, unowned).code(), HEALTHY);
}

#[test]
fn half_closed_for_a_minute() {
    let verdict = one(half_closed(60_001)).judge();
    assert_eq!((verdict.code, verdict.confidence), (HELD, Confidence::High));
    assert!(
        verdict
            .why
            .starts_with("1 connection to 127.0.0.1:8099 has been in FIN_WAIT2")
    );
    assert_eq!(one(half_closed(60_000)).code(), UNKNOWN);
}

#[test]
fn several_half_closed_for_half_the_watch() {
    let verdict = site().with(3, half_closed(30_001)).judge();
    assert_eq!(
        (verdict.code, verdict.confidence),
        (HELD, Confidence::Medium)
    );
    assert_eq!(site().with(3, half_closed(30_000)).code(), UNKNOWN);
    assert_eq!(site().with(2, half_closed(30_001)).code(), UNKNOWN);
    assert_eq!(
        site().watched(12_000).with(3, half_closed(10_001)).code(),
        HELD
    );
    assert_eq!(
        site().watched(12_000).with(3, half_closed(10_000)).code(),
        HEALTHY
    );
}

#[test]
fn a_response_that_flows_or_is_computed_may_take_its_time() {
    let flows = half_closed(300_000).moved(Some(300_000), Some(900));
    assert_eq!(site().with(9, flows).code(), HEALTHY);
    let job = |ms| one(half_closed(ms).moved(Some(ms), None));
    assert_eq!(job(299_000).code(), UNKNOWN);
    assert_eq!(job(300_001).code(), HELD);
}

#[test]
fn half_closed_by_close_is_left_to_the_kernel() {
    let orphan = half_closed(90_000).edit(|s| s.inode = 0);
    assert_eq!(site().with(9, orphan).code(), HEALTHY);
    let mut closed = half_closed(90_000);
    closed.0.end.app_closed_at = Some(crate::clock::BootTime::from_ns(1));
    assert_eq!(site().with(9, closed).code(), HEALTHY);
    assert_eq!(
        site().with(9, half_closed(90_000).unsampled()).code(),
        HEALTHY
    );
}

#[test]
fn half_closed_before_the_trace() {
    let old = half_closed(3_000_000).inherited();
    assert_eq!(site().watched(3_000).with(1, old).code(), HELD);
}
