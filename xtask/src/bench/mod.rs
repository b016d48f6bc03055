//! `cargo xtask bench`: what watching costs, side by side, on this machine.
//!
//! Timings on one machine differ from run to run: only what one run compares means
//! anything, so that everything is measured in turn and told as a ratio.
#![allow(
    clippy::cast_precision_loss,
    reason = "counts that are shown with three digits"
)]

mod busy;
pub(crate) mod crowd;
mod idle;
mod kernel;
mod load;
mod numbers;
mod rate;
mod throughput;
mod tools;
mod watcher;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Map, Value};

pub(crate) use self::tools::set_up;
use crate::{
    command::{self, step},
    elevate, place,
};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; without any, all of it
    parts: Vec<Part>,
    /// How often each is measured, in turn with the others
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a load lasts, in seconds
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The tcpleak to measure; everything is built already
    #[arg(long, hide = true)]
    built: Option<PathBuf>,
}

/// What is measured, where it writes, how often, and for how long.
pub(crate) struct Bench<'a> {
    tcpleak: &'a Path,
    folder: &'a Path,
    rounds: u32,
    lasts: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A server that opens and closes connections as fast as it can, beside tcpleak and its peers
    Throughput,
    /// Many idle connections: memory, start, and what a steady watch takes
    Idle,
    /// Connections that last and move data
    Busy,
    /// Connections that come and go, from a thousand a second to the machine's limit
    Rate,
    /// How fast a recording is replayed
    Replay,
    /// What an event costs with up to a million connections in the table
    Scale,
}

/// Measures, prints tables, writes `target/bench/results.json`.
pub(crate) fn main(args: &Args) -> Result<()> {
    let wants = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let tcpleak = match &args.built {
        Some(tcpleak) => tcpleak.clone(),
        None => {
            set_up()?;
            for (part, name) in [(Part::Replay, "replay"), (Part::Scale, "scale")] {
                if wants(part) {
                    let mut bench = Command::new(place::cargo());
                    bench.args(["bench", "--package", "tracer", "--bench", name]);
                    command::run(bench.current_dir(place::root()))?;
                }
            }
            crate::run::build("")?
        }
    };
    if !elevate::is_root() {
        let mut again = elevate::as_root(env::current_exe()?, &["-E"], "tracing the kernel")?;
        again
            .args(env::args_os().skip(1))
            .arg("--built")
            .arg(tcpleak);
        return command::run(&mut again);
    }
    let folder = place::target().join("bench");
    fs::create_dir_all(&folder)?;
    let bench = Bench {
        tcpleak: &tcpleak,
        folder: &folder,
        rounds: args.rounds,
        lasts: Duration::from_secs(args.seconds),
    };
    let mut results = Map::new();
    if wants(Part::Throughput) {
        settle()?;
        let table = throughput::measure(&bench)?;
        table.print();
        results.insert("throughput".to_owned(), table.json());
    }
    if wants(Part::Idle) {
        settle()?;
        let table = idle::measure(&tcpleak, &folder)?;
        table.print();
        results.insert("idle".to_owned(), table.json());
    }
    if wants(Part::Busy) {
        settle()?;
        let table = busy::measure(&bench)?;
        table.print();
        results.insert("busy".to_owned(), table.json());
    }
    if wants(Part::Rate) {
        settle()?;
        let table = rate::measure(&bench)?;
        table.print();
        results.insert("rate".to_owned(), table.json());
    }
    write(&folder, results)
}

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h.
const TIME_WAIT_SECONDS: u32 = 60;

/// How many sockets in TIME_WAIT a host may have that is at rest.
const FEW: u64 = 1_000;

/// Waits until what was measured before is gone: its sockets in TIME_WAIT are in each snapshot.
fn settle() -> Result<()> {
    for second in 0..=TIME_WAIT_SECONDS {
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let mut words = sockets.split_whitespace();
        let waiting = words.find(|&word| word == "tw").and(words.next());
        let waiting: u64 = waiting.context("sockstat without `tw`")?.parse()?;
        if waiting < FEW {
            return Ok(());
        }
        if second == 0 {
            step(format_args!(
                "waiting for {waiting} sockets in TIME_WAIT to expire"
            ));
        }
        sleep(Duration::from_secs(1));
    }
    step("others keep some in TIME_WAIT, which the figures have in them");
    Ok(())
}

fn write(folder: &Path, results: Map<String, Value>) -> Result<()> {
    let path = folder.join("results.json");
    fs::write(
        &path,
        serde_json::to_string_pretty(&Value::Object(results))?,
    )?;
    step(format_args!("figures are in {}", path.display()));
    Ok(())
}
