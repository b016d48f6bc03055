//! Set-up, build, run and test of tcpleak: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod apt;
mod artifacts;
mod bench;
mod command;
mod demo;
mod ebpf;
mod elevate;
mod fuzz;
mod lab;
mod place;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up, builds, runs and tests tcpleak
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build tcpleak and run it, as root where it needs that
    Run(run::Args),
    /// Check formatting and lints, then run every test
    Test(test::Args),
    /// Watch tcpleak find a leak that this command makes
    Demo,
    /// Judge tcpleak by programs that leak and programs that do not
    Lab(lab::Args),
    /// Measure what tcpleak and its peers cost, side by side
    Bench(bench::Args),
    /// Run the end-to-end tests on other kernels, in virtual machines
    Vm(vm::Args),
    /// Build the kernel side and write it to tracer/bpf/
    Ebpf(ebpf::Args),
    /// Fuzz everything that parses
    Fuzz(fuzz::Args),
    /// Install what a task needs, and nothing else
    Setup(setup::Args),
    /// The leaking program of the demo
    #[command(hide = true)]
    DemoLeak,
    /// The connections of the benchmarks
    #[command(hide = true)]
    BenchCrowd { connections: usize },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Run(args) => run::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Demo => demo::main(),
        Task::Lab(args) => lab::main(&args),
        Task::Bench(args) => bench::main(&args),
        Task::Vm(args) => vm::main(&args),
        Task::Ebpf(args) => ebpf::main(&args),
        Task::Fuzz(args) => fuzz::main(&args),
        Task::Setup(args) => setup::main(&args),
        Task::DemoLeak => demo::leak(),
        Task::BenchCrowd { connections } => bench::crowd::main(connections),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
