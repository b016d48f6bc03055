//! One report of each kind, the same in every test; `name` stands wherever a
//! process may choose the text.

use jiff::{Timestamp, ToSpan};

use crate::{
    diagnosis::{
        Class, Confidence, Evidence, Fault, Verdict,
        forecast::{Forecast, Supply},
        runtime::Runtime,
    },
    model::{
        connection::{Connection, Holder},
        event::{Event, EventName},
        frame::Frame,
        report::{
            Check, CodeSite, Count, Doctor, Group, GroupOwner, Leaks, Left, Loss, OtherEnd, Status,
            Summary,
        },
        untrusted::Untrusted,
    },
    tcp::{ClosedBy, Known, OwnerKnown, Role, State},
};

pub(super) const LOSS: Loss = Loss {
    events_generated: 5_120,
    events_delivered: 5_000,
    events_lost: 120,
    ring_full: 100,
    hook_missed: 20,
    undecodable: 0,
    unrecorded: 0,
    unwritten: 0,
    repaired: 3,
    is_damaged: false,
};

/// Noon and so many milliseconds.
pub(crate) fn noon(ms: i64) -> Timestamp {
    "2026-01-02T12:00:00Z"
        .parse::<Timestamp>()
        .expect("RFC 3339")
        + ms.milliseconds()
}

/// A client's connection whose peer has closed.
pub(super) fn close_wait(name: &str, fd: i32) -> Connection {
    Connection {
        id: format!("{fd:x}.0"),
        pid: Some(4242),
        tid: Some(4243),
        comm: Some(Untrusted::from(name)),
        fd: Some(fd),
        uid: Some(1000),
        netns: 4_026_531_840,
        role: Role::Client,
        local: format!("127.0.0.1:{}", 41_456 + fd),
        remote: "127.0.0.1:8099".to_owned(),
        state: State::CloseWait,
        known: Known::Observed,
        opened_at: Some(noon(-61_234)),
        established_at: Some(noon(-61_232)),
        app_closed_at: None,
        closed_at: None,
        closed_by: Some(ClosedBy::Peer),
        error: None,
        age_ms: Some(61_234),
        state_ms: Some(60_950),
        idle_ms: Some(60_960),
        tx_bytes: 78,
        rx_bytes: 1_612,
        recv_q: Some(1),
        send_q: Some(0),
        retransmits: 0,
        srtt_us: 1_520,
        connect_errno: Some(0),
        connect_us: Some(2_000),
        lingers: None,
        lingers_until: None,
        reset_by: None,
        history: vec![
            (State::SynSent, noon(-61_234)),
            (State::Established, noon(-61_232)),
            (State::CloseWait, noon(-60_950)),
        ],
        holders: Some(vec![
            Holder {
                pid: 4242,
                fd,
                comm: Untrusted::from(name),
            },
            Holder {
                pid: 4250,
                fd: 3,
                comm: Untrusted::from(name),
            },
        ]),
        owner_known: Some(OwnerKnown::Connect),
        opener_pid: Some(4242),
        opener_tid: Some(4243),
        opener_comm: Some(Untrusted::from(name)),
        opener_fd: Some(fd),
    }
}

/// A server's, over IPv6 and with all unknown that may be.
fn inherited() -> Connection {
    Connection {
        pid: None,
        tid: None,
        comm: None,
        fd: None,
        uid: None,
        role: Role::Server,
        local: "[2001:db8:85a3:1234:5678:8a2e:370:7334]:443".to_owned(),
        remote: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".to_owned(),
        state: State::Established,
        known: Known::Inherited,
        opened_at: None,
        established_at: None,
        closed_by: None,
        age_ms: None,
        state_ms: None,
        idle_ms: None,
        recv_q: None,
        send_q: None,
        connect_errno: None,
        connect_us: None,
        history: Vec::new(),
        holders: None,
        owner_known: None,
        opener_pid: None,
        opener_tid: None,
        opener_comm: None,
        opener_fd: None,
        ..close_wait("", 9)
    }
}

