//! How a connection was used, and what was known of it when it ended.

use super::{CLOSES, MS, NOTHING, Script, ends};
use crate::{
    clock::BootTime,
    decode::{Circumstance, Event, Figures},
    reconcile::Socket,
    table::{
        connection::{Connection, GAP_MS, Sample},
        site::Tally,
    },
    tcp::{ClosedBy, State},
};

const SECOND: u64 = 1_000 * MS;

/// What a snapshot shows: asked and answered `idle` ms ago, `uses` times in all.
fn used(idle: u64, uses: u32) -> Sample {
    Sample {
        inode: 7,
        data_sent_ms: Some(idle + 5).into(),
        data_received_ms: Some(idle).into(),
        ack_received_ms: Some(idle).into(),
        data_segments_out: uses,
        data_segments_in: uses,
        ..Sample::default()
    }
}

impl Script {
    /// A snapshot `seconds` after the start.
    fn measured(&mut self, seconds: u64, sample: Sample, tx: u64, rx: u64) -> &mut Self {
        self.now = seconds * SECOND;
        let at = BootTime::from_ns(self.now);
        let socket = Socket {
            cookie: 1,
            ends: ends("127.0.0.1:4000", "127.0.0.1:80"),
            state: State::Established,
            is_mini: false,
            uid: 0,
            sample: Sample { at, ..sample },
            figures: figures(tx, rx),
        };
        self.table.measure(1, &socket, &[]);
        self
    }

    fn only(&self) -> &Connection {
        self.table.get(1).expect("it is there")
    }

    /// It ends so `seconds` after the start.
    fn ends(&mut self, seconds: u64, old: State, how: Circumstance) -> &mut Self {
        self.now = seconds * SECOND;
        self.step(1, old, State::Close, how).gone(1)
    }

    fn tally(&self) -> Tally {
        self.table.sites()[0].1.clone()
    }
}

fn figures(tx_bytes: u64, rx_bytes: u64) -> Figures {
    Figures {
        tx_bytes,
        rx_bytes,
        ..Figures::default()
    }
}

/// With these final figures, and this error.
fn after(how: Circumstance, error: i32, tx: u64, rx: u64) -> Circumstance {
    Circumstance {
        error,
        figures: Some(figures(tx, rx)),
        ..how
    }
}

#[test]
fn used_again_after_a_pause_is_revived() {
    let mut script = Script::new();
    script.connected(1).measured(5, used(4_000, 1), 10, 10);
    script.measured(10, used(300, 2), 20, 20);
    assert_eq!(
        (script.only().revivals, script.only().longest_gap_ms),
        (1, 4_000)
    );
    // Idle since then, then in use without a pause.
    script.measured(15, used(5_300, 2), 20, 20);
    script.measured(20, used(10_300, 2), 20, 20);
    script.measured(25, used(100, 3), 30, 30);
    script.measured(30, used(GAP_MS - 1, 90), 900, 900);
    script.measured(35, used(10, 99), 990, 990);
    assert_eq!(
        (script.only().revivals, script.only().longest_gap_ms),
        (2, 10_300)
    );
    script.ends(36, State::Established, after(CLOSES, 0, 990, 990));
    assert_eq!(
        (script.tally().revived, script.tally().longest_gap_ms),
        (1, 10_300)
    );
}

#[test]
fn sent_to_in_vain_is_not_revived() {
    let mut script = Script::new();
    script.connected(1).measured(5, used(4_000, 1), 10, 10);
    let lost = |idle, tries| Sample {
        backoff: tries,
        send_q: 10,
        data_sent_ms: Some(idle).into(),
        data_segments_out: 1 + tries,
        ..used(9_000, 1)
    };
    script.measured(10, lost(200, 3), 20, 10);
    script.measured(15, lost(2_000, 5), 20, 10);
    // Nor has it moved since.
    let sample = script.only().sample.expect("measured");
    assert_eq!(sample.idle_ms(), Some(9_000));
    let quiet = script.only().quiet_ms.map(std::num::NonZeroU32::get);
    assert_eq!((script.only().revivals, quiet), (0, Some(4_000)));
    // The age at which it was sent to is what counts, not that at the end.
    script.ends(40, State::Established, after(NOTHING, 110, 20, 10));
    let tally = script.tally();
    assert_eq!(tally.ended_by(ClosedBy::Timeout), 1);
    assert_eq!(
        (tally.failures.total(), tally.failures.least_ms()),
        (1, Some(3_584))
    );
}

