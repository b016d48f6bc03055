//! What the other side or the path does, and what only looks like it.

use super::UNKNOWN;
use crate::{
    decode::Ends,
    diagnosis::{
        Class, Confidence, Fault,
        rules::{
            half_open_peer, keepalive_race, peer_leaks, peer_not_reading, peer_wedged, silent_drop,
            timeout_not_passed,
        },
        testing::{Conn, Site, established, site},
    },
    table::connection::Timer,
    tcp::{ClosedBy, Role, State},
};

const HALF_OPEN: &str = half_open_peer::CODE;
const WEDGED: &str = peer_wedged::CODE;
const NOT_READING: &str = peer_not_reading::CODE;
const UNANSWERED: &str = timeout_not_passed::CODE;
const RACE: &str = keepalive_race::CODE;
const DROP: &str = silent_drop::CODE;
const PEER: &str = peer_leaks::CODE;

fn is_healthy(site: &Site) {
    let verdict = site.judge();
    assert_eq!(
        verdict.class,
        Class::Healthy,
        "{}: {}",
        verdict.code,
        verdict.why
    );
}

/// Sent to, and not acknowledged for `ms`.
fn unacknowledged(ms: u64, tries: u32) -> Conn {
    established(ms + 60_000, ms).backoff(tries).edit(|sample| {
        sample.timer = Timer::Retransmit;
        sample.send_q = 100;
        sample.ack_received_ms = Some(ms).into();
    })
}

#[test]
fn a_peer_that_is_gone_acknowledges_nothing() {
    let verdict = site().with(1, unacknowledged(60_001, 8)).judge();
    assert_eq!((verdict.code, verdict.class), (HALF_OPEN, Class::Stuck));
    assert_eq!(verdict.confidence, Confidence::High);
    assert_eq!(verdict.fault, Some(Fault::Peer));
    let early = site().with(1, unacknowledged(20_001, 6)).judge();
    assert_eq!(
        (early.code, early.confidence),
        (HALF_OPEN, Confidence::Medium)
    );
    assert_eq!(site().with(1, unacknowledged(20_000, 6)).code(), UNKNOWN);
    // Acknowledged late, lost once, or nothing to acknowledge.
    is_healthy(&site().with(1, unacknowledged(90_000, 4)));
    is_healthy(&site().with(1, unacknowledged(90_000, 8).edit(|s| s.send_q = 0)));
    let at_server = site().server().with(1, unacknowledged(90_000, 8));
    assert_eq!(at_server.code(), HALF_OPEN);
}

#[test]
fn probes_that_nobody_answers() {
    let probed = |probes| {
        established(300_000, 250_000).edit(|sample| {
            sample.timer = Timer::Keepalive;
            sample.probes = probes;
            sample.ack_received_ms = Some(90_000).into();
        })
    };
    assert_eq!(site().server().with(1, probed(3)).code(), HALF_OPEN);
    is_healthy(&site().server().with(1, probed(2)));
}

/// Beats every 5 s; heard `idle` ms ago.
fn beating(idle: u64) -> Conn {
    let mut conn = established(0, idle).inherited();
    (conn.0.revivals, conn.0.longest_gap_ms) = (9, 5_000);
    conn
}

/// Heard `idle` ms ago, before the watch, or never.
fn silent(idle: u64) -> Conn {
    established(0, idle).inherited()
}

#[test]
fn one_among_many_that_beat_falls_silent() {
    let site = |silent_ms, n| {
        site()
            .server()
            .with(6, beating(2_000))
            .with(n, silent(silent_ms))
    };
    let verdict = site(60_001, 3).judge();
    assert_eq!((verdict.code, verdict.class), (HALF_OPEN, Class::Stuck));
    assert_eq!(
        (verdict.confidence, verdict.affected),
        (Confidence::Medium, 3)
    );
    assert_eq!(site(60_001, 1).judge().confidence, Confidence::Low);
    is_healthy(&site(60_000, 3));
    // As many as the others: then they are the rule, too.
    is_healthy(&site(600_000, 6));
}

#[test]
fn idle_clients_are_not_gone() {
    let idle = site().server().with(1_000, silent(3_600_000));
    is_healthy(&idle);
    // Among busy ones that never pause, and among few.
    let busy = established(50_000, 3);
    is_healthy(&site().server().with(50, busy).with(3, silent(600_000)));
    is_healthy(
        &site()
            .server()
            .with(4, beating(2_000))
            .with(1, silent(600_000)),
    );
    // With keepalive on the kernel finds out.
    let kept = silent(600_000).edit(|sample| sample.timer = Timer::Keepalive);
    is_healthy(&site().server().with(6, beating(2_000)).with(1, kept));
    // A client's are its own to use.
    is_healthy(&site().with(6, beating(2_000)).with(3, silent(600_000)));
}