fn fin_wait(name: &str) -> Connection {
    Connection {
        role: Role::Server,
        local: "192.168.100.200:8080".to_owned(),
        remote: "192.168.100.201:51234".to_owned(),
        state: State::FinWait2,
        lingers: Some(State::FinWait2),
        app_closed_at: Some(noon(-5_000)),
        holders: Some(Vec::new()),
        ..close_wait(name, 11)
    }
}

pub(crate) fn connections(name: &str) -> Vec<Connection> {
    vec![close_wait(name, 7), fin_wait(name), inherited()]
}

fn group(name: &str, verdict: Verdict, connections: Vec<Connection>) -> Group {
    let text = || Some(Untrusted::from(name));
    let live = u64::try_from(connections.len()).expect("few");
    let state = connections
        .first()
        .map_or(State::Established, |first| first.state);
    let role = connections.first().map_or(Role::Client, |first| first.role);
    Group {
        verdict,
        owner: GroupOwner {
            pid: Some(4242),
            comm: text(),
            exe: text(),
            cgroup: text(),
            container: text(),
            processes: 1,
            runtime: Runtime::Python,
            fds: Some((812, 1_024)),
        },
        role,
        remote: if role == Role::Client {
            "127.0.0.1:8099"
        } else {
            "*"
        }
        .to_owned(),
        local_port: if role == Role::Client { 0 } else { 8080 },
        site: CodeSite {
            cut_short: false,
            id: "5f3a9c".to_owned(),
            frames: vec![
                Frame {
                    function: Some(Untrusted::from("connect")),
                    module: Some(Untrusted::from("libc.so.6")),
                    offset: Some(11),
                    ..Frame::default()
                },
                Frame {
                    function: Some(Untrusted::from(name)),
                    module: Some(Untrusted::from(name)),
                    file: Some(Untrusted::from(name)),
                    line: Some(42),
                    offset: None,
                },
                Frame {
                    function: Some(Untrusted::from("main.main")),
                    module: Some(Untrusted::from(name)),
                    file: Some(Untrusted::from("main.go")),
                    line: Some(12),
                    offset: Some(97),
                },
            ],
            opened_before_start: false,
        },
        other_ends: vec![OtherEnd {
            pid: 4243,
            comm: Untrusted::from(name),
            connections: live.div_ceil(2),
        }],
        live,
        opened: 40,
        closed: 40 - live.min(40),
        inherited: 0,
        incomplete: true,
        lingering: Left {
            time_wait: 12,
            fin_wait2: 1,
            until: Some(noon(38_000)),
        },
        oldest_age_ms: connections.first().and_then(|first| first.age_ms),
        states: [(state, live)].into(),
        connections,
        forecast: Forecast {
            fds: Some(Supply {
                used: 812,
                limit: 1_024,
                growth_per_hour: 420.0,
                hours_left: Some(0.5047),
            }),
            ports: None,
        },
        curve: (1..=4)
            .map(|quarter| Count {
                at: noon((quarter - 4) * 15_000),
                opened: 10 * quarter.unsigned_abs(),
                live: live * quarter.unsigned_abs() / 4,
            })
            .collect(),
        lives: [30, 400, 450, 9_000].into_iter().collect(),
    }
}

fn verdict(class: Class, code: &'static str, why: &str, fix: &str) -> Verdict {
    Verdict {
        code,
        class,
        confidence: Confidence::High,
        fault: (class == Class::Leak).then_some(Fault::LocalApp),
        why: why.to_owned(),
        fix: fix.to_owned(),
        evidence: vec![
            Evidence::new("longest in CLOSE_WAIT, ms", 60_950),
            Evidence::new("unread FINs", true),
        ],
        affected: 2,
    }
}

fn healthy() -> Group {
    let verdict = verdict(
        Class::Healthy,
        "healthy",
        "Connections are closed about as fast as they are opened.",
        "Nothing to do.",
    );
    Group {
        owner: GroupOwner {
            pid: None,
            comm: None,
            exe: None,
            cgroup: None,
            container: None,
            processes: 1,
            runtime: Runtime::Unknown,
            fds: None,
        },
        site: CodeSite {
            opened_before_start: true,
            ..CodeSite::default()
        },
        other_ends: Vec::new(),
        inherited: 1,
        oldest_age_ms: None,
        forecast: Forecast::default(),
        ..group("", verdict, vec![inherited()])
    }
}

