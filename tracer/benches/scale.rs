//! What an event costs with more and more live connections in the table, and what each of
//! those takes in memory: `cargo bench --bench scale`.
//!
//! Time is processor time, so that a busy machine tells the same. Flat is the goal.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use tracer::{
    clock::{BootTime, WallClock},
    course::{
        Course,
        entry::{Entry, Setup, Standing},
    },
    decode::decode,
    plan::PlanName,
    selection::Selection,
};

mod common;

use common::{SECOND, connection, used};

/// Live sockets, both ends of each connection.
const LIVE: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Connections that come and go beside them.
const CHURN: u64 = 100_000;
/// At most so many records are made ahead: they take memory, too.
const AT_ONCE: u64 = 10_000;

fn main() -> Result<()> {
    let setup = Setup::new(
        PlanName::Tracepoint,
        WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0)),
        BootTime::from_ns(0),
    );
    let mut course = Course::new(setup, Selection::default(), Standing::default());
    let mut next = 0;
    // What takes room once, whatever comes.
    hear(&mut course, &mut next, CHURN, false)?;
    let empty = resident()?;
    println!(
        "{:>12}{:>14}{:>16}",
        "live sockets", "ns an event", "bytes a socket"
    );
    for live in LIVE {
        let missing = (live - course.table.live()) / 2;
        hear(&mut course, &mut next, missing, true)?;
        let taken = resident()?.saturating_sub(empty);
        let (events, time) = hear(&mut course, &mut next, CHURN, false)?;
        anyhow::ensure!(course.table.live() == live, "some are missing");
        println!(
            "{live:>12}{:>14.0}{:>16.0}",
            time.as_nanos() as f64 / events as f64,
            taken as f64 / live as f64
        );
    }
    Ok(())
}

/// Hears of so many connections more. Returns how many events that is, and the time they
/// took.
fn hear(course: &mut Course, next: &mut u64, count: u64, stay: bool) -> Result<(u64, Duration)> {
    let (mut events, mut time) = (0, Duration::ZERO);
    let end = *next + count;
    while *next < end {
        let until = end.min(*next + AT_ONCE);
        let records: Vec<_> = (*next..until)
            .flat_map(|number| connection(number, stay))
            .collect();
        *next = until;
        let before = used()?;
        for record in &records {
            course.hear(Some(&decode(record)?), &mut ())?;
        }
        let now = course.heard();
        course.learn(&Entry::Tick(now), &mut ())?;
        time += used()? - before;
        events += records.len() as u64;
    }
    // What is told late, as an end that a RST may explain.
    let later = BootTime::from_ns(course.heard().ns() + 10 * SECOND);
    course.learn(&Entry::Tick(later), &mut ())?;
    Ok((events, time))
}

/// Bytes of memory that this process has.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse::<u64>()? << 10)
}
