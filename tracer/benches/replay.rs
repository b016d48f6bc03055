//! How fast a recording is replayed, and how large it is: `cargo bench --bench replay`.
//!
//! Each connection is six records: opened, established on both sides, closed by both,
//! freed. One in a hundred stays open. Time is processor time, so that a busy machine tells the
//! same; the goal is 2,000,000 events a second.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
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
use tracer_common::event::{
    AcceptRecord, Addresses, COMM_LEN, Figures, GoneRecord, Header, NO_IDLE, NO_STACK, OpenRecord,
    StateRecord, kind,
};
use zerocopy::IntoBytes;

/// Connections, each with two sides.
const CONNECTIONS: u64 = 200_000;
/// Connections a second of the recorded time.
const RATE: u64 = 30_000;
/// One of so many is never closed.
const KEPT: u64 = 100;
/// Of several runs the fastest counts.
const RUNS: usize = 3;

const SECOND: u64 = 1_000_000_000;

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

/// Processor time of this process.
fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of = |time: nix::sys::time::TimeVal| -> Result<Duration> {
        Ok(Duration::new(
            time.tv_sec().try_into()?,
            u32::try_from(time.tv_usec())? * 1_000,
        ))
    };
    Ok(of(usage.user_time())? + of(usage.system_time())?)
}

/// Records, and says how many events and what that took.
fn record(path: &Path) -> Result<(u64, Duration)> {
    let setup = Setup::new(
        PlanName::Tracepoint,
        WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime(0)),
        BootTime(0),
    );
    let disk = Disk::open(Place {
        path: path.to_owned(),
        max_size: None,
        rotate: None,
    })?;
    let state = disk.state();
    let mut course = Course::new(setup, Selection::default(), Standing::default());
    let records: Vec<Vec<u8>> = (0..CONNECTIONS).flat_map(connection).collect();
    let before = used()?;
    let mut recorder = Recorder::new(disk, &course, Vec::new());
    let mut next = SECOND;
    let mut told = 0;
    for record in &records {
        recorder.record(record, StackId::at(1));
        told += 1;
        let at = decode(record)?.at().0;
        if at >= next {
            next += SECOND;
            let mut standing = Standing {
                taken: told,
                told,
                ..Standing::default()
            };
            standing.counts.submitted = told;
            for entry in [Entry::Standing(standing), Entry::Tick(BootTime(at))] {
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

/// The records of one connection.
fn connection(number: u64) -> Vec<Vec<u8>> {
    let (client, server) = (number * 2 + 1, number * 2 + 2);
    let at = number * (SECOND / RATE);
    let mut records = vec![
        open(client, at),
        state(client, at + 20_000, 2, 1),
        state(server, at + 18_000, 3, 1),
        accept(server, at + 40_000),
    ];
    if !number.is_multiple_of(KEPT) {
        records.extend([
            state(client, at + 90_000, 1, 4),
            state(client, at + 95_000, 4, 5),
            state(client, at + 120_000, 5, 7),
            gone(client, at + 125_000),
            state(server, at + 94_000, 1, 8),
            state(server, at + 110_000, 8, 9),
            state(server, at + 130_000, 9, 7),
            gone(server, at + 131_000),
        ]);
    }
    records
}

fn header(kind: u32, sock: u64, at: u64) -> Header {
    Header {
        ts_ns: at,
        sock,
        kind,
        pid: 1_000 + (sock % 2) as u32,
        tid: 1_000 + (sock % 2) as u32,
        uid: 33,
    }
}

fn addresses(sock: u64) -> Addresses {
    let mut host = [0; 16];
    host[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let port = 32_768 + (sock.div_ceil(2) * 7 % 28_000) as u16;
    let (local_port, remote_port) = match sock % 2 {
        1 => (port, 80),
        _ => (80, port),
    };
    Addresses {
        local: host,
        remote: host,
        local_port,
        remote_port,
        family: 2,
        _pad: 0,
        netns: 4_026_531_833,
    }
}

fn open(sock: u64, at: u64) -> Vec<u8> {
    let record = OpenRecord {
        header: header(kind::OPEN, sock, at),
        addresses: addresses(sock),
        fd: 7 + (sock % 100) as i32,
        comm: *b"wrk\0\0\0\0\0\0\0\0\0\0\0\0\0",
        new: 2,
        _pad: 0,
        stack: 1,
        chain: 7,
    };
    record.as_bytes().to_vec()
}

fn accept(sock: u64, at: u64) -> Vec<u8> {
    let mut comm = [0; COMM_LEN];
    comm[..5].copy_from_slice(b"nginx");
    let record = AcceptRecord {
        header: header(kind::ACCEPT, sock, at),
        addresses: addresses(sock),
        fd: 9 + (sock % 100) as i32,
        comm,
        state: 1,
        _pad: 0,
        stack: NO_STACK,
        chain: 0,
    };
    record.as_bytes().to_vec()
}

fn state(sock: u64, at: u64, old: u16, new: u16) -> Vec<u8> {
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
            tx_bytes: 170,
            rx_bytes: 238 + sock % 3,
            retransmits: 0,
            srtt_us: 30 + (at % 40) as u32,
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