fn unknown() -> Group {
    Group {
        verdict: verdict(
            Class::Unknown,
            "not-enough-data",
            "One connection.",
            "Watch longer.",
        ),
        states: [].into(),
        connections: Vec::new(),
        live: 0,
        ..healthy()
    }
}

fn report(groups: Vec<Group>, summary: Summary, loss: Loss) -> Leaks {
    Leaks {
        host: Untrusted::from("web-1"),
        kernel: Untrusted::from("6.18.0"),
        plan: "tracepoint",
        blind: vec![
            "Which process closed a connection that another had opened, until the next \
                     snapshot is taken."
                .to_owned(),
        ],
        window: (noon(-60_000), noon(0)),
        loss,
        groups,
        summary,
    }
}

/// A leak of seven, a stuck one, a healthy and an unknown site, with a loss.
pub(crate) fn leaks(name: &str) -> Leaks {
    let leak = verdict(
        Class::Leak,
        "missing-close",
        "7 connections have been in CLOSE_WAIT for up to 1m: the peer has closed, and the program \
         still holds the descriptors. None was closed during the watch.",
        "Close the connection on every path out of the function named above, errors included.",
    );
    let stuck = verdict(
        Class::Stuck,
        "fin-wait-2-held",
        "1 connection waits for a FIN that the peer does not send.",
        "Set a timeout on the shutdown, or close the descriptor.",
    );
    let summary = Summary {
        connections_seen: 57,
        live: 9,
        closed: 48,
        evicted: 0,
        leaked: 7,
        stuck: 1,
    };
    let groups = vec![
        group(name, leak, (7..14).map(|fd| close_wait(name, fd)).collect()),
        group(name, stuck, vec![fin_wait(name)]),
        healthy(),
        unknown(),
    ];
    report(groups, summary, LOSS)
}

/// Nothing but a healthy site.
pub(super) fn no_leak() -> Leaks {
    let summary = Summary {
        connections_seen: 57,
        live: 1,
        closed: 56,
        ..Summary::default()
    };
    report(vec![healthy()], summary, Loss::default())
}

/// A site that had too little traffic.
pub(super) fn too_early() -> Leaks {
    let summary = Summary {
        connections_seen: 1,
        ..Summary::default()
    };
    report(vec![unknown()], summary, Loss::default())
}

/// No traffic at all.
pub(super) fn silence() -> Leaks {
    report(Vec::new(), Summary::default(), Loss::default())
}

/// One event of each kind.
pub(super) fn events(name: &str) -> Vec<Event> {
    EventName::ALL
        .iter()
        .zip(0..)
        .map(|(&event, ms)| {
            let mut connection = if ms != 1 {
                close_wait(name, 7)
            } else {
                inherited()
            };
            if event == EventName::ConnectFailed {
                connection.connect_errno = Some(111);
            }
            if event == EventName::TimeWait {
                connection.lingers = Some(State::TimeWait);
            }
            Event {
                name: event,
                at: noon(ms),
                connection,
            }
        })
        .collect()
}

pub(super) fn doctor(found: &str) -> Doctor {
    let check = |name, status, found: &str, fix: Option<&str>| Check {
        name,
        status,
        found: found.to_owned(),
        fix: fix.map(str::to_owned),
    };
    Doctor {
        kernel: "6.18.0".to_owned(),
        plan: Some("tracepoint"),
        blind: vec!["The errno of a failed connect.".to_owned()],
        checks: vec![
            check("kernel", Status::Ok, found, None),
            check(
                "fentry",
                Status::Degraded,
                "the kernel refuses tracing programs (EPERM at load), as it does under lockdown",
                Some("start without lockdown=confidentiality, or do without fentry"),
            ),
            check(
                "btf",
                Status::Missing,
                "/sys/kernel/btf/vmlinux",
                Some("pass --btf FILE"),
            ),
        ],
    }
}
