use super::{HEALTHY, UNKNOWN};
use crate::{
    diagnosis::testing::{conn, established, site},
    tcp::{Role, State},
};

#[test]
fn an_idle_keep_alive_pool() {
    assert_eq!(
        site().with(10, established(0, 50_000).inherited()).code(),
        HEALTHY
    );
    assert_eq!(site().with(10, established(55_000, 50_000)).code(), HEALTHY);
}

#[test]
fn a_busy_pool() {
    assert_eq!(site().with(10, established(50_000, 3)).code(), HEALTHY);
}

#[test]
fn a_pool_that_turns_over() {
    let pool = site().each(10, |i| established(i * 3_000 + 10, i * 50));
    assert_eq!(pool.closed(20, 60_000, 30_000).code(), HEALTHY);
}

#[test]
fn a_pool_that_warms_up() {
    let warm = |idle: u64| site().each(50, move |i| established(30_000 + i * 500, idle));
    assert_eq!(warm(5).code(), HEALTHY);
    assert_eq!(warm(29_000).code(), HEALTHY);
}

#[test]
fn a_slow_ramp_of_traffic() {
    let ramp = site().each(30, |i| established(i * 2_000 + 10, 40));
    assert_eq!(ramp.code(), HEALTHY);
}

#[test]
fn a_burst_that_ends() {
    let burst = site().closed(500, 5_000, 200);
    assert_eq!(burst.code(), HEALTHY);
}

#[test]
fn a_long_poll_and_one_long_lived_connection() {
    let poll = established(58_000, 0).moved(Some(57_000), Some(57_500));
    assert_eq!(site().with(1, poll).code(), HEALTHY);
    let lone = established(0, 3_000_000).inherited();
    assert_eq!(site().with(1, lone).code(), HEALTHY);
}

#[test]
fn a_server_with_a_thousand_idle_clients() {
    let idle = established(0, 600_000).inherited();
    let server = site().server().with(1_000, idle).queue(0, 511);
    assert_eq!(server.code(), HEALTHY);
}

#[test]
fn a_worker_that_has_exited() {
    let mut worker = site().closed(40, 30_000, 2_000);
    worker.key.pid = 0;
    assert_eq!(worker.code(), HEALTHY);
}

#[test]
fn a_listener() {
    let listener = site().role(Role::Listener);
    assert_eq!(
        listener.with(1, conn(State::Listen, 60_000)).code(),
        HEALTHY
    );
}

#[test]
fn closing_takes_its_course() {
    for state in [
        State::FinWait1,
        State::Closing,
        State::LastAck,
        State::SynRecv,
    ] {
        assert_eq!(
            site().with(20, conn(state, 40_000)).code(),
            HEALTHY,
            "{state}"
        );
    }
}

#[test]
fn a_glimpse_says_nothing() {
    let glimpse = site()
        .watched(4_999)
        .with(10, established(2_000, 5))
        .judge();
    assert_eq!(glimpse.code, UNKNOWN);
    assert!(glimpse.why.contains("4 s is too short"), "{}", glimpse.why);
    assert_eq!(
        site().watched(5_000).with(10, established(2_000, 5)).code(),
        HEALTHY
    );
}