#[test]
fn a_fin_comes_at_an_idle_age() {
    let mut script = Script::new();
    script.connected(1).measured(5, used(2_000, 1), 10, 10);
    script.now = 9 * SECOND;
    script.step(1, State::Established, State::CloseWait, NOTHING);
    script.now = 30 * SECOND;
    script.step(1, State::CloseWait, State::LastAck, CLOSES);
    script.ends(31, State::LastAck, after(CLOSES, 0, 10, 11));
    let tally = script.tally();
    assert_eq!(tally.ended_by(ClosedBy::Peer), 1);
    // Last heard at 3 s, hung up at 9 s.
    assert_eq!(
        (tally.hang_ups.total(), tally.hang_ups.least_ms()),
        (1, Some(5_120))
    );
    assert_eq!((tally.raced, tally.failures.total()), (0, 0));
}

#[test]
fn a_request_that_meets_the_fin_has_lost_the_race() {
    let race = |sent: u64, received: u64, error: i32| {
        let mut script = Script::new();
        script.connected(1).measured(5, used(2_000, 1), 10, 10);
        script.now = 9 * SECOND;
        script.step(1, State::Established, State::CloseWait, NOTHING);
        script.ends(10, State::CloseWait, after(NOTHING, error, sent, received));
        script.tally()
    };
    assert_eq!(race(20, 11, 32).raced, 1);
    assert_eq!(race(20, 11, 104).raced, 1);
    assert_eq!(race(10, 11, 32).raced, 0, "nothing was asked");
    assert_eq!(race(20, 40, 32).raced, 0, "it was answered before");
    assert_eq!(race(20, 11, 0).raced, 0, "no reset");
    // Never measured: the error must tell.
    let mut brief = Script::new();
    brief.connected(1);
    brief.step(1, State::Established, State::CloseWait, NOTHING);
    brief.step(
        1,
        State::CloseWait,
        State::Close,
        after(NOTHING, 32, 20, 11),
    );
    assert!(brief.gone(1).tally().raced == 1);
}

#[test]
fn a_reset_counts_where_something_was_sent() {
    let reset = |sent: u64, received: u64| {
        let mut script = Script::new();
        script.connected(1).measured(5, used(2_000, 1), 10, 10);
        script.ends(33, State::Established, after(NOTHING, 104, sent, received));
        script.tally()
    };
    let met = reset(20, 10);
    assert_eq!(met.ended_by(ClosedBy::Reset), 1);
    // Last heard at 3 s.
    assert_eq!(
        (met.failures.total(), met.failures.least_ms()),
        (1, Some(28_672))
    );
    assert_eq!(reset(10, 10).failures.total(), 0, "out of the blue");
    assert_eq!(reset(20, 40).failures.total(), 0, "answered meanwhile");
}

#[test]
fn the_peak_and_what_lingers_are_kept() {
    let mut script = Script::new();
    for sock in 1..=5 {
        script.connected(sock);
    }
    for sock in 1..=5 {
        script.step(sock, State::Established, State::FinWait1, CLOSES);
        script.step(sock, State::FinWait1, State::FinWait2, CLOSES);
        let orphan = Circumstance {
            orphan: true,
            peer_done: sock == 1,
            ..CLOSES
        };
        script.step(sock, State::FinWait2, State::Close, orphan);
        script.gone(sock);
    }
    script.apply(|at| Event::Exit { at, pid: 1 });
    let tally = script.tally();
    assert_eq!((tally.peak, tally.closed), (5, 5));
    assert_eq!((tally.time_waits, tally.fin_waits), (5, 4));
    assert_eq!(tally.ended_by(ClosedBy::Local), 5);
}
