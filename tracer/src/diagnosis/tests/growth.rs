use super::{HEALTHY, UNKNOWN};
use crate::diagnosis::{
    Class, Confidence,
    rules::{
        missing_close,
        unbounded_growth::{CODE, WATCH_MS},
    },
    testing::{Site, close_wait, established, site, unaccepted},
};

/// Opens `n` in a minute, uses each for 100 ms and forgets it.
fn leak(n: u64) -> Site {
    site().each(n, |i| {
        let age = i * 60_000 / n + 100;
        established(age, age - 100)
    })
}

#[test]
fn live_follows_opened() {
    let verdict = leak(60).judge();
    assert_eq!((verdict.code, verdict.class), (CODE, Class::Leak));
    assert_eq!(verdict.confidence, Confidence::Medium);
    assert_eq!(verdict.affected, 45, "idle for 15 s and passed over");
}

#[test]
fn a_few_that_close_do_not_hide_it() {
    assert_eq!(leak(60).closed(4, 60_000, 100).code(), CODE);
    assert_eq!(leak(60).closed(300, 60_000, 100).code(), CODE);
    // Those that close live as long as what stays: it may close, too.
    assert_eq!(leak(60).closed(60, 60_000, 20_000).code(), HEALTHY);
}

#[test]
fn each_half_needs_its_opens() {
    assert_eq!(leak(24).code(), CODE);
    assert_eq!(leak(18).code(), UNKNOWN);
    assert_eq!(leak(4).code(), HEALTHY);
}

#[test]
fn a_start_is_not_growth() {
    let at = |watch: u64| {
        site().watched(watch).each(40, |i| {
            let age = i * watch / 40 + 1;
            established(age, age - 1)
        })
    };
    assert_eq!(at(WATCH_MS).code(), CODE);
    assert_eq!(at(WATCH_MS - 1).code(), UNKNOWN);
}

#[test]
fn growth_on_top_of_a_pool_from_before() {
    let pool = established(0, 10).inherited();
    assert_eq!(leak(60).with(10, pool).code(), CODE);
}

#[test]
fn a_server_is_not_blamed_for_its_clients() {
    let verdict = site()
        .server()
        .each(60, |i| established(i * 1_000 + 100, i * 1_000))
        .judge();
    assert_eq!((verdict.code, verdict.class), (CODE, Class::Peer));
    assert_eq!(verdict.confidence, Confidence::Low);
}

#[test]
fn an_accept_queue_is_another_matter() {
    let queue = site().server().each(60, |i| unaccepted(i * 1_000));
    assert_eq!(queue.code(), "accept-stalled");
}

#[test]
fn opens_that_stopped() {
    let filled = site().each(40, |i| established(20_000 + i * 1_000, 16_000));
    assert_eq!(filled.code(), HEALTHY);
    let burst = site().with(100, established(40_000, 39_900));
    assert_eq!(burst.code(), HEALTHY);
}

#[test]
fn a_ramp_of_busy_connections() {
    let ramp = site().each(60, |i| established(i * 1_000 + 100, (i * 37) % 900));
    assert_eq!(ramp.code(), HEALTHY);
}

#[test]
fn connections_touched_again_are_not_left_behind() {
    // Heartbeats every 20 s: idle at this instant, but revived before.
    let chat = site().each(60, |i| {
        let age = i * 1_000 + 100;
        established(age, age.min(15_500))
    });
    assert_eq!(chat.code(), HEALTHY);
}

#[test]
fn proof_goes_before_trend() {
    let both = leak(60).with(3, close_wait(20_000).recv_q(0));
    assert_eq!(both.code(), missing_close::CODE);
}
