//! What is told as a whole leaves the same books as each of its events.

use proptest::prelude::*;
use tracer_common::event::{FoldRecord, NO_STACK, Phase, flag, kind, opened, phase};
use zerocopy::FromZeros as _;

use super::script::MS;
use crate::{
    clock::BootTime,
    decode::fold::Folded,
    table::{Hears, Table, site::SiteKey, site::Tally},
};

/// TCP states, include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// The states after ESTABLISHED: we close first, both do, the peer does.
const WAYS: [&[u8]; 3] = [
    &[FIN_WAIT1, FIN_WAIT2, CLOSE],
    &[FIN_WAIT1, CLOSING, CLOSE],
    &[CLOSE_WAIT, LAST_ACK, CLOSE],
];

const IN_PROGRESS: i32 = -115;
const REFUSED: i32 = -111;

#[derive(Clone, Debug)]
struct Life {
    sock: u64,
    pid: u32,
    port: u16,
    is_client: bool,
    is_accepted: bool,
    way: usize,
    ret: i32,
    /// Whether its close(2), and its mini-socket, are told.
    told: (bool, bool),
    shutdown: u8,
    exits: bool,
    step_ms: u64,
    bytes: u64,
    /// Something else that happens in between: a phase's `old` and `new`.
    odd: Option<(u8, u8)>,
}

fn life() -> impl Strategy<Value = Life> {
    let odd = (prop_oneof![Just(phase::RESET), 1u8..13], 1u8..13);
    let who = (1u64..9, 1u32..4, 1u16..3);
    let ret = prop_oneof![Just(0), Just(IN_PROGRESS), Just(REFUSED)];
    let how = (any::<[bool; 5]>(), 0u8..4, 0usize..WAYS.len(), ret);
    (
        who,
        how,
        1u64..9_000,
        0u64..9,
        proptest::option::weighted(0.2, odd),
    )
        .prop_map(|(who, how, step_ms, bytes, odd)| {
            let (flags, shutdown, way, ret) = how;
            let (sock, pid, port) = who;
            Life {
                sock,
                pid,
                port,
                is_client: flags[0],
                is_accepted: flags[1],
                way,
                ret,
                told: (flags[2], flags[3]),
                shutdown,
                exits: flags[4],
                step_ms,
                bytes,
                odd,
            }
        })
}

impl Life {
    fn is_ordinary(&self) -> bool {
        self.odd.is_none() && (!self.is_client || self.ret != REFUSED)
    }

    fn record(&self, from: u64) -> FoldRecord {
        let mut now = from;
        let mut next = || {
            now += self.step_ms * MS;
            now
        };
        let mut record = FoldRecord::new_zeroed();
        record.header.kind = kind::FOLD;
        record.header.sock = self.sock;
        record.header.pid = self.pid;
        record.addresses.family = 2;
        record.addresses.local_port = self.port;
        record.addresses.remote_port = self.port;
        (record.fd, record.stack) = (3, NO_STACK);
        (record.figures.tx_bytes, record.figures.rx_bytes) = (self.bytes, self.bytes);
        let mut phases = Vec::new();
        let mut add = |ts_ns, old, new| {
            let flags = flag::PEER_DONE | flag::ORPHAN;
            let exiting = if self.exits { flag::EXITING } else { 0 };
            let is_close = new == CLOSE;
            phases.push(Phase {
                ts_ns,
                value: if old == phase::TIME_WAIT { 60_000 } else { 0 },
                old,
                new,
                flags: u8::try_from(exiting | if is_close { flags } else { 0 }).expect("small"),
                shutdown: if is_close { 3 } else { self.shutdown },
            });
        };
        record.header.ts_ns = next();
        if self.is_client {
            record.opened = opened::AND_RETURNED;
            (record.ret, record.latency_us) = (self.ret, 500);
            add(next(), SYN_SENT, ESTABLISHED);
        } else {
            add(record.header.ts_ns, LISTEN, SYN_RECV);
            add(next(), SYN_RECV, ESTABLISHED);
            record.accepted_ns = if self.is_accepted { next() } else { 0 };
        }
        // There is no room for a seventh.
        if let Some((old, new)) = self.odd.filter(|_| self.is_client || !self.told.1) {
            add(next(), old, new);
        }
        if self.told.0 {
            record.closed_ns = next();
        }
        let mut state = ESTABLISHED;
        for &new in WAYS[self.way] {
            if new == CLOSE && self.told.1 && state != LAST_ACK {
                add(next(), phase::TIME_WAIT, 6);
            }
            add(next(), state, new);
            state = new;
        }
        record.count = u8::try_from(phases.len()).expect("few");
        record.phases[..phases.len()].copy_from_slice(&phases);
        record
    }
}

/// What is left in the books, but for which order they were opened in.
fn books(table: &Table) -> (Vec<(SiteKey, Tally, usize)>, String) {
    let sites = table.sites().into_iter();
    let mut sites: Vec<_> = sites
        .map(|(key, tally, live)| (key, tally, live.len()))
        .collect();
    sites.sort_by_key(|(key, ..)| *key);
    (sites, format!("{:?} {}", table.counters(), table.live()))
}

proptest! {
    #[test]
    fn as_a_whole_or_one_by_one(lives in proptest::collection::vec(life(), 1..20), hears: [bool; 2]) {
        let [close, resets] = hears;
        let table = || Table::new(false, false).hearing(Hears { close, resets });
        let (mut one_by_one, mut as_a_whole) = (table(), table());
        let mut folded = Folded::default();
        let mut from = 0;
        for life in &lives {
            let record = life.record(from);
            from += 20 * 9_000 * MS;
            let story = folded.ends(&record).expect("readable");
            let is_whole = story.is_whole();
            prop_assert!(is_whole || !life.is_ordinary(), "{life:?}");
            let events: Vec<_> = story.events().collect();
            for event in &events {
                one_by_one.apply(event, |_, _, _| ());
            }
            if is_whole && as_a_whole.takes_whole(life.sock) {
                as_a_whole.apply_whole(events);
            } else {
                for event in &events {
                    as_a_whole.apply(event, |_, _, _| ());
                }
            }
            for table in [&mut one_by_one, &mut as_a_whole] {
                table.settle(BootTime::from_ns(from), |_, _, _| ());
                table.checkpoint(BootTime::from_ns(from));
            }
            prop_assert_eq!(books(&one_by_one), books(&as_a_whole));
        }
    }
}
