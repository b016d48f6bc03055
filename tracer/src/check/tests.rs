//! Runs as the kernel tells of them, and what is said of their connections.

mod code;

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    allow::Allow,
    assemble::{self, Names, Terms},
    ledger::Ledger,
    python::Recorded,
    report::Finding,
    rule::Verdict,
};
use crate::{
    clock::{BootTime, WallClock},
    decode::{Circumstance, Comm, Ends, Event, Owner, StackId},
    model::{frame::Frame, untrusted::Untrusted},
    table::{Hears, Table, site::CallStack},
    tcp::State,
};

const PID: u32 = 7;
const MS: u64 = 1_000_000;
const GRACE: Duration = Duration::from_millis(250);

const QUIET: Circumstance = Circumstance {
    in_shutdown: false,
    exiting: false,
    peer_done: false,
    orphan: false,
    both_shut: false,
    subflow: false,
    freed: false,
    error: 0,
    idle_ms: None,
    figures: None,
};

/// A run of one process, told event by event.
struct Run {
    table: Table,
    ledger: Ledger,
    python: Recorded,
    now: u64,
}

fn at(ms: u64) -> BootTime {
    BootTime::from_ns(ms * MS)
}

fn ends(sock: u64) -> Ends {
    let port = u16::try_from(sock).expect("small");
    Ends {
        local: SocketAddr::from(([127, 0, 0, 1], 40_000 + port)),
        remote: SocketAddr::from(([127, 0, 0, 1], 80)),
        netns: 1,
    }
}

fn task(stack: u32) -> Owner {
    Owner {
        pid: PID,
        tid: NonZeroU32::new(PID),
        uid: 0,
        comm: Comm::from(b"app".as_slice()),
        fd: Some(5),
        stack: StackId::at(stack),
    }
}

impl Run {
    fn new() -> Self {
        let mut table = Table::new(false, true);
        table.begin_snapshot();
        table.end_snapshot(Default::default());
        Self {
            table,
            ledger: Ledger::default(),
            python: Recorded::default(),
            now: 0,
        }
    }

    /// The same by a plan that hears of each close by itself.
    fn hearing() -> Self {
        let mut run = Self::new();
        run.table = run.table.hearing(Hears {
            close: true,
            resets: true,
        });
        run
    }

    fn tell(&mut self, event: &Event) {
        let ledger = &mut self.ledger;
        self.table.apply(event, |change, _, connection| {
            ledger.change(change, connection)
        });
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self
    }

    fn step(&mut self, sock: u64, old: State, new: State, how: Circumstance, stack: u32) {
        self.now += 1;
        self.tell(&Event::State {
            at: at(self.now),
            sock,
            ends: ends(sock),
            old,
            new,
            how,
            task: task(stack),
        });
    }

    fn connects(&mut self, sock: u64, stack: u32) -> &mut Self {
        self.step(sock, State::Close, State::SynSent, QUIET, stack);
        self.step(sock, State::SynSent, State::Established, QUIET, stack);
        self
    }

    fn peer_hangs_up(&mut self, sock: u64) -> &mut Self {
        self.step(sock, State::Established, State::CloseWait, QUIET, 0);
        self
    }

    fn gone(&mut self, sock: u64) -> &mut Self {
        self.now += 1;
        self.tell(&Event::Gone {
            at: at(self.now),
            sock,
        });
        self
    }

    /// The program closes a connection that has not been used for so long.
    fn closes(&mut self, sock: u64, old: State, idle: u32) -> &mut Self {
        let how = Circumstance {
            both_shut: true,
            idle_ms: Some(idle),
            ..QUIET
        };
        let new = match old {
            State::CloseWait => State::LastAck,
            _ => State::FinWait1,
        };
        self.step(sock, old, new, how, 0);
        self.gone(sock)
    }

    fn exits(&mut self) -> &mut Self {
        self.now += 1;
        self.ledger.exit(at(self.now), PID);
        self
    }

    fn findings(&mut self, terms: Terms<'_>) -> Vec<Finding> {
        self.now += 1;
        self.ledger
            .finish(&self.table, at(self.now), |pid| pid == PID);
        self.ledger.settle(|pid| self.python.exit(pid));
        let names = Names {
            frames_of: &frames_of,
            python: &self.python,
        };
        let clock = WallClock::new(Timestamp::UNIX_EPOCH, BootTime::from_ns(0));
        let findings = assemble::findings(&self.ledger, &names, terms, &clock);
        let counts = assemble::counts(&self.ledger, &findings);
        let left = counts.leaked + counts.stuck + counts.held + counts.allowed;
        assert_eq!(counts.seen, counts.closed + left, "{counts:?}");
        findings
    }

