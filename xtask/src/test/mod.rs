//! `cargo xtask test`: everything that is checked before a change goes in.

mod e2e;
pub(crate) mod readers;
mod stage;
mod tally;
mod tools;

use std::process::Command;

use anyhow::{Context as _, Result};

use self::{stage::Stages, tally::Tally};
use crate::{
    artifacts::{self, Executable},
    command::{shown, step},
    place,
};
pub(crate) use tools::{TOOLS, set_up, stop_service};

/// The test target that needs root and the kernel's eBPF.
const E2E: &str = "e2e";

/// Its executable among those that cargo built.
pub(crate) fn end_to_end(built: &[Executable]) -> Result<&Executable> {
    built
        .iter()
        .find(|one| one.is_test && one.kind == "test" && one.target == E2E)
        .context("cargo built no test target e2e: look at tracer/Cargo.toml")
}

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the end-to-end tests, which need root
    #[arg(long)]
    quick: bool,
    /// Run only the tests whose names contain one of these
    filter: Vec<String>,
}

/// Runs each stage up to the first that fails, then says how many tests ran.
pub(crate) fn main(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    let done = stages(args, &mut tally);
    println!("{tally}");
    done
}

fn stages(args: &Args, tally: &mut Tally) -> Result<()> {
    let mut stages = Stages::default();
    stages.run("format", format)?;
    stages.run("lints", lints)?;
    let built = stages.run("build", build)?;
    stages.run("unit, property and CLI tests", || {
        ordinary(&built, &args.filter, tally)
    })?;
    stages.run("documentation tests", || documentation(&args.filter, tally))?;
    if args.filter.is_empty() {
        stages.run("files read by other programs", || readers::check(&built))?;
    }
    if args.quick {
        step("--quick: the end-to-end tests are left out");
        return Ok(());
    }
    stages.run("packages of the end-to-end tests", set_up)?;
    stages.run("end-to-end tests", || e2e::run(&built, &args.filter, tally))
}

fn format() -> Result<()> {
    stage::run(cargo(&["fmt", "--all", "--check"])).context("run cargo fmt --all")?;
    let manifest = "--manifest-path=tracer-ebpf/Cargo.toml";
    stage::run(cargo(&["fmt", manifest, "--check"]))
        .with_context(|| format!("run cargo fmt {manifest}, then cargo xtask ebpf"))
}

fn lints() -> Result<()> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--all-features"]);
    clippy.args(["--", "-D", "warnings"]);
    stage::run(clippy)
}

/// Builds all tests and what they run.
pub(crate) fn build() -> Result<Vec<Executable>> {
    artifacts::build(&mut cargo(&[
        "test",
        "--workspace",
        "--all-features",
        "--no-run",
    ]))
}

/// Every test target but [`E2E`].
fn ordinary(built: &[Executable], filter: &[String], tally: &mut Tally) -> Result<()> {
    let mut test = cargo(&[
        "test",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--lib",
        "--bins",
    ]);
    for target in built
        .iter()
        .filter(|one| one.kind == "test" && one.target != E2E)
    {
        test.args(["--test", &target.target]);
    }
    test.arg("--").args(filter);
    step(shown(&test));
    tally.run(&mut test)
}

fn documentation(filter: &[String], tally: &mut Tally) -> Result<()> {
    let mut test = cargo(&[
        "test",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--doc",
    ]);
    test.arg("--").args(filter);
    step(shown(&test));
    tally.run(&mut test)
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(place::cargo());
    cargo.args(args).current_dir(place::root());
    cargo
}