#[test]
fn a_host_falls_silent_as_a_whole() {
    let from = |host: u8, conn: Conn| {
        let mut conn = conn.edit(|sample| sample.data_segments_in = 20);
        let remote = ([10, 0, 0, host], 40_000).into();
        conn.0.set_ends(Ends {
            remote,
            ..conn.0.ends()
        });
        conn
    };
    let busy = |host| from(host, established(0, 300).inherited());
    let gone = |host, n| {
        let silent = move |i| from(host, silent(70_000 + i * 100));
        site().server().with(14, busy(1)).each(n, silent)
    };
    let verdict = gone(2, 12).judge();
    assert_eq!((verdict.code, verdict.class), (HALF_OPEN, Class::Stuck));
    assert_eq!(
        (verdict.confidence, verdict.affected),
        (Confidence::Medium, 12)
    );
    // Newcomers do not count.
    let visited = gone(2, 12).with(3, from(3, established(29_000, 9_000)));
    assert_eq!(visited.code(), HALF_OPEN);
    // Idle members of a pool whose others are busy; too few; used last now and then.
    is_healthy(&gone(1, 12));
    is_healthy(&gone(2, 2));
    let drained = |i| from(2, silent(70_000 + i * 9_000));
    is_healthy(&site().server().with(14, busy(1)).each(12, drained));
    // Never much used; and where others are as good as idle, too.
    let unused = from(2, silent(70_000)).edit(|sample| sample.data_segments_in = 2);
    is_healthy(&site().server().with(14, busy(1)).with(12, unused));
    is_healthy(&gone(2, 12).with(1, from(3, silent(20_000))));
}

/// Asked `asked` ms ago; the last answer came `answered` ms ago.
fn asked(asked: u64, answered: u64) -> Conn {
    established(0, 0)
        .inherited()
        .moved(Some(asked), Some(answered))
}

#[test]
fn a_peer_that_hangs_answers_nobody() {
    let wedged = |silent_ms: u64| {
        site().each(5, move |i| {
            asked(silent_ms - 1_000 - i * 2_000, silent_ms + i * 500)
        })
    };
    let verdict = wedged(60_001).judge();
    assert_eq!((verdict.code, verdict.class), (WEDGED, Class::Stuck));
    assert_eq!(verdict.fault, Some(Fault::Peer));
    assert_eq!(verdict.confidence, Confidence::Medium);
    let early = wedged(30_000).judge();
    assert_eq!((early.code, early.confidence), (WEDGED, Confidence::Low));
    is_healthy(&wedged(29_000));
}

/// Asks `pause` after its last answer, which came `answered` ms ago after others.
fn pulse(answered: u64, pause: u64) -> Conn {
    asked(answered - pause, answered).edit(|sample| sample.data_segments_in = 9)
}

#[test]
fn heartbeats_that_nobody_answers() {
    let beats = site().each(5, |i| pulse(50_000 + i * 50, 1_000 + i * 20));
    let verdict = beats.judge();
    assert_eq!((verdict.code, verdict.class), (WEDGED, Class::Stuck));
    assert_eq!((verdict.confidence, verdict.affected), (Confidence::Low, 5));
    // Workers ask when they are done, and wait until there is something to do.
    is_healthy(&site().each(9, |i| pulse(50_000 + i * 50, 1_000 + i * 300)));
    is_healthy(&site().each(9, |i| pulse(50_000 + i * 50, 100)));
    // The first of its kind is answered late, perhaps.
    is_healthy(&site().each(9, |i| {
        pulse(50_000 + i * 50, 1_000).edit(|s| s.data_segments_in = 2)
    }));
    // One that lies idle was answered; two are few.
    is_healthy(&beats.clone().with(1, established(90_000, 60_000)));
    is_healthy(&site().with(2, pulse(50_000, 1_000)));
    is_healthy(&beats.closed(3, 30_000, 50));
}

#[test]
fn workers_that_wait_for_work_are_not_wedged() {
    // Each blocks right after its last answer.
    let workers = site().each(9, |i| asked(90_000 + i * 5_000, 90_010 + i * 5_000));
    is_healthy(&workers);
    // All at once after a pause.
    is_healthy(&site().with(9, asked(50_000, 90_000)));
    // One is answered still.
    let answered = site().each(5, |i| asked(59_000 - i * 2_000, 60_000));
    is_healthy(&answered.clone().with(1, established(90_000, 10)));
    // Some ended since: they may have had their answer.
    is_healthy(&answered.closed(3, 30_000, 50));
}

/// Window closed for `ms`.
fn blocked(ms: u64) -> Conn {
    established(ms + 60_000, ms)
        .moved(Some(ms), Some(ms + 10))
        .edit(|sample| {
            sample.timer = Timer::ZeroWindow;
            sample.send_q = 2_000_000;
            sample.ack_received_ms = Some(200).into();
        })
}

