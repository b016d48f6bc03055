//! Whatever happens to a recording: what it tells is what was recorded, and what it
//! does not tell is counted.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::Result;
use tempfile::TempDir;
use tracer_common::event::{
    Addresses, COMM_LEN, ExitRecord, Figures, GoneRecord, Header, NO_IDLE, NO_STACK, OpenRecord,
    StateRecord, kind,
};
use zerocopy::IntoBytes;

use super::{
    block::{HEADER, Kind, MAGIC, VERSION, seal},
    blocks::{Blocks, Piece},
    disk::{Disk, Place, State},
    item::{Item, items, push_entry, push_record},
    recorder::Recorder,
    recording::Recording,
    replay::Replay,
};
use crate::{
    clock::{BootTime, WallClock},
    course::{
        Course, Observer,
        entry::{Entry, Setup, Standing},
    },
    decode::{StackId, decode},
    plan::PlanName,
    reconcile::Snapshot,
    selection::Selection,
    table::{Change, connection::Connection},
    tcp::State as TcpState,
};

mod damage;
mod folded;
mod whole;

fn setup() -> Setup {
    Setup {
        blind: vec!["what \u{1b}[2J hides".to_owned()],
        ..Setup::new(
            PlanName::Tracepoint,
            WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0)),
            BootTime::from_ns(0),
        )
    }
}

/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn header(kind: u32, sock: u64, at: u64) -> Header {
    Header {
        ts_ns: at,
        sock,
        kind,
        pid: 10,
        tid: 11,
        uid: 0,
    }
}

fn addresses(sock: u64) -> Addresses {
    let mut address = [0; 16];
    address[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    Addresses {
        local: address,
        remote: address,
        local_port: u16::try_from(sock % 60_000).unwrap_or(0) + 1,
        remote_port: 80,
        family: 2,
        _pad: 0,
        netns: 4,
    }
}

fn opening(sock: u64, at: u64) -> Vec<u8> {
    let record = OpenRecord {
        header: header(kind::OPEN, sock, at),
        addresses: addresses(sock),
        fd: 3,
        comm: [b'x'; COMM_LEN],
        new: 2,
        _pad: 0,
        stack: NO_STACK,
        chain: 0,
    };
    record.as_bytes().to_vec()
}

fn transition(sock: u64, at: u64, old: u16, new: u16) -> Vec<u8> {
    let record = StateRecord {
        header: header(kind::STATE, sock, at),
        addresses: addresses(sock),
        old,
        new,
        flags: 0,
        error: 0,
        shutdown: 0,
        idle_ms: NO_IDLE,
        figures: Figures {
            tx_bytes: at,
            rx_bytes: sock.rotate_left(17),
            retransmits: 3,
            srtt_us: 4,
        },
    };
    record.as_bytes().to_vec()
}

fn gone(sock: u64, at: u64) -> Vec<u8> {
    let record = GoneRecord {
        header: header(kind::GONE, sock, at),
    };
    record.as_bytes().to_vec()
}

/// A live trace in miniature: it tells its course, and records.
struct Live {
    course: Course,
    recorder: Recorder,
    disk: Arc<State>,
    heard: Heard,
    taken: u64,
}

impl Live {
    fn start(place: Place) -> Result<Self> {
        let course = Course::new(setup(), Selection::default(), Standing::default());
        let disk = Disk::open(place)?;
        Ok(Self {
            disk: disk.state(),
            recorder: Recorder::new(disk, &course, Vec::new()),
            course,
            heard: Heard::default(),
            taken: 0,
        })
    }

    fn hear(&mut self, record: &[u8]) -> Result<()> {
        self.taken += 1;
        self.recorder.record(record, None);
        self.course
            .hear(decode(record).ok().as_ref(), &mut self.heard)
    }

    fn learn(&mut self, entry: Entry) -> Result<()> {
        self.recorder.entry(&entry, &self.course);
        self.course.learn(&entry, &mut self.heard)
    }

    fn second(&mut self, at: u64) -> Result<()> {
        let mut standing = Standing {
            taken: self.taken,
            told: self.course.told(),
            ..Standing::default()
        };
        standing.counts.submitted = self.taken;
        self.learn(Entry::Standing(standing))?;
        // What came meanwhile is not counted yet.
        self.hear(&gone(u64::MAX, at))?;
        self.learn(Entry::Tick(BootTime::from_ns(at)))?;
        // So that it is known how large the file is.
        while self.disk.waiting() > 0 {
            thread::yield_now();
        }
        Ok(())
    }

    fn snapshot(&mut self, at: u64) -> Result<()> {
        self.learn(Entry::Begin)?;
        let snapshot = Snapshot {
            began: BootTime::from_ns(at),
            ended: BootTime::from_ns(at),
            ..Snapshot::default()
        };
        self.learn(Entry::Snapshot(Box::new(snapshot), Default::default()))
    }

    /// So many connections a second, for so many seconds; every second one is ended.
    fn live(&mut self, seconds: u64, per_second: u64) -> Result<()> {
        self.snapshot(0)?;
        for second in 0..seconds {
            for number in 0..per_second {
                let sock = second * per_second + number + 1;
                let at = second * SECOND + number * (SECOND / per_second) + 1;
                self.hear(&opening(sock, at))?;
                self.hear(&transition(sock, at + 1, 2, 1))?;
                if sock.is_multiple_of(2) {
                    self.hear(&transition(sock, at + 2, 1, 7))?;
                    self.hear(&gone(sock, at + 3))?;
                }
            }
            self.second((second + 1) * SECOND)?;
        }
        Ok(())
    }

    fn end(mut self, at: u64) -> Result<(Course, Heard)> {
        self.second(at)?;
        self.learn(Entry::Settle)?;
        self.learn(Entry::End)?;
        self.recorder.close()?;
        Ok((self.course, self.heard))
    }
}

/// Writes down what it is told.
#[derive(Debug, Default, PartialEq)]
struct Heard(Vec<String>);

impl Observer for Heard {
    fn change(&mut self, change: Change, at: BootTime, connection: &Connection) -> Result<()> {
        self.0
            .push(format!("{change:?} {} {connection:?}", at.ns()));
        Ok(())
    }
}

/// One file, however large.
fn file(path: &Path) -> Place {
    Place {
        path: path.to_owned(),
        max_size: None,
        rotate: None,
    }
}

fn replay(path: &Path) -> Result<(Replay, Heard)> {
    let mut heard = Heard::default();
    let mut replay = Replay::open(path, false, Selection::default())?;
    while replay.step(&mut heard)? {}
    replay.finish(&mut heard)?;
    Ok((replay, heard))
}
