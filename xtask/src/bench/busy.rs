//! What watching costs connections that last and move data: there is no hook on their
//! way.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Bench,
    crowd::Crowd,
    numbers::{median, spread},
    watcher::{LEAKS, ONE_CALL, Watcher},
};
use crate::command::step;

/// How many move data at once.
const CONNECTIONS: usize = 10_000;

/// Who watches them.
const WATCHERS: [Watcher; 2] = [LEAKS, ONE_CALL];

/// Throughput kept beside one watcher, round by round.
struct Kept {
    watcher: &'static str,
    kept: Vec<f64>,
}

/// That beside each.
pub(crate) struct Table(Vec<Kept>);

/// The same connections with and without each watcher, in turn.
pub(crate) fn measure(bench: &Bench) -> Result<Table> {
    let mut crowd = Crowd::start(CONNECTIONS)?;
    let mut table = Table(Vec::new());
    for watcher in WATCHERS {
        let watcher_name = watcher.name;
        let mut kept = Vec::new();
        for round in 1..=bench.rounds {
            let before = crowd.move_data(bench.lasts)?;
            let watching = watcher.start(bench.tcpleak, bench.folder)?;
            let with = crowd.move_data(bench.lasts)?;
            watching.stop()?;
            let after = crowd.move_data(bench.lasts)?;
            let without = f64::midpoint(before as f64, after as f64);
            step(format_args!(
                "round {round} of {}: {watcher_name}: {:.0} MB/s",
                bench.rounds,
                with as f64 / 1e6
            ));
            kept.push(with as f64 / without.max(1.0));
        }
        table.0.push(Kept {
            watcher: watcher_name,
            kept,
        });
    }
    Ok(table)
}

impl Table {
    /// For people.
    pub(crate) fn print(&self) {
        println!("{CONNECTIONS} connections that move data keep of their throughput");
        for Kept { watcher, kept } in &self.0 {
            let (least, most) = spread(kept);
            println!("{watcher:<26}{:.3} ({least:.3} - {most:.3})", median(kept));
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let kept = self.0.iter().map(|Kept { watcher, kept }| {
            json!({ "watcher": watcher, "kept": kept, "kept_median": median(kept) })
        });
        json!({ "connections": CONNECTIONS, "watchers": kept.collect::<Vec<_>>() })
    }
}
