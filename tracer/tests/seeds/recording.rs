//! Seeds of `recording`: a file of two blocks, and what such blocks hold.

use anyhow::{Context as _, Result, ensure};
use tracer::{
    clock::{BootTime, WallClock},
    course::entry::{Entry, Setup, Standing},
    decode::{
        Comm, Ends, Figures, StackId,
        fold::{self, Whence},
    },
    model::{report::GroupOwner, untrusted::Untrusted},
    plan::PlanName,
    reconcile::{Holder, Snapshot, Socket},
    store::{
        block::{Kind, seal},
        blocks::{Blocks, Piece},
        item::{Item, Start, items, push_entry, push_record, to_recorded},
    },
    table::connection::Sample,
    tcp::State,
};

use super::{client, folded, seeds, server, write};

#[test]
fn recordings_are_whole() -> Result<()> {
    let (start, course) = recording()?;
    let mut seed = vec![u8::try_from(start.len())?];
    seed.extend(&start);
    seed.extend(&course);
    write("recording", "course", &seed)?;
    let mut file = seal(Kind::Start, 0, &start)?;
    file.extend(seal(Kind::Course, 1, &course)?);
    write("recording", "file", &file)?;
    for (path, bytes) in seeds("recording")? {
        let mut blocks = Blocks::new(bytes.as_slice(), false);
        if let Some(Piece::Block(..)) = blocks.next(|_| true)? {
            let next = blocks.next(|_| true)?;
            ensure!(matches!(next, Some(Piece::Block(..))), "{path:?}");
            continue;
        }
        let (&len, rest) = bytes.split_first().context("an empty seed")?;
        let (start, payload) = rest.split_at_checked(len.into()).context("cut short")?;
        ensure!(Start::decode(start).is_some(), "{path:?}");
        let is_known = |item| matches!(item, Ok(Item::Record(..) | Item::Entry(_)));
        ensure!(items(payload).all(is_known), "{path:?}");
    }
    Ok(())
}

/// A start, and a course of all kinds of items.
fn recording() -> Result<(Vec<u8>, Vec<u8>)> {
    let start = Start {
        setup: Setup::new(
            PlanName::Tracepoint,
            WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0)),
            BootTime::from_ns(1),
        ),
        standing: Standing::default(),
        version: Untrusted::from("0.1.0"),
        command: vec![Untrusted::from("tcpleak")],
    };
    let mut course = Vec::new();
    let mut push = |entry| push_entry(&mut course, &entry);
    let mut snapshot = Snapshot {
        ended: BootTime::from_ns(20),
        ..Snapshot::default()
    };
    snapshot.sockets.push(Socket {
        cookie: 9,
        ends: Ends {
            local: "127.0.0.1:80".parse()?,
            remote: "127.0.0.1:4000".parse()?,
            netns: 4,
        },
        state: State::Established,
        is_mini: false,
        uid: 0,
        sample: Sample {
            inode: 7,
            ..Sample::default()
        },
        figures: Figures::default(),
    });
    let holder = Holder {
        pid: 5,
        fd: 3,
        comm: Comm::from(&b"x"[..]),
    };
    snapshot.holders.insert(7, vec![holder]);
    push(Entry::Begin);
    push(Entry::Snapshot(
        Box::new(snapshot),
        [5].into_iter().collect(),
    ));
    for entry in [
        Entry::Checkpoint(BootTime::from_ns(21)),
        Entry::Standing(Standing::default()),
        Entry::Owner(5, GroupOwner::default()),
        Entry::Tick(BootTime::from_ns(22)),
    ] {
        push(entry);
    }
    for record in client().into_iter().chain(server()) {
        push_record(&mut course, &record, StackId::at(1));
    }
    // Its first parts were looked at before it ended.
    let folded = fold::record(&folded()).context("it is no such record")?;
    for (parts, whence) in [(0b11, Whence::Map), (0x3fc, Whence::Ring)] {
        let record = to_recorded(&folded, parts, whence);
        push_record(&mut course, &record, StackId::at(1));
    }
    for entry in [Entry::Settle, Entry::End] {
        push_entry(&mut course, &entry);
    }
    Ok((start.encode(), course))
}