    /// What is said, with how many connections: `CODE COUNT`.
    fn said(&mut self) -> Vec<String> {
        let findings = self.findings(terms(&[]));
        let said = findings.iter();
        said.map(|f| format!("{} {}", f.code, f.connections.len()))
            .collect()
    }
}

fn terms(allow: &[Allow]) -> Terms<'_> {
    Terms {
        grace: GRACE,
        strict: false,
        allow,
    }
}

/// A function for each stack.
fn frames_of(stack: CallStack) -> Arc<[Frame]> {
    let function = format!("app::f{}", stack.stack.place());
    Arc::new([Frame {
        function: Some(Untrusted::from(function.as_str())),
        module: Some(Untrusted::from("app")),
        offset: Some(0),
        ..Frame::default()
    }])
}

#[test]
fn what_is_closed_is_no_finding() {
    for mut run in [Run::new(), Run::hearing()] {
        run.connects(1, 1).wait(1_000);
        let how = Circumstance {
            both_shut: true,
            ..QUIET
        };
        let (sock, exiting) = (1, false);
        run.tell(&Event::Close {
            at: at(run.now),
            sock,
            exiting,
        });
        run.step(1, State::Established, State::FinWait1, how, 0);
        run.gone(1).exits();
        assert!(run.said().is_empty());
    }
}

#[test]
fn what_the_peer_closed_leaks_after_the_grace_time() {
    for (ms, code) in [(200, "held-to-exit 1"), (300, "missing-close 1")] {
        let mut run = Run::new();
        run.connects(1, 1).peer_hangs_up(1).wait(ms).exits();
        run.closes(1, State::CloseWait, 300);
        assert_eq!(run.said(), [code], "{ms}");
    }
    // Closed late is closed.
    let mut run = Run::new();
    run.connects(1, 1).peer_hangs_up(1).wait(9_000);
    run.closes(1, State::CloseWait, 9_000).exits();
    assert!(run.said().is_empty());
}

#[test]
fn what_a_process_holds_that_lives_on_is_judged_too() {
    let mut run = Run::new();
    run.connects(1, 1).peer_hangs_up(1).wait(300);
    assert_eq!(run.said(), ["missing-close 1"]);
    let mut run = Run::new();
    run.connects(1, 1).wait(300);
    assert_eq!(run.said(), ["held-to-exit 1"]);
}

#[test]
fn a_plan_that_hears_of_closes_says_the_same() {
    let mut run = Run::hearing();
    run.connects(1, 1).peer_hangs_up(1).wait(300).exits();
    let (sock, exiting) = (1, true);
    run.wait(1).tell(&Event::Close {
        at: at(302 + 4),
        sock,
        exiting,
    });
    run.closes(1, State::CloseWait, 300);
    let findings = run.findings(terms(&[]));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code, "missing-close");
    assert_eq!(findings[0].connections[0].state, State::CloseWait);
    assert_eq!(findings[0].connections[0].idle_ms, Some(300));
}

#[test]
fn what_was_reset_half_closed_or_never_answered_leaks_too() {
    let mut reset = Run::new();
    let error = Circumstance {
        error: 104,
        ..QUIET
    };
    reset.connects(1, 1);
    reset.step(1, State::Established, State::Close, error, 0);
    reset.wait(300).exits().gone(1);
    assert_eq!(reset.said(), ["dead-fd 1"]);

    let mut half = Run::new();
    let shutdown = Circumstance {
        in_shutdown: true,
        ..QUIET
    };
    half.connects(1, 1);
    half.step(1, State::Established, State::FinWait1, shutdown, 0);
    half.step(1, State::FinWait1, State::FinWait2, QUIET, 0);
    half.wait(300).exits().gone(1);
    assert_eq!(half.said(), ["half-closed-held 1"]);

    let mut silent = Run::new();
    silent.step(1, State::Close, State::SynSent, QUIET, 1);
    silent.wait(300).exits().gone(1);
    let findings = silent.findings(terms(&[]));
    assert_eq!(findings[0].code, "connect-stuck");
    assert_eq!(findings[0].verdict, Verdict::Stuck);
}

