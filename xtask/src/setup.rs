//! `cargo xtask setup`: what a task needs, installed ahead of it.

use anyhow::Result;
use clap::ValueEnum;

use crate::{bench, ebpf, fuzz, lab, test, vm};

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The task to prepare; without it, all of them
    #[arg(long = "for", value_name = "TASK")]
    task: Option<Task>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Task {
    /// `cargo xtask test`
    Test,
    /// `cargo xtask ebpf`
    Ebpf,
    /// `cargo xtask fuzz`
    Fuzz,
    /// `cargo xtask vm`
    Vm,
    /// `cargo xtask lab`
    Lab,
    /// `cargo xtask bench`
    Bench,
}

/// Installs what is missing.
pub(crate) fn main(args: &Args) -> Result<()> {
    for task in args
        .task
        .as_ref()
        .map_or(Task::value_variants(), std::slice::from_ref)
    {
        match task {
            Task::Test => {
                test::set_up()?;
                test::readers::set_up()?;
            }
            Task::Vm => vm::set_up()?,
            Task::Lab => lab::set_up()?,
            Task::Bench => bench::set_up()?,
            Task::Ebpf => drop(ebpf::Toolchain::set_up()?),
            Task::Fuzz => drop(fuzz::set_up()?),
        }
    }
    Ok(())
}
