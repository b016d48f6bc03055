//! What watching costs a server that does nothing but open and close connections.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Bench,
    kernel::{Measuring, Program, run_time},
    load::Server,
    numbers::{median, spread},
    watcher::{ALL, Watcher},
};
use crate::command::step;

/// The kernel measures its programs for so long, apart from the throughput.
const MEASURED: Duration = Duration::from_secs(2);

/// What came of one watcher, round by round.
struct Cost {
    watcher: &'static Watcher,
    per_second: Vec<f64>,
    /// The same with nobody watching, right before: a machine's mood changes in seconds
    untraced: Vec<f64>,
    /// Nanoseconds of the kernel's programs for each connection
    kernel_ns: Vec<f64>,
    /// Microseconds of its own processor time for each connection
    user_us: Vec<f64>,
    /// Transitions of each connection, both ends, as far as its programs count them
    transitions: Vec<f64>,
    lost: u64,
    says_lost: bool,
    programs: Vec<Program>,
}

/// Each watcher in each round, so that whatever else the machine does falls on all.
pub(crate) fn measure(bench: &Bench) -> Result<Table> {
    let rounds = bench.rounds;
    let server = Server::start(bench.folder)?;
    let mut costs: Vec<Cost> = ALL.iter().map(Cost::of).collect();
    for round in 1..=rounds {
        let mut at = 0;
        while let Some(cost) = costs.get_mut(at) {
            let measured = cost.measure(&server, bench);
            if let Err(error) = &measured
                && cost.watcher.is_peer()
            {
                step(format_args!("{} is left out: {error:#}", cost.watcher.name));
                costs.remove(at);
                continue;
            }
            measured.with_context(|| cost.watcher.name)?;
            let rate = cost.per_second.last().copied().unwrap_or_default();
            let name = cost.watcher.name;
            step(format_args!(
                "round {round} of {rounds}: {name}: {rate:.0} connections/s"
            ));
            at += 1;
        }
    }
    Ok(Table { costs })
}

impl Cost {
    const fn of(watcher: &'static Watcher) -> Self {
        Self {
            watcher,
            per_second: Vec::new(),
            untraced: Vec::new(),
            kernel_ns: Vec::new(),
            user_us: Vec::new(),
            transitions: Vec::new(),
            lost: 0,
            says_lost: false,
            programs: Vec::new(),
        }
    }

    /// Of what was answered untraced, the share in each round.
    fn kept(&self) -> Vec<f64> {
        let rounds = self.per_second.iter().zip(&self.untraced);
        rounds.map(|(with, without)| with / without).collect()
    }

    fn measure(&mut self, server: &Server, bench: &Bench) -> Result<()> {
        let untraced = server.load(bench.lasts)?.per_second;
        let watching = self.watcher.start(bench.tcpleak, bench.folder)?;
        let used = watching.used();
        let load = server.load(bench.lasts)?;
        let used = watching.used().saturating_sub(used);
        self.untraced.push(untraced);
        self.per_second.push(load.per_second);
        let requests = load.requests.max(1) as f64;
        self.user_us.push(used.as_secs_f64() * 1e6 / requests);

        let measuring = Measuring::begin()?;
        let before = watching.programs()?;
        let load = server.load(MEASURED)?;
        let after = watching.programs()?;
        drop(measuring);
        let requests = load.requests.max(1) as f64;
        self.programs = since(&before, after);
        let time = run_time(&self.programs);
        self.kernel_ns.push(time as f64 / requests);
        let runs = self.programs.iter().map(|one| one.run_cnt).max();
        self.transitions.push(runs.unwrap_or(0) as f64 / requests);

        if let Some(lost) = watching.stop()? {
            self.lost += lost;
            self.says_lost = true;
        }
        Ok(())
    }
}

/// The programs with what they ran since.
fn since(before: &[Program], after: Vec<Program>) -> Vec<Program> {
    let before: BTreeMap<u32, &Program> = before.iter().map(|one| (one.id, one)).collect();
    let less = |mut one: Program| {
        if let Some(before) = before.get(&one.id) {
            one.run_time_ns -= before.run_time_ns;
            one.run_cnt -= before.run_cnt;
        }
        one
    };
    after.into_iter().map(less).collect()
}

/// All watchers side by side.
pub(crate) struct Table {
    costs: Vec<Cost>,
}

impl Table {
    /// Transitions of a connection: as often as the busiest program ran for one.
    fn transitions(&self) -> f64 {
        let each = self.costs.iter().map(|cost| median(&cost.transitions));
        each.fold(1.0, f64::max)
    }

    /// For people, 80 columns wide.
    pub(crate) fn print(&self) {
        let transitions = self.transitions();
        println!(
            "{:<20}{:>11}{:>8}{:>14}{:>11}{:>11}{:>5}",
            "", "connections", "kept", "(from - to)", "kernel ns", "user us", "lost"
        );
        println!(
            "{:<20}{:>11}{:>8}{:>14}{:>11}{:>11}{:>5}",
            "", "/s", "", "", "/transit.", "/transit.", ""
        );
        for cost in &self.costs {
            let kept = cost.kept();
            let (least, most) = spread(&kept);
            println!(
                "{:<20}{:>11.0}{:>8.2}{:>14}{:>11.0}{:>11.2}{:>5}",
                cost.watcher.name,
                median(&cost.per_second),
                median(&kept),
                format!("({least:.2} - {most:.2})"),
                median(&cost.kernel_ns) / transitions,
                median(&cost.user_us) / transitions,
                if cost.says_lost {
                    cost.lost.to_string()
                } else {
                    "-".to_owned()
                },
            );
        }
        println!("a connection makes {transitions:.1} transitions, both ends together");
        println!("\nprograms in the kernel, in the last round");
        println!(
            "{:<20}{:<17}{:>13}{:>14}{:>10}",
            "", "", "instructions", "runs/connect.", "ns a run"
        );
        for cost in &self.costs {
            let runs = cost
                .programs
                .iter()
                .map(|one| one.run_cnt)
                .max()
                .unwrap_or(0)
                .max(1);
            for one in cost.programs.iter().filter(|one| one.run_cnt > 0) {
                println!(
                    "{:<20}{:<17}{:>13}{:>14.2}{:>10.0}",
                    cost.watcher.name,
                    one.name,
                    one.instructions(),
                    one.run_cnt as f64 / runs as f64 * median(&cost.transitions),
                    one.run_time_ns as f64 / one.run_cnt as f64,
                );
            }
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let transitions = self.transitions();
        let watchers = self.costs.iter().map(|cost| {
            let kept = cost.kept();
            let programs = cost.programs.iter().map(|one| {
                json!({
                    "name": one.name, "instructions": one.instructions(),
                    "runs": one.run_cnt, "run_time_ns": one.run_time_ns,
                })
            });
            json!({
                "watcher": cost.watcher.name,
                "connections_per_second": cost.per_second,
                "untraced_per_second": cost.untraced,
                "kept": kept,
                "kept_median": median(&kept),
                "kernel_ns_per_transition": median(&cost.kernel_ns) / transitions,
                "user_us_per_transition": median(&cost.user_us) / transitions,
                "lost": cost.says_lost.then_some(cost.lost),
                "programs": programs.collect::<Vec<_>>(),
            })
        });
        json!({
            "transitions_per_connection": transitions,
            "watchers": watchers.collect::<Vec<_>>(),
        })
    }
}
