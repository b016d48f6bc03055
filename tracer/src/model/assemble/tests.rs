use super::*;
use crate::{
    decode::{Comm, Ends, Event, Owner as Task},
    diagnosis::{
        forecast::Supply,
        rules::{idle_growth, peer_not_reading},
    },
    reconcile::Socket,
    table::connection::{ConnId, Sample, Timer},
};

const SECOND: u64 = 1_000_000_000;

fn task(pid: u32) -> Task {
    Task {
        pid,
        tid: std::num::NonZeroU32::new(pid),
        uid: 0,
        comm: Comm::from(b"app".as_slice()),
        fd: Some(5),
        stack: None,
    }
}

/// A minute's watch of a program that opens a connection a second, and uses each for
/// a moment. `remote` chooses where to.
fn minute(remote: impl Fn(u8) -> [u8; 4]) -> Table {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    table.end_snapshot(Default::default());
    for second in 0..60_u8 {
        let at = BootTime::from_ns(u64::from(second) * SECOND);
        table.checkpoint(at);
        let sock = u64::from(second) + 1;
        let ends = Ends {
            local: ([127, 0, 0, 1], 40_000 + u16::from(second)).into(),
            remote: (remote(second), 80).into(),
            netns: 1,
        };
        let task = task(9);
        for (old, new) in [
            (State::Close, State::SynSent),
            (State::SynSent, State::Established),
        ] {
            let event = Event::State {
                at: at + std::time::Duration::from_millis(10),
                sock,
                ends,
                old,
                new,
                how: Default::default(),
                task,
            };
            table.apply(&event, |_, _, _| {});
        }
        let idle = u64::from(60 - second) * 1_000 - 20;
        let socket = Socket {
            cookie: sock,
            ends,
            state: State::Established,
            is_mini: false,
            uid: 0,
            sample: Sample {
                at: BootTime::from_ns(60 * SECOND),
                inode: 7,
                data_sent_ms: Some(idle + 5).into(),
                data_received_ms: Some(idle).into(),
                data_segments_in: 1,
                data_segments_out: 1,
                ..Sample::default()
            },
            figures: Default::default(),
        };
        table.measure(sock, &socket, &[]);
    }
    table.checkpoint(BootTime::from_ns(60 * SECOND));
    table
}

fn judged(table: &Table, owner: GroupOwner) -> Vec<Group> {
    let clock = WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0));
    let moment = Moment {
        from: BootTime::from_ns(0),
        now: BootTime::from_ns(60 * SECOND),
        clock: &clock,
    };
    let mut host = Host {
        ephemeral_ports: 1_000,
        ..Host::default()
    };
    let end = ([10, 0, 0, 1], 80).into();
    host.used_ports.insert((1, end), 940);
    groups(
        table,
        &host,
        moment,
        |_| true,
        |_, _| owner.clone(),
        |_| Default::default(),
    )
}

fn forecast(group: &Group) -> (Option<f64>, Option<f64>) {
    let hours = |supply: Option<Supply>| {
        let hours = supply.and_then(|supply| supply.hours_left);
        hours.map(|hours| (hours * 600.0).round() / 600.0)
    };
    (hours(group.forecast.fds), hours(group.forecast.ports))
}

#[test]
fn sites_with_too_few_connections_are_judged_together() {
    let groups = judged(&minute(|i| [10, 0, 1, i]), GroupOwner::default());
    assert_eq!(groups.len(), 1, "{groups:?}");
    let group = &groups[0];
    assert_eq!(group.verdict.code, idle_growth::CODE);
    assert_eq!(
        (group.remote.as_str(), group.live, group.opened),
        ("*", 60, 60)
    );
    assert_eq!(group.connections.len(), 60);
    // Too few destinations to be a crowd.
    let few = judged(&minute(|i| [10, 0, 1, i.max(56)]), GroupOwner::default());
    assert_eq!(few.len(), 4);
    assert!(few.iter().all(|group| group.remote != "*"));
}

