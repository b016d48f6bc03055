//! How fast a recording is replayed, and how large it is: `cargo bench --bench replay`.
//!
//! Each connection is six records: opened, established on both sides, closed by both,
//! freed. One in a hundred stays open. Time is processor time, so that a busy machine tells the
//! same; the goal is 2,000,000 events a second.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use tempfile::TempDir;
use tracer::{
    clock::{BootTime, WallClock},
    course::{
        Course,
        entry::{Entry, Setup, Standing},
    },
    decode::{StackId, decode},
    plan::PlanName,
    selection::Selection,
    store::{
        disk::{Disk, Place},
        recorder::Recorder,
        replay::Replay,
    },
};

mod common;

use common::{SECOND, connection, used};

/// Connections, each with two sides.
const CONNECTIONS: u64 = 200_000;
/// One of so many is never closed.
const KEPT: u64 = 100;
/// Of several runs the fastest counts.
const RUNS: usize = 3;

fn main() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("bench.tcpleak");
    let (events, recording) = record(&path)?;
    let million = |value: f64| value * 1e6 / events as f64;
    println!("recorded  {events} events");
    println!(
        "writing   {:.0} ns of processor time an event, packing included",
        recording.as_nanos() as f64 / events as f64
    );
    println!(
        "size      {:.1} MB for 1,000,000 events",
        million(fs::metadata(&path)?.len() as f64) / 1e6
    );
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let before = used()?;
        let mut replay = Replay::open(&path, false, Selection::default())?;
        while replay.step(&mut ())? {}
        replay.finish(&mut ())?;
        anyhow::ensure!(replay.course.told() == events, "events are missing");
        std::hint::black_box(replay.course.table.sites());
        best = best.min(used()? - before);
    }
    println!(
        "replaying {:.1} million events a second of processor time",
        events as f64 / best.as_secs_f64() / 1e6
    );
    Ok(())
}

/// Records, and says how many events and what that took.
fn record(path: &Path) -> Result<(u64, Duration)> {
    let setup = Setup::new(
        PlanName::Tracepoint,
        WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0)),
        BootTime::from_ns(0),
    );
    let disk = Disk::open(Place {
        path: path.to_owned(),
        max_size: None,
        rotate: None,
    })?;
    let state = disk.state();
    let mut course = Course::new(setup, Selection::default(), Standing::default());
    let records: Vec<Vec<u8>> = (0..CONNECTIONS)
        .flat_map(|number| connection(number, number.is_multiple_of(KEPT)))
        .collect();
    let before = used()?;
    let mut recorder = Recorder::new(disk, &course, Vec::new());
    let mut next = SECOND;
    let mut told = 0;
    for record in &records {
        recorder.record(record, StackId::at(1));
        told += 1;
        let at = decode(record)?.at().ns();
        if at >= next {
            next += SECOND;
            let mut standing = Standing {
                taken: told,
                told,
                ..Standing::default()
            };
            standing.counts.submitted = told;
            for entry in [
                Entry::Standing(standing),
                Entry::Tick(BootTime::from_ns(at)),
            ] {
                recorder.entry(&entry, &course);
                course.learn(&entry, &mut ())?;
            }
            // As fast as a disk can take it.
            while state.waiting() > 0 {
                std::thread::yield_now();
            }
        }
    }
    recorder.entry(&Entry::End, &course);
    recorder.close()?;
    Ok((told, used()? - before))
}
