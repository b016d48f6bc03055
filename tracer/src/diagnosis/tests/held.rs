//! Held by another than its opener; left unread; kept for every destination; and the
//! pools that look alike.

use super::UNKNOWN;
use crate::{
    decode::{Comm, Owner},
    diagnosis::{
        Class, Confidence, Fault,
        rules::{
            client_per_request, healthy_pool, idle_growth, inherited_fd, pool_exhausted,
            response_not_finished,
        },
        runtime::Runtime,
        testing::{Conn, Site, close_wait, established, site},
    },
    table::connection::Holder,
    tcp::{ClosedBy, OwnerKnown},
};

const INHERITED: &str = inherited_fd::CODE;
const UNREAD: &str = response_not_finished::CODE;

/// The process that opened it.
const OPENER: u32 = 123;
/// The one that holds it.
const HEIR: u32 = 456;

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

/// In the hands of `heir`, once its opener has let go.
fn handed_on(mut conn: Conn, heir: &str) -> Conn {
    let comm = Comm::from(heir.as_bytes());
    let owner = Owner {
        stack: None,
        pid: HEIR,
        tid: None,
        uid: 1000,
        comm,
        fd: Some(7),
    };
    conn.0.own(owner, OwnerKnown::Fds);
    let holder = Holder {
        pid: HEIR,
        fd: 7,
        comm,
    };
    conn.0.note_holders(&[holder]);
    conn
}

/// As the test's connections are called.
const SAME: &str = "\x1b[31mevil";

#[test]
fn held_by_a_child_that_was_made_into_another_program() {
    let idle = |ms: u64| handed_on(established(ms + 100, ms), "sleep");
    let verdict = site().with(3, idle(15_001)).judge();
    assert_eq!((verdict.code, verdict.class), (INHERITED, Class::Leak));
    assert_eq!(verdict.fault, Some(Fault::LocalApp));
    assert!(verdict.why.contains("opened by pid 123"), "{}", verdict.why);
    is_healthy(&site().with(3, idle(15_000)));
    // A single one for half of the watch.
    assert_eq!(site().with(1, idle(30_001)).code(), INHERITED);
    is_healthy(&site().with(1, idle(30_000)));
}

#[test]
fn held_by_a_copy_of_a_program_that_goes_on() {
    let idle = handed_on(established(40_100, 40_000), SAME);
    let mut forked = site().with(3, idle);
    // Its opener has ended: so does a daemon start.
    is_healthy(&forked);
    forked.host.holders.insert(OPENER);
    assert_eq!(forked.code(), INHERITED);
    // It has used them.
    let mut used = handed_on(established(40_100, 40_000), SAME);
    used.0.revivals = 1;
    let mut heirs = site().with(3, used);
    heirs.host.holders.insert(OPENER);
    is_healthy(&heirs);
}

#[test]
fn a_server_that_forks_for_each_client() {
    let mut sessions = site()
        .server()
        .with(9, handed_on(established(90_000, 50_000), SAME));
    sessions.host.holders.insert(OPENER);
    is_healthy(&sessions);
    let shell = handed_on(established(90_000, 50_000), "bash");
    is_healthy(&site().server().with(9, shell));
    // But if the client has left, nobody is there to notice.
    let left = handed_on(close_wait(40_000).recv_q(1), SAME);
    assert_eq!(site().server().with(3, left).code(), INHERITED);
}

#[test]
fn shared_by_both_is_not_inherited() {
    let mut both = established(40_100, 40_000);
    let comm = both.0.owner.expect("an owner").comm;
    let holder = |pid| Holder { pid, fd: 7, comm };
    both.0.note_holders(&[holder(OPENER), holder(HEIR)]);
    is_healthy(&site().with(3, both));
    // Who opened it was not seen.
    let old = handed_on(established(40_100, 40_000).inherited(), "sleep");
    is_healthy(&site().with(3, old));
}

/// Opens `n` in a minute, one exchange each, and leaves `unread` bytes of the answer.
fn unread(n: u64, unread: u32) -> Site {
    site().each(n, move |i| {
        let age = i * 60_000 / n + 100;
        established(age, age - 100).recv_q(unread)
    })
}

#[test]
fn answers_left_unread_while_others_are_opened() {
    let verdict = unread(20, 4_000).judge();
    assert_eq!((verdict.code, verdict.class), (UNREAD, Class::Leak));
    assert_eq!(verdict.confidence, Confidence::High);
    assert!(verdict.why.contains("bytes lie unread"), "{}", verdict.why);
    // A short answer is one, too.
    assert_eq!(unread(20, 9).code(), UNREAD);
    // All at once, and none since: they may be read yet.
    let paused = established(40_000, 39_900).recv_q(4_000_000);
    is_healthy(&site().with(9, paused));
}

#[test]
fn a_farewell_is_no_answer() {
    // An HTTP 408 on members that were idle for long, each used often before.
    let mut member = established(0, 20_000)
        .inherited()
        .moved(Some(50_000), Some(20_000))
        .recv_q(200);
    member.0.revivals = 3;
    let pool = site().with(10, member).closed(50, 60_000, 30_000);
    is_healthy(&pool);
}

