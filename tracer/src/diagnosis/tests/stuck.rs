use super::{HEALTHY, UNKNOWN};
use crate::{
    diagnosis::{
        Class, Confidence, Fault,
        rules::{accept_stalled, connect_stuck, time_wait_churn},
        testing::{Conn, Site, conn, established, site, unaccepted},
    },
    tcp::{Role, State},
};

const STALLED: &str = accept_stalled::CODE;
const CONNECT: &str = connect_stuck::CODE;
const CHURN: &str = time_wait_churn::CODE;

fn syn_sent(ms: u64, tries: u32) -> Site {
    site().with(1, conn(State::SynSent, ms).backoff(tries))
}

fn server(n: u64, conn: Conn) -> Site {
    site().server().with(n, conn)
}

#[test]
fn nobody_accepts() {
    let verdict = server(3, unaccepted(15_001)).judge();
    assert_eq!((verdict.code, verdict.class), (STALLED, Class::Stuck));
    assert_eq!(verdict.affected, 3);
    assert_eq!(server(3, unaccepted(15_000)).code(), HEALTHY);
    assert_eq!(server(2, unaccepted(60_000)).code(), UNKNOWN);
    assert_eq!(server(1, unaccepted(60_001)).code(), STALLED);
}

#[test]
fn nobody_accepts_and_clients_have_left() {
    let mut left = unaccepted(40_000).recv_q(1);
    left.0.state = State::CloseWait;
    assert_eq!(server(9, left).code(), STALLED);
}

#[test]
fn nobody_has_accepted_since_before_the_trace() {
    assert_eq!(server(3, unaccepted(1).inherited()).code(), STALLED);
    assert_eq!(server(3, unaccepted(1).repaired()).code(), HEALTHY);
}

#[test]
fn a_full_queue_is_told() {
    let verdict = server(1, unaccepted(20_000)).queue(129, 128).judge();
    assert_eq!(verdict.code, STALLED);
    assert!(verdict.why.contains("129 waiting, 128 allowed"));
    assert_eq!(
        server(1, unaccepted(20_000)).queue(128, 128).code(),
        UNKNOWN
    );
}

#[test]
fn accepted_unseen_is_not_stalled() {
    assert_eq!(server(9, unaccepted(40_000)).queue(0, 128).code(), HEALTHY);
    let mut answered = unaccepted(40_000);
    answered.0.tx_bytes = 1;
    assert_eq!(server(9, answered).code(), HEALTHY);
    assert_eq!(
        server(9, unaccepted(40_000).edit(|s| s.inode = 7)).code(),
        HEALTHY
    );
    assert_eq!(
        site().with(9, unaccepted(40_000)).code(),
        HEALTHY,
        "a client"
    );
}

#[test]
fn a_listeners_queue_alone_is_no_verdict() {
    let listener = site()
        .role(Role::Listener)
        .with(1, conn(State::Listen, 60_000));
    assert_eq!(listener.clone().queue(5, 128).code(), HEALTHY);
    assert_eq!(listener.queue(129, 128).code(), UNKNOWN);
}

#[test]
fn a_silent_peer() {
    let verdict = syn_sent(9_000, 3).judge();
    assert_eq!((verdict.code, verdict.class), (CONNECT, Class::Stuck));
    assert_eq!(
        (verdict.confidence, verdict.fault),
        (Confidence::High, Some(Fault::Network))
    );
    assert!(verdict.why.contains("127 s"));
    assert_eq!(syn_sent(5_001, 2).judge().confidence, Confidence::Medium);
}

#[test]
fn a_connect_from_before_the_trace() {
    let old = conn(State::SynSent, 1).inherited().backoff(6);
    assert_eq!(site().watched(2_000).with(1, old.clone()).code(), CONNECT);
    let young = old.backoff(2);
    assert_eq!(site().watched(2_000).with(1, young).code(), UNKNOWN);
}

#[test]
fn a_full_queue_on_this_host_is_its_owners_fault() {
    let verdict = syn_sent(9_000, 3).queue(129, 128).judge();
    assert_eq!(verdict.fault, Some(Fault::Peer));
    assert!(verdict.why.contains("129 waiting"));
    let verdict = syn_sent(9_000, 3).queue(1, 128).judge();
    assert_eq!(verdict.fault, Some(Fault::Network));
}

#[test]
fn a_slow_connect_is_not_stuck() {
    assert_eq!(syn_sent(5_000, 3).code(), HEALTHY);
    assert_eq!(syn_sent(9_000, 1).code(), HEALTHY, "one lost packet");
    assert_eq!(
        syn_sent(90_000, 0).code(),
        HEALTHY,
        "fast open waits for a write"
    );
    let unsampled = conn(State::SynSent, 90_000).unsampled();
    assert_eq!(site().with(1, unsampled).code(), HEALTHY);
}

/// Closes at a steady rate over a minute, in all.
fn churn(closed: u64) -> Site {
    site().closed(closed, 60_000, 40)
}

#[test]
fn ports_run_out() {
    let verdict = churn(15_000).judge();
    assert_eq!((verdict.code, verdict.class), (CHURN, Class::Churn));
    assert_eq!(verdict.confidence, Confidence::High);
    assert!(
        verdict.why.contains("of 28232 local ports"),
        "{}",
        verdict.why
    );
    assert_eq!(churn(7_000).judge().confidence, Confidence::Medium);
    assert_eq!(churn(4_000).code(), HEALTHY);
}

#[test]
fn a_short_watch_projects_a_steady_rate() {
    assert_eq!(site().watched(6_000).closed(1_500, 6_000, 40).code(), CHURN);
    assert_eq!(
        site().watched(4_900).closed(1_500, 4_900, 40).code(),
        UNKNOWN
    );
}

#[test]
fn many_processes_of_one_name_churn_too() {
    let mut loop_of_curl = churn(15_000);
    loop_of_curl.key.pid = 0;
    loop_of_curl.tally.processes = 15_000;
    let verdict = loop_of_curl.judge();
    assert_eq!(verdict.code, CHURN);
    assert!(verdict.why.contains("15000 short-lived processes"));
}

#[test]
fn others_sockets_count_only_for_the_main_culprit() {
    let mut mild = churn(4_000);
    mild.host.time_wait.insert(mild.key.end, 7_000);
    assert_eq!(mild.code(), CHURN);
    let mut innocent = churn(100).with(1, established(50_000, 10));
    innocent.host.time_wait.insert(innocent.key.end, 25_000);
    assert_eq!(innocent.code(), HEALTHY);
}

#[test]
fn a_burst_or_long_lives_or_a_server_are_no_churn() {
    let burst = site().watched(20_000).closed(6_000, 2_000, 40);
    assert_eq!(burst.code(), HEALTHY);
    assert_eq!(site().closed(15_000, 60_000, 5_000).code(), HEALTHY);
    assert_eq!(churn(15_000).server().code(), HEALTHY);
    let mut peer_closes = churn(15_000);
    peer_closes.tally.time_waits = 100;
    assert_eq!(peer_closes.code(), HEALTHY);
}