#[test]
fn what_runs_out_is_told_with_its_hours() {
    let owner = GroupOwner {
        fds: Some((964, 1_024)),
        ..GroupOwner::default()
    };
    let groups = judged(&minute(|_| [10, 0, 0, 1]), owner.clone());
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].verdict.class, Class::Leak);
    // One more each second: a minute is left of both.
    let (fds, ports) = forecast(&groups[0]);
    assert_eq!((fds, ports), (Some(1.0 / 60.0), Some(1.0 / 60.0)));
    // The fds of all sites together.
    let crowd = judged(&minute(|i| [10, 0, 1, i]), owner);
    assert_eq!(forecast(&crowd[0]), (Some(1.0 / 60.0), None));
}

#[test]
fn what_is_dead_takes_no_port() {
    let mut table = minute(|_| [10, 0, 0, 1]);
    let open = table.open();
    let open: Vec<_> = open
        .filter_map(|c| Some((c.id.sock, c.ends(), c.owner?)))
        .collect();
    for (sock, ends, task) in open {
        let event = Event::State {
            at: BootTime::from_ns(60 * SECOND),
            sock,
            ends,
            old: State::Established,
            new: State::Close,
            how: Default::default(),
            task,
        };
        table.apply(&event, |_, _, _| {});
    }
    let groups = judged(&table, GroupOwner::default());
    assert_eq!(groups.iter().map(|group| group.live).sum::<u64>(), 60);
    assert!(groups.iter().all(|group| group.forecast.ports.is_none()));
}

/// A client that has waited for half a minute to send, and the other end's owner.
fn blocked(reader: u32) -> Table {
    let mut table = Table::new(false, false);
    table.begin_snapshot();
    let ends = [([127, 0, 0, 1], 40_000).into(), ([127, 0, 0, 1], 80).into()];
    for (sock, pid, role) in [(1, 9, Role::Client), (2, reader, Role::Server)] {
        let [local, remote] = match role {
            Role::Client => ends,
            _ => [ends[1], ends[0]],
        };
        let ends = Ends {
            local,
            remote,
            netns: 1,
        };
        let owner = task(pid);
        let id = ConnId {
            sock,
            generation: 0,
        };
        table.adopt(id, ends, role, State::Established, Some(owner), false);
        let sends = role == Role::Client;
        let socket = Socket {
            cookie: sock,
            ends,
            state: State::Established,
            is_mini: false,
            uid: 0,
            sample: Sample {
                at: BootTime::from_ns(60 * SECOND),
                inode: 7,
                send_q: if sends { 100_000 } else { 0 },
                timer: if sends {
                    Timer::ZeroWindow
                } else {
                    Timer::None
                },
                data_sent_ms: Some(50_000).into(),
                data_received_ms: Some(50_000).into(),
                ..Sample::default()
            },
            figures: Default::default(),
        };
        table.measure(sock, &socket, &[]);
    }
    table.end_snapshot(Default::default());
    table
}

#[test]
fn a_peer_that_must_act_is_named_where_it_is_on_this_host() {
    let client = |reader| {
        let mut groups = judged(&blocked(reader), GroupOwner::default());
        groups.retain(|group| group.role == Role::Client);
        groups.pop().expect("the client's")
    };
    let apart = client(10);
    assert_eq!(apart.verdict.code, peer_not_reading::CODE);
    assert_eq!(apart.verdict.fault, Some(Fault::Peer));
    let pids: Vec<_> = apart.other_ends.iter().map(|end| end.pid).collect();
    assert_eq!(pids, [10]);
    // Both ends are its own.
    let alone = client(9);
    assert_eq!(alone.verdict.fault, Some(Fault::LocalApp));
    let why = &alone.verdict.why;
    assert!(why.ends_with("both ends are in this one process"), "{why}");
}