#[test]
fn a_peer_that_does_not_read() {
    let verdict = site().server().with(2, blocked(60_001)).judge();
    assert_eq!((verdict.code, verdict.class), (NOT_READING, Class::Stuck));
    assert_eq!(verdict.confidence, Confidence::High);
    assert!(verdict.why.contains("4000000 bytes"), "{}", verdict.why);
    let early = site().with(1, blocked(30_001)).judge();
    assert_eq!(
        (early.code, early.confidence),
        (NOT_READING, Confidence::Medium)
    );
    assert_eq!(site().with(1, blocked(30_000)).code(), UNKNOWN);
    is_healthy(&site().with(1, blocked(10_000)));
    is_healthy(&site().with(1, blocked(90_000).edit(|s| s.timer = Timer::Retransmit)));
    is_healthy(&site().with(1, blocked(90_000).edit(|s| s.send_q = 0)));
}

/// `n` requests over a minute, each on a connection of its own and unanswered.
fn unanswered(n: u64) -> Site {
    site().each(n, move |i| {
        let age = i * 60_000 / n + 100;
        established(age, 0).moved(Some(age - 1), None)
    })
}

#[test]
fn requests_that_pile_up_unanswered() {
    let verdict = unanswered(30).judge();
    assert_eq!((verdict.code, verdict.class), (UNANSWERED, Class::Stuck));
    assert_eq!(verdict.fault, Some(Fault::LocalApp));
    assert_eq!(verdict.confidence, Confidence::Medium);
    // Most are answered; one in ten is not.
    let some = unanswered(30).closed(270, 60_000, 100);
    assert_eq!(some.code(), UNANSWERED);
    // Those that end take as long.
    is_healthy(&unanswered(30).closed(30, 30_000, 20_000));
    assert_eq!(unanswered(8).code(), UNKNOWN);
}

#[test]
fn a_request_in_the_same_tick_as_the_answer_before() {
    let tie = |acknowledged: u64, timer| {
        site().each(30, move |i| {
            let age = i * 2_000 + 100;
            let asked = established(age, 0).moved(Some(age - 1), Some(age - 1));
            asked.edit(|sample| {
                sample.ack_received_ms = Some(age - acknowledged).into();
                sample.timer = timer;
            })
        })
    };
    assert_eq!(tie(41, Timer::None).code(), UNANSWERED);
    // The answer was the last, or nothing tells.
    assert_ne!(tie(1, Timer::None).code(), UNANSWERED);
    assert_ne!(tie(41, Timer::Keepalive).code(), UNANSWERED);
}

#[test]
fn long_polls_do_not_pile_up() {
    let polls = established(0, 0)
        .inherited()
        .moved(Some(50_000), Some(50_100));
    is_healthy(&site().with(40, polls));
    let burst = site().with(40, established(50_000, 0).moved(Some(49_900), None));
    is_healthy(&burst);
    // Heard every 10 s.
    let beats = site().each(30, |i| {
        let age = i * 2_000 + 100;
        established(age, 0).moved(Some(age - 1), Some(age.saturating_sub(2) % 10_000))
    });
    is_healthy(&beats);
}

#[test]
fn a_proxy_opens_one_for_each_client() {
    let mut proxy = unanswered(30);
    proxy.inbound = proxy.live.iter().filter_map(|c| c.opened_at).collect();
    assert_eq!(proxy.code(), UNKNOWN);
    // A server that is asked far more often has some neighbour for each.
    let more = proxy.inbound.repeat(4);
    proxy.inbound = more;
    assert_eq!(proxy.code(), UNANSWERED);
}

/// A site whose peer hangs up after `idle` ms, `hang_ups` times, and `raced` times met
/// a request.
fn races(raced: u64, hang_ups: u64, idle: impl Fn(u64) -> u64) -> Site {
    let mut all = site()
        .with(2, established(20_000, 500))
        .closed(hang_ups, 60_000, 9_000);
    all.tally.raced = raced;
    all.tally.ended_by[ClosedBy::Peer as usize] = hang_ups;
    for i in 0..hang_ups {
        all.tally.hang_ups.record(idle(i));
    }
    all
}

#[test]
fn requests_that_meet_the_peers_timeout() {
    let timer = |i: u64| 5_000 + i * 20;
    let verdict = races(2, 8, timer).judge();
    assert_eq!((verdict.code, verdict.class), (RACE, Class::Peer));
    assert_eq!(verdict.fault, Some(Fault::Config));
    is_healthy(&races(1, 8, timer));
    is_healthy(&races(2, 4, timer));
    // Closed before it was read: a RST without a FIN.
    let mut unread = races(0, 8, timer);
    unread.tally.failures.record(5_100);
    is_healthy(&unread);
    unread.tally.failures.record(5_300);
    assert_eq!(unread.code(), RACE);
    // At another age.
    let mut other = races(0, 8, timer);
    (0..9).for_each(|_| other.tally.failures.record(2_000));
    is_healthy(&other);
    // A restart meets all ages; a server that closes after each answer none.
    is_healthy(&races(3, 9, |i| 500 << i));
    is_healthy(&races(3, 9, |_| 20));
    is_healthy(&races(2, 8, timer).server());
}

