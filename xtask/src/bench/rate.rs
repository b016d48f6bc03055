//! How what watching costs grows with the number of connections a second.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Bench,
    kernel::{Measuring, run_time},
    numbers::median,
    watcher::{LEAKS, TRACE, Watcher, Watching},
};
use crate::command::step;

/// Connections a second; at last as many as one thread can make.
const RATES: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 16_000, u64::MAX];

/// Who watches.
const WATCHERS: [&Watcher; 2] = [&LEAKS, &TRACE];

/// After each load, so that all of it is told and paid for.
const REST: Duration = Duration::from_millis(1_500);

/// Columns of a bar.
const BAR: usize = 24;

/// What one rate cost, round by round.
struct Cost {
    watcher: &'static str,
    per_second: Vec<f64>,
    /// Nanoseconds of the kernel's programs for each connection
    kernel_ns: Vec<f64>,
    /// And of the watcher's own time
    user_ns: Vec<f64>,
}

/// All rates.
pub(crate) struct Table(Vec<Cost>);

/// Each watcher beside each rate in each round.
pub(crate) fn measure(bench: &Bench) -> Result<Table> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut costs: Vec<Cost> = Vec::new();
    for watcher in WATCHERS {
        costs.extend(RATES.map(|_| Cost {
            watcher: watcher.name,
            per_second: Vec::new(),
            kernel_ns: Vec::new(),
            user_ns: Vec::new(),
        }));
    }
    let measuring = Measuring::begin()?;
    for round in 1..=bench.rounds {
        for (watcher, costs) in WATCHERS.iter().zip(costs.chunks_mut(RATES.len())) {
            let (rounds, name) = (bench.rounds, watcher.name);
            step(format_args!("round {round} of {rounds}: {name}"));
            let watching = watcher.start(bench.tcpleak, bench.folder)?;
            for (rate, cost) in RATES.into_iter().zip(costs) {
                cost.measure(&watching, &listener, rate, bench.lasts)?;
            }
            watching.stop()?;
        }
    }
    drop(measuring);
    Ok(Table(costs))
}

impl Cost {
    fn measure(
        &mut self,
        watching: &Watching,
        listener: &TcpListener,
        rate: u64,
        lasts: Duration,
    ) -> Result<()> {
        let (ran, used) = (run_time(&watching.programs()?), watching.used());
        let began = Instant::now();
        let made = make(listener, rate, lasts)? as f64;
        self.per_second.push(made / began.elapsed().as_secs_f64());
        sleep(REST);
        let ran = run_time(&watching.programs()?) - ran;
        let used = watching.used().saturating_sub(used);
        self.kernel_ns.push(ran as f64 / made);
        self.user_ns.push(used.as_nanos() as f64 / made);
        Ok(())
    }

    /// Nanoseconds of a connection, in the kernel and beside it.
    fn each(&self) -> (f64, f64) {
        (median(&self.kernel_ns), median(&self.user_ns))
    }
}

/// Opens and closes connections on loopback, both ends. Returns how many.
fn make(listener: &TcpListener, rate: u64, lasts: Duration) -> Result<u64> {
    let port = listener.local_addr()?.port();
    let began = Instant::now();
    let mut made = 0_u64;
    while began.elapsed() < lasts {
        // Another address each time: ports that wait for the end of TIME_WAIT are many.
        let host = u8::try_from(made % 250 + 1).unwrap_or(1);
        let client = TcpStream::connect((Ipv4Addr::new(127, 0, 0, host), port));
        let client = client.context("cannot connect on loopback")?;
        drop(listener.accept().context("cannot accept")?);
        drop(client);
        made += 1;
        let due = Duration::from_nanos(made.saturating_mul(1_000_000_000) / rate);
        sleep(due.saturating_sub(began.elapsed()));
    }
    Ok(made)
}

impl Table {
    /// For people, 80 columns wide: a bar is as long as a connection costs.
    pub(crate) fn print(&self) {
        println!(
            "{:<16}{:>11}{:>10}{:>9}{:>9}",
            "", "connections", "kernel us", "user us", "% of a"
        );
        println!(
            "{:<16}{:>11}{:>10}{:>9}{:>9}",
            "", "/s", "/connect.", "/connect.", "processor"
        );
        let all = self.0.iter().map(Cost::each);
        let most = all.map(|(kernel, user)| kernel + user).fold(1.0, f64::max);
        for cost in &self.0 {
            let ((kernel, user), rate) = (cost.each(), median(&cost.per_second));
            let filled =
                (1..=BAR).filter(|&part| part as f64 <= (kernel + user) / most * BAR as f64);
            println!(
                "{:<16}{rate:>11.0}{:>10.1}{:>9.1}{:>9.1} {}",
                cost.watcher,
                kernel / 1e3,
                user / 1e3,
                rate * (kernel + user) / 1e7,
                "#".repeat(filled.count())
            );
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let costs = self.0.iter().map(|cost| {
            json!({
                "watcher": cost.watcher,
                "connections_per_second": cost.per_second,
                "kernel_ns_per_connection": cost.kernel_ns,
                "user_ns_per_connection": cost.user_ns,
            })
        });
        costs.collect()
    }
}