/// Connections opened one after the other, each unused from then on.
fn one_by_one(count: u64, pause: u64, stack: impl Fn(u64) -> u32) -> Run {
    let mut run = Run::new();
    for sock in 1..=count {
        run.connects(sock, stack(sock)).wait(pause);
    }
    run.exits();
    for sock in 1..=count {
        let idle = u32::try_from((count + 1 - sock) * (pause + 2)).expect("small");
        run.closes(sock, State::Established, idle);
    }
    run
}

#[test]
fn several_that_were_passed_over_leak() {
    // The last is passed over by none.
    let mut run = one_by_one(4, 300, |_| 1);
    assert_eq!(run.said(), ["unbounded-growth 3", "held-to-exit 1"]);
}

#[test]
fn a_few_that_quickly_follow_each_other_or_are_of_different_code_are_a_pools() {
    assert_eq!(one_by_one(3, 300, |_| 1).said(), ["held-to-exit 3"]);
    assert_eq!(
        one_by_one(9, 20, |_| 1).said().last().map(String::as_str),
        Some("held-to-exit 9")
    );
    let of_its_own = |sock| u32::try_from(sock).expect("small");
    assert_eq!(one_by_one(4, 300, of_its_own).said(), ["held-to-exit 1"; 4]);
}

/// Where both ends are the process's own, its end closes one after the other.
#[test]
fn what_the_end_itself_does_is_not_the_peers_doing() {
    let mut run = Run::new();
    for sock in 1..=4 {
        run.connects(sock, 1).wait(300);
    }
    run.exits();
    for sock in 1..=4 {
        let used = (sock - 1) * 302 + 2;
        run.peer_hangs_up(sock).wait(300);
        let idle = u32::try_from(run.now + 1 - used).expect("small");
        run.closes(sock, State::CloseWait, idle);
    }
    assert_eq!(run.said(), ["unbounded-growth 3", "held-to-exit 1"]);
}

#[test]
fn what_is_used_again_is_a_pools() {
    let mut run = Run::new();
    for sock in 1..=6 {
        run.connects(sock, 1).wait(300);
    }
    run.exits();
    for sock in 1..=6 {
        run.closes(sock, State::Established, 10);
    }
    assert_eq!(run.said(), ["held-to-exit 6"]);
}

#[test]
fn failing_is_for_leaks_and_strictness() {
    let mut run = Run::new();
    run.connects(1, 1).exits().closes(1, State::Established, 0);
    assert!(!run.findings(terms(&[]))[0].fails);
    let strict = Terms {
        strict: true,
        ..terms(&[])
    };
    assert!(run.findings(strict)[0].fails);
}

#[test]
fn what_is_allowed_stands_apart() {
    let allow: Vec<Allow> = ["nothing", "app::f2"]
        .iter()
        .map(|text| text.parse().expect("a pattern"))
        .collect();
    let mut run = Run::new();
    run.connects(1, 1).connects(2, 2);
    run.peer_hangs_up(1).peer_hangs_up(2).wait(300);
    let findings = run.findings(terms(&allow));
    let said: Vec<_> = findings
        .iter()
        .map(|f| (f.fails, f.allowed_by.as_deref()))
        .collect();
    assert_eq!(said, [(true, None), (false, Some("app::f2"))]);
}

#[test]
fn what_an_ending_interpreter_closes_nobody_closed() {
    for (exit, said) in [(304, vec!["missing-close 1"]), (400, vec![])] {
        let mut run = Run::new();
        run.python = Recorded::read(format!("exit {PID} {}\n", exit * MS).as_bytes());
        run.connects(1, 1).peer_hangs_up(1).wait(302);
        run.closes(1, State::CloseWait, 300).exits();
        assert_eq!(run.said(), said, "{exit}");
    }
}

#[test]
fn what_a_deaf_pool_keeps_is_no_leak() {
    for (function, code) in [
        ("urllib3.connection.connect", "held-to-exit 1"),
        ("mine.connect", "missing-close 1"),
    ] {
        let mut run = Run::new();
        let line = format!("{PID} {PID} 5 0\tL\x1f3\x1f{function}\x1f/lib/x.py\n");
        run.python = Recorded::read(line.as_bytes());
        run.connects(1, 1).peer_hangs_up(1).wait(300);
        assert_eq!(run.said(), [code], "{function}");
    }
}
