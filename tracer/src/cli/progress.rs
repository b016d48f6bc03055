//! How a long watch is getting on: a bar on standard error, on a terminal only.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::say;
use crate::{
    clock::BootTime,
    course::{Observer, shed::Shed},
    model::report::Loss,
    table::{Change, Table, connection::Connection},
};

/// Shows elapsed time and counts once a second.
pub(super) struct Progress {
    bar: ProgressBar,
    from: BootTime,
}

impl Progress {
    /// A bar over `watch`, from `from`; without an end where that is not known.
    pub(super) fn new(watch: Option<Duration>, from: BootTime) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let seconds = watch.map(|watch| watch.as_secs().max(1));
        let bar = ProgressBar::with_draw_target(seconds, target);
        let style = ProgressStyle::with_template(match seconds {
            Some(_) => "watching {pos}/{len} s [{bar:20}] {msg}",
            None => "watching {pos} s {msg}",
        });
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, from }
    }

    /// Takes the bar off the terminal.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn change(&mut self, _: Change, _: BootTime, _: &Connection) -> Result<()> {
        Ok(())
    }

    fn wants_all(&self) -> bool {
        false
    }

    fn shed(&mut self, _: BootTime, shed: Shed) -> Result<()> {
        self.bar.suspend(|| say(shed.sentence()));
        Ok(())
    }

    fn tick(&mut self, at: BootTime, table: &Table, loss: Loss) -> Result<()> {
        let counters = table.counters();
        let lost = if loss.events_lost > 0 {
            format!(", {} records lost", loss.events_lost)
        } else {
            String::new()
        };
        self.bar.set_position(at.ms_since(self.from) / 1_000);
        self.bar.set_message(format!(
            "{} live, {} closed{lost}; Ctrl-C reports now",
            table.live(),
            counters.closed
        ));
        Ok(())
    }
}