/// A pool of which `failed` did not survive a pause of `lost` ms, and the others one
/// of `gap` ms.
fn forgetful(failed: u64, lost: u64, gap: u32) -> Site {
    let mut all = site().each(5, |i| {
        let mut conn = established(0, i * 100).inherited();
        (conn.0.revivals, conn.0.longest_gap_ms) = (2, gap);
        conn
    });
    for _ in 0..failed {
        all.tally.failures.record(lost);
    }
    all
}

#[test]
fn a_path_that_forgets() {
    let verdict = forgetful(3, 30_000, 15_000).judge();
    assert_eq!((verdict.code, verdict.class), (DROP, Class::Peer));
    assert_eq!(verdict.fault, Some(Fault::Network));
    is_healthy(&forgetful(2, 30_000, 15_000));
    // Longer pauses were survived, or short ones were not.
    is_healthy(&forgetful(3, 30_000, 40_000));
    is_healthy(&forgetful(3, 5_000, 1_000));
    // Without survivors it may be the peer.
    let mut all_reset = forgetful(3, 30_000, 15_000);
    all_reset.live.clear();
    is_healthy(&all_reset);
}

#[test]
fn those_forgotten_just_now_hang() {
    let mut hanging = unacknowledged(25_000, 6);
    hanging.0.quiet_ms = std::num::NonZeroU32::new(30_000);
    let path = forgetful(0, 0, 15_000).with(3, hanging.clone());
    assert_eq!(path.code(), DROP);
    // Nobody else is alive there: the peer is gone.
    assert_eq!(site().with(3, hanging).code(), HALF_OPEN);
}

#[test]
fn given_up_one_after_the_other_while_new_ones_work() {
    let lost = |sent_ago: u64, paused: u32| {
        let mut conn = unacknowledged(sent_ago, 6)
            .edit(|s| s.ack_received_ms = Some(sent_ago + u64::from(paused)).into());
        conn.0.state = State::FinWait1;
        conn.0.quiet_ms = std::num::NonZeroU32::new(paused);
        conn
    };
    let drops = site().each(6, |i| lost(10_000 + i * 6_000, 15_000));
    // Nobody else is alive there.
    assert_ne!(drops.code(), DROP);
    let path = drops
        .clone()
        .each(4, |i| established(12_000 + i * 6_000, 500));
    assert_eq!(path.code(), DROP);
    // An outage, after which new ones work.
    let outage = site().each(6, |i| lost(30_000 + i * 1_000, 15_000));
    assert_ne!(outage.with(4, established(20_000, 500)).code(), DROP);
    // Those in use hang too.
    let all = path.each(6, |i| lost(10_000 + i * 6_000, 200));
    assert_ne!(all.code(), DROP);
}

/// We closed `closed` in a minute, of which `waiting` are in FIN_WAIT2 now.
fn orphans(closed: u64, waiting: u32) -> Site {
    let mut all = site().closed(closed, 60_000, 50);
    all.tally.fin_waits = closed;
    all.tally.ended_by[ClosedBy::Local as usize] = closed;
    all.host.orphans.insert(all.key.end, waiting);
    all
}

#[test]
fn a_peer_that_never_closes() {
    let verdict = orphans(60, 58).judge();
    assert_eq!((verdict.code, verdict.class), (PEER, Class::Peer));
    assert_eq!(
        (verdict.confidence, verdict.fault),
        (Confidence::High, Some(Fault::Peer))
    );
    // One in three.
    assert_eq!(orphans(60, 20).code(), PEER);
    is_healthy(&orphans(60, 19));
    is_healthy(&orphans(9, 9));
    // A busy client passes through it for milliseconds.
    is_healthy(&orphans(3_000, 40));
    // A pool at the other end, hung up on at once.
    let mut once = site().closed(40, 20_000, 50);
    once.tally.fin_waits = 40;
    once.tally.ended_by[ClosedBy::Local as usize] = 40;
    once.host.orphans.insert(once.key.end, 40);
    is_healthy(&once);
    // Another program's.
    let mut others = orphans(60, 58);
    others.tally.fin_waits = 0;
    is_healthy(&others);
    let mut server = orphans(60, 0).role(Role::Server);
    server.host.orphans.insert(([0, 0, 0, 0], 8_099).into(), 58);
    assert_eq!(server.code(), PEER);
}
