//! The stages of a test run: named, numbered and timed.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, Result};

use crate::command::{self, step};

/// Counts the stages that ran.
#[derive(Default)]
pub(crate) struct Stages(usize);

impl Stages {
    /// Runs one stage and says how long it took, or which one failed.
    pub(crate) fn run<T>(&mut self, name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0 += 1;
        let start = Instant::now();
        step(format_args!("[{}] {name}", self.0));
        let done = stage().with_context(|| format!("[{}] {name}", self.0))?;
        let took = start.elapsed().as_secs_f32();
        step(format_args!("[{}] {name}: done in {took:.1} s", self.0));
        Ok(done)
    }
}

/// Names a command, then runs it.
pub(crate) fn run(mut command: Command) -> Result<()> {
    step(command::shown(&command));
    command::run(&mut command)
}