#[test]
fn a_used_connection_that_was_hung_up_on_is_only_not_closed() {
    let reused = close_wait(20_000).opened(90_000).edit(|sample| {
        sample.data_segments_in = 40;
        sample.data_segments_out = 40;
    });
    let unread = reused.recv_q(4_000);
    assert_eq!(site().with(3, unread).code(), "missing-close");
}

/// Calls over a minute, each with a client of its own, which the peer hangs up after
/// `timeout` ms; `apart` ms from call to call.
fn clients(apart: u64, timeout: u64) -> Site {
    let mut all = site().each(timeout / apart, move |i| {
        let age = i * apart + 60;
        established(age, age - 40)
    });
    let ended = (60_000 - timeout) / apart;
    all = all.closed(ended, 60_000, timeout);
    all.tally.ended_by[ClosedBy::Peer as usize] = ended;
    all
}

#[test]
fn a_client_for_each_call() {
    let verdict = clients(500, 5_000).judge();
    assert_eq!(
        (verdict.code, verdict.class),
        (client_per_request::CODE, Class::Leak)
    );
    assert_eq!(verdict.confidence, Confidence::Medium);
    // Seldom: each is gone before the next.
    is_healthy(&clients(4_000, 5_000));
    // We close, or the peer closes after each answer.
    let mut ours = clients(500, 5_000);
    ours.tally.ended_by = [0; ClosedBy::ALL.len()];
    is_healthy(&ours);
    is_healthy(&clients(20, 100));
    // They are used again.
    let mut reused = clients(500, 5_000);
    reused.tally.revived = reused.tally.ended_by(ClosedBy::Peer);
    is_healthy(&reused);
}

/// `n` opened one by one, `apart` ms from the use of one to the opening of the next;
/// the last one `stopped` ms ago.
fn filled(n: u64, apart: u64, stopped: u64) -> Site {
    site().each(n, move |i| {
        let age = stopped + i * (apart + 50) + 50;
        established(age, age - 50)
    })
}

#[test]
fn a_pool_whose_members_do_not_come_back() {
    let verdict = filled(10, 500, 40_000).judge();
    assert_eq!(
        (verdict.code, verdict.class),
        (pool_exhausted::CODE, Class::Leak)
    );
    assert_eq!(verdict.confidence, Confidence::Medium);
    assert_eq!(verdict.affected, 10);
}

#[test]
fn a_pool_that_was_warmed_up_or_is_of_no_size() {
    // The next one is opened at once.
    let edge = pool_exhausted::PAUSE_MS;
    is_healthy(&filled(10, edge - 1, 40_000));
    assert_eq!(filled(10, edge, 40_000).code(), pool_exhausted::CODE);
    is_healthy(&filled(11, 500, 40_000));
    is_healthy(&filled(4, 500, 40_000));
    // It may go on: at this rate the next is not overdue.
    assert_ne!(filled(10, 4_000, 15_000).code(), pool_exhausted::CODE);
    // Full since before the watch: as a pool that rests.
    is_healthy(&site().with(10, established(0, 300_000).inherited()));
}

/// One connection each to `n` destinations, opened over a minute.
fn destinations(n: u64) -> Site {
    let mut all = site().each(n, move |i| {
        let age = i * 60_000 / n + 100;
        established(age, age - 50)
    });
    all.destinations = usize::try_from(n).expect("few");
    all
}

#[test]
fn a_connection_for_every_destination() {
    let verdict = destinations(40).judge();
    assert_eq!(
        (verdict.code, verdict.class),
        (idle_growth::CODE, Class::Leak)
    );
    assert!(
        verdict.why.contains("to 40 destinations"),
        "{}",
        verdict.why
    );
    assert_eq!(destinations(12).code(), UNKNOWN);
    // It closes some.
    let mut closes = destinations(40).closed(3, 60_000, 20_000);
    closes.tally.ended_by[ClosedBy::Local as usize] = 3;
    is_healthy(&closes);
    // They are met again.
    let mut met = destinations(40);
    for connection in &mut met.live {
        connection.revivals = 1;
    }
    is_healthy(&met);
}

#[test]
fn a_working_pool_is_called_so() {
    let mut pool = site().with(10, established(0, 20_000).inherited());
    assert_eq!(pool.code(), "healthy");
    for connection in &mut pool.live {
        connection.revivals = 1;
    }
    assert_eq!(pool.code(), healthy_pool::CODE);
    assert_eq!(pool.clone().server().code(), "healthy");
    pool.live.truncate(1);
    assert_eq!(pool.code(), "healthy");
}

#[test]
fn the_fix_is_written_for_the_runtime() {
    let mut leak = site().with(25, close_wait(18_000).recv_q(0));
    for (runtime, word) in [
        (Runtime::Go, "defer"),
        (Runtime::Java, "try-with-resources"),
        (Runtime::Python, "`with`"),
        (Runtime::Node, "socket.destroy()"),
        (Runtime::Rust, "Drop the stream"),
        (Runtime::Nginx, "worker_shutdown_timeout"),
    ] {
        leak.runtime = runtime;
        let fix = leak.judge().fix;
        assert!(fix.contains(word), "{runtime}: {fix}");
    }
    assert_ne!(leak.code(), UNKNOWN);
}
