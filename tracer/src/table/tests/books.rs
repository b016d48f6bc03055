//! The books balance, whatever comes in.

use proptest::prelude::*;

use super::{CLOSES, NOTHING, Script, ends, task};
use crate::{
    clock::BootTime,
    decode::{Circumstance, Event},
    table::Table,
    tcp::{OwnerKnown, Role, State},
};

#[test]
fn short_lived_processes_of_one_name_are_one_site() {
    let mut script = Script::new();
    for sock in 0..50 {
        let pid = 100 + u32::try_from(sock).expect("small");
        script.apply(|at| Event::State {
            at,
            sock,
            ends: ends("127.0.0.1:4000", "127.0.0.1:80"),
            old: State::Close,
            new: State::SynSent,
            how: NOTHING,
            task: task(pid, None),
        });
        script.step(sock, State::SynSent, State::Established, NOTHING);
        // The process ends before its last connection does, or after.
        if sock % 2 == 0 {
            script.apply(|at| Event::Exit { at, pid });
        }
        script
            .step(sock, State::Established, State::Close, CLOSES)
            .gone(sock);
        script.apply(|at| Event::Exit { at, pid });
        script.table.checkpoint(BootTime::from_ns(script.now));
    }
    let sites = script.table.sites();
    assert_eq!(sites.len(), 1);
    let (key, tally, live) = &sites[0];
    assert_eq!(
        (key.pid, tally.opened, tally.closed, tally.processes),
        (0, 50, 50, 50)
    );
    assert!(live.is_empty());
    assert_eq!(tally.curve.last().map(|point| point.opened), Some(50));
}

#[test]
fn processes_that_meet_many_ends_stay_bounded() {
    let mut script = Script::new();
    let ports = 1..=u16::MAX;
    let hosts = 1..=4u8;
    let processes = 8;
    let mut sock = 0;
    for (host, port) in hosts.flat_map(|host| ports.clone().map(move |port| (host, port))) {
        sock += 1;
        let remote = format!("10.0.0.{host}:{port}");
        for (old, new) in [
            (State::Close, State::SynSent),
            (State::SynSent, State::Close),
        ] {
            script.apply(|at| Event::State {
                at,
                sock,
                ends: ends("127.0.0.1:4000", &remote),
                old,
                new,
                how: CLOSES,
                task: task(9 + u32::from(port) % processes, None),
            });
        }
        script.gone(sock);
    }
    let sites = script.table.sites();
    assert!(sites.len() <= 65_536 + 8, "{} sites", sites.len());
    assert!(script.table.sites_summed_up() > 0);
    let opened: u64 = sites.iter().map(|(_, tally, _)| tally.opened).sum();
    assert_eq!(opened, 4 * u64::from(u16::MAX));
}

fn connects(script: &mut Script, sock: u64, pid: u32, remote: &str) {
    for (old, new) in [
        (State::Close, State::SynSent),
        (State::SynSent, State::Established),
    ] {
        script.apply(|at| Event::State {
            at,
            sock,
            ends: ends("127.0.0.1:4000", remote),
            old,
            new,
            how: NOTHING,
            task: task(pid, None),
        });
    }
}

#[test]
fn who_ended_is_not_counted_with_the_site_that_has_its_place_now() {
    let mut script = Script::new();
    let remote = "127.0.0.1:80";
    connects(&mut script, 1, 1, remote);
    script.step(1, State::Established, State::Close, CLOSES);
    script.apply(|at| Event::Exit { at, pid: 1 });
    connects(&mut script, 2, 2, remote);
    // Somebody else has the first one.
    let (other, known) = (task(3, Some(4)), OwnerKnown::Fds);
    script.table.hand_over(1, other, known);
    let sites = script.table.sites();
    let (_, tally, live) = sites
        .iter()
        .find(|(key, ..)| key.pid == 2)
        .expect("its site");
    assert_eq!((tally.opened, tally.live(), live.len()), (1, 1, 1));
}

#[test]
fn a_process_that_ends_with_many_sites_leaves_one() {
    let mut script = Script::new();
    for sock in 1..=100 {
        connects(&mut script, sock, 9, &format!("10.0.0.1:{sock}"));
    }
    script.apply(|at| Event::Exit { at, pid: 9 });
    for sock in 1..=100 {
        assert!(script.table.sites().iter().any(|(key, ..)| key.pid == 9));
        script.step(sock, State::Established, State::Close, CLOSES);
    }
    let sites = script.table.sites();
    assert!(sites.iter().all(|(key, ..)| key.pid == 0), "{sites:?}");
    let closed: u64 = sites.iter().map(|(_, tally, _)| tally.closed).sum();
    assert_eq!(closed, 100);
}

fn any_state() -> impl Strategy<Value = State> {
    (0..State::ALL.len()).prop_map(|index| State::ALL[index])
}

fn any_event() -> impl Strategy<Value = Event> {
    let how = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..3i32,
    )
        .prop_map(
            |(in_shutdown, exiting, peer_done, orphan, both_shut, error)| Circumstance {
                in_shutdown,
                exiting,
                peer_done,
                orphan,
                both_shut,
                freed: peer_done && orphan && error == 0,
                error,
                subflow: false,
                idle_ms: None,
                figures: None,
            },
        );
    let at = BootTime::from_ns(1);
    let both = ends("127.0.0.1:4000", "127.0.0.1:80");
    prop_oneof![
        6 => (0..6u64, any_state(), any_state(), how, 1..4u32).prop_map(
            move |(sock, old, new, how, pid)| Event::State {
                at, sock, ends: both, old, new, how, task: task(pid, None)
            }
        ),
        1 => (0..6u64, 1..4u32).prop_map(move |(sock, pid)| Event::Accept {
            at, sock, ends: both, owner: task(pid, Some(1)), state: State::Established
        }),
        2 => (0..6u64).prop_map(move |sock| Event::Gone {
            at, sock
        }),
        1 => (0..6u64, 0..200i32).prop_map(move |(sock, errno)| Event::Connect {
            at, sock, errno, latency_ns: 1
        }),
        1 => (1..4u32).prop_map(move |pid| Event::Exit { at, pid }),
    ]
}

proptest! {
    /// Whatever comes in, in whatever order: every connection is live or closed,
    /// once, and the sites' books agree with the table's.
    #[test]
    fn the_books_balance(events in proptest::collection::vec(any_event(), 0..300)) {
        let mut table = Table::new(false, false);
        for event in &events {
            table.apply(event, |_, _, _| {});
        }
        let counters = table.counters();
        let live = table
            .entries
            .values()
            .filter(|entry| !entry.ended && entry.connection.role != Role::Listener)
            .count() as u64;
        prop_assert_eq!(counters.seen, counters.closed + counters.evicted + live);
        let grouped: usize = table.sites().iter().map(|(_, _, live)| live.len()).sum();
        let owned_live = table
            .entries
            .values()
            .filter(|entry| !entry.ended && entry.connection.role != Role::Listener)
            .filter(|entry| !entry.connection.state.is_mini_socket())
            .count();
        prop_assert_eq!(grouped, owned_live);
        let live = table.entries.values().filter(|entry| !entry.ended);
        let in_books = live.filter(|entry| entry.site.is_some()).count() as u64;
        prop_assert_eq!(table.sites.live(), in_books);
    }
}
