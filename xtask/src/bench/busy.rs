//! What watching costs connections that last and move data: there is no hook on their
//! way.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    crowd::Crowd,
    numbers::{median, spread},
    watcher::LEAKS,
};
use crate::command::step;

/// How many move data at once.
const CONNECTIONS: usize = 10_000;

/// Throughput kept, round by round.
pub(crate) struct Table {
    kept: Vec<f64>,
}

/// The same connections with and without `tcpleak leaks`, in turn.
pub(crate) fn measure(
    tcpleak: &Path,
    folder: &Path,
    rounds: u32,
    lasts: Duration,
) -> Result<Table> {
    let mut crowd = Crowd::start(CONNECTIONS)?;
    let mut kept = Vec::new();
    for round in 1..=rounds {
        let before = crowd.move_data(lasts)?;
        let watching = LEAKS.start(tcpleak, folder)?;
        let with = crowd.move_data(lasts)?;
        watching.stop()?;
        let after = crowd.move_data(lasts)?;
        let without = f64::midpoint(before as f64, after as f64);
        step(format_args!(
            "round {round} of {rounds}: {:.0} MB/s",
            with as f64 / 1e6
        ));
        kept.push(with as f64 / without.max(1.0));
    }
    Ok(Table { kept })
}

impl Table {
    /// For people.
    pub(crate) fn print(&self) {
        let (least, most) = spread(&self.kept);
        println!(
            "{CONNECTIONS} connections that move data keep {:.3} of their throughput \
             ({least:.3} - {most:.3})",
            median(&self.kept)
        );
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({ "connections": CONNECTIONS, "kept": self.kept, "kept_median": median(&self.kept) })
    }
}
