//! Killed at any point from its start to its end, `tcpleak` leaves nothing in
//! the kernel, and the next one starts at once.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::support::{
    Tcpleak,
    loaded::Loaded,
    process::state,
    random::{chance, number},
    strace::{Call, Traced, calls_to_attach},
    tcpleak::run,
    wait_for,
};

/// Loads, attaches, takes its snapshots, watches, reports.
const RUN: &str = "leaks --for 200ms --format json";
const WATCH: Duration = Duration::from_millis(200);

/// How often it is killed; `TCPLEAK_KILLS` sets another number.
const KILLS: usize = 20;

/// How long the next start may take until it watches; on a machine that needs longer
/// anyway, twice as long as one before the kills.
const NEXT_START: Duration = Duration::from_secs(2);
/// The fastest of so many counts.
const STARTS: usize = 3;

#[test]
fn killed_at_random_points_it_leaves_nothing() -> Result<()> {
    let mut chance = chance()?;
    let kills = number("TCPLEAK_KILLS")?.unwrap_or(KILLS);
    let usual = start()?;
    let began = Instant::now();
    run(RUN)?.json()?;
    let whole = began.elapsed();

    let mut loaded = Loaded::default();
    let mut starts = Vec::new();
    let mut killed = 0;
    for nth in 0..kills {
        let began = Instant::now();
        let tcpleak = Tcpleak::start(RUN)?;
        if nth % 2 == 0 {
            sleep(whole.mul_f64(chance.f64()));
        } else {
            // On a busy machine it has hardly begun by then.
            wait_for("it to attach or end", || {
                Ok((tcpleak.is_attached() || tcpleak.has_ended()).then_some(()))
            })?;
            starts.push(own_time(&tcpleak, began)?);
            sleep(WATCH.mul_f64(chance.f64()));
        }
        // Half of them stand still first, so that what they have loaded is known
        // to the last; the others are hit wherever they are.
        if chance.bool() {
            tcpleak.signal(Signal::SIGSTOP)?;
            wait_for("it to stand still", || {
                let still = matches!(state(tcpleak.pid()), None | Some('T' | 'Z'));
                Ok(still.then_some(()))
            })?;
        }
        loaded.add(tcpleak.pid())?;
        tcpleak.signal(Signal::SIGKILL)?;
        killed += usize::from(tcpleak.finish()?.code.is_none());
    }
    ensure!(
        killed * 2 > kills,
        "only {killed} of {kills} ran when they were killed"
    );
    loaded.wait_freed()?;
    starts.sort();
    println!(
        "{killed} of {kills} killed within {whole:?}; {} objects freed; after a kill the next \
         watches within {:?}, at most {:?} (median and maximum of {})",
        loaded.len(),
        starts[starts.len() / 2],
        starts[starts.len() - 1],
        starts.len(),
    );
    starts_again_at_once(usual)
}

#[test]
fn killed_between_two_system_calls_it_leaves_nothing() -> Result<()> {
    let mut chance = chance()?;
    let kills = number("TCPLEAK_KILLS")?.unwrap_or(KILLS);
    let usual = start()?;
    let calls = calls_to_attach(RUN)?;
    let mut points: Vec<&Call> = calls.iter().collect();
    chance.shuffle(&mut points);
    points.truncate(kills);

    let mut loaded = Loaded::default();
    for &call in &points {
        // Stopped first, so that what it has loaded is known to the last.
        let traced = Traced::start(RUN, Some((call, call.nth, "signal=STOP")))?;
        traced.wait_stopped()?;
        loaded.add(traced.tcpleak.pid())?;
        traced.tcpleak.signal(Signal::SIGKILL)?;
        assert_eq!(traced.tcpleak.finish()?.code, None, "{call:?}");
    }
    ensure!(loaded.len() > 0, "nothing was loaded");
    loaded.wait_freed()?;
    println!(
        "killed after {} of {} system calls; {} objects freed",
        points.len(),
        calls.len(),
        loaded.len(),
    );
    starts_again_at_once(usual)
}

/// How long it has been running, but for the time in which this machine ran
/// others although it was ready.
fn own_time(tcpleak: &Tcpleak, began: Instant) -> Result<Duration> {
    let elapsed = began.elapsed();
    // Time on the CPU and time of waiting for it, in nanoseconds.
    let times = fs::read_to_string(format!("/proc/{}/schedstat", tcpleak.pid()))?;
    let waited = times.split_whitespace().nth(1).context("no schedstat")?;
    Ok(elapsed.saturating_sub(Duration::from_nanos(waited.parse()?)))
}

/// How long it takes until it watches.
fn start() -> Result<Duration> {
    let began = Instant::now();
    let tcpleak = Tcpleak::watching(RUN)?;
    let start = own_time(&tcpleak, began)?;
    tcpleak.interrupt()?.json()?;
    Ok(start)
}

fn starts_again_at_once(usual: Duration) -> Result<()> {
    let bound = NEXT_START.max(2 * usual);
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        fastest = fastest.min(start()?);
        if fastest < bound {
            return Ok(());
        }
    }
    bail!("the next start takes {fastest:?}, one before the kills {usual:?}")
}
