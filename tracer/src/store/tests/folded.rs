//! Connections that are folded: told in parts, and by records that come later.

use tracer_common::event::{FoldRecord, NO_FD, Phase, flag, opened};
use zerocopy::FromZeros as _;

use super::*;
use crate::decode::fold::{self, Folded, Whence};

/// A tenth of a second, in nanoseconds.
const TENTH: u64 = SECOND / 10;

/// Opened then, and in these states from those times on. Times in tenths of a second.
fn record(sock: u64, at: u64, states: &[(u64, u8)]) -> FoldRecord {
    let mut record = FoldRecord::new_zeroed();
    record.header = header(kind::FOLD, sock, at * TENTH);
    record.addresses = addresses(sock);
    (record.fd, record.stack, record.opened) = (NO_FD, NO_STACK, opened::BY_CONNECT);
    let mut old = 2;
    for (phase, &(at, new)) in record.phases.iter_mut().zip(states) {
        *phase = Phase {
            ts_ns: at * TENTH,
            old,
            new,
            flags: u8::try_from(flag::ORPHAN | flag::PEER_DONE).unwrap_or_default(),
            ..Phase::new_zeroed()
        };
        old = new;
        record.count += 1;
    }
    record
}

impl Live {
    /// As a collector does.
    fn hear_story(
        &mut self,
        record: &FoldRecord,
        story: Option<fold::Story>,
        whence: Whence,
    ) -> Result<()> {
        let Some(story) = story else {
            return Ok(());
        };
        self.taken += u64::from(whence == Whence::Ring);
        self.recorder.story(record, &story, whence);
        self.course.hear_story(story, whence, &mut self.heard)
    }

    /// Connections 1 to 3 begin in the first second. 1 ends in it, 2 has been looked at
    /// when it ends, and 3 does not end. The first is told at once, the others in the
    /// second one.
    fn folded(&mut self) -> Result<()> {
        let mut folded = Folded::default();
        self.snapshot(0)?;
        let first = record(1, 1, &[(1, 1), (1, 4), (2, 7)]);
        let story = folded.ends(&first).ok();
        self.hear_story(&first, story, Whence::Ring)?;
        self.second(SECOND)?;
        for _ in 0..2 {
            for sock in [2, 3] {
                let record = record(sock, 5, &[(6, 1)]);
                let story = folded.looks(&record, BootTime::from_ns(SECOND)).ok();
                self.hear_story(&record, story, Whence::Map)?;
            }
            folded.end_looks();
        }
        self.second(2 * SECOND)?;
        let second = record(2, 5, &[(6, 1), (25, 4), (25, 7)]);
        let story = folded.ends(&second).ok();
        self.hear_story(&second, story, Whence::Ring)
    }
}

#[test]
fn a_folded_connection_is_told_as_it_was_learned() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.folded()?;
    let (course, told) = live.end(3 * SECOND)?;
    let (replay, heard) = replay(&path)?;
    assert_eq!(heard, told);
    assert_eq!(replay.course.loss(), course.loss());
    // What is read in the map is no record; each of three seconds has one besides.
    assert_eq!((course.told(), replay.course.told()), (2 + 3, 2 + 3));
    assert_eq!(replay.course.table.counters().seen, 3);
    Ok(())
}

#[test]
fn what_is_told_later_happened_before() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.folded()?;
    live.end(3 * SECOND)?;
    let at = BootTime::from_ns(9 * TENTH);
    let mut replay = Replay::open(&path, false, Selection::default())?.until(at);
    while replay.step(&mut ())? {}
    assert!(replay.has_come_there());
    let states = replay
        .course
        .table
        .open()
        .map(|connection| connection.state);
    let states: Vec<_> = states.collect();
    assert_eq!(states, [TcpState::Established; 2]);
    Ok(())
}

#[test]
fn one_that_no_kernel_writes_is_counted() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a");
    let mut live = Live::start(file(&path))?;
    live.hear(record(1, 1, &[(1, 99)]).as_bytes())?;
    let (course, _) = live.end(SECOND)?;
    assert_eq!(course.loss().undecodable, 1);
    assert_eq!(replay(&path)?.0.course.loss(), course.loss());
    Ok(())
}
