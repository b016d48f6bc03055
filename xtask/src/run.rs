//! `cargo xtask run`: tcpleak from these sources, as root where it needs that.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{artifacts, command::step, elevate, place};

/// What tcpleak does without the kernel's help: as first argument, or anywhere.
const NO_ROOT_FIRST: [&str; 4] = ["doctor", "export", "help", "query"];
const NO_ROOT: [&str; 4] = ["--help", "-h", "--version", "-V"];

/// What some commands need and others do without, as it takes long to build.
const NEEDED: [(&str, &str); 2] = [("export", "tables"), ("query", "query")];

/// Arguments of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of tcpleak
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds tcpleak, then becomes it, so that signals and its exit code need
/// nobody between.
pub(crate) fn main(args: &Args) -> Result<()> {
    let needs = |&(command, _): &(&str, _)| args.args.first().is_some_and(|one| one == command);
    let needed = NEEDED.iter().find(|need| needs(need));
    let features = needed.map_or("", |&(_, features)| features);
    let tcpleak = build(features)?;
    let mut command = tcpleak_command(&tcpleak, &args.args)?;
    let failed = command.exec();
    Err(failed).with_context(|| format!("cannot start {}", tcpleak.display()))
}

/// Builds tcpleak as it is released, with these features.
pub(crate) fn build(features: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(place::cargo());
    cargo
        .args(["build", "--release", "--package", "tracer"])
        .args(["--bin", "tcpleak"])
        .arg(format!("--features={features}"))
        .current_dir(place::root());
    artifacts::program(&artifacts::build(&mut cargo)?, "tcpleak")
}

/// tcpleak with `args`, through sudo where they and this user need that.
pub(crate) fn tcpleak_command(tcpleak: &Path, args: &[OsString]) -> Result<Command> {
    let mut command = if needs_root(args) {
        elevate::as_root(tcpleak, &["-E"], "tracing the kernel")?
    } else {
        Command::new(tcpleak)
    };
    command.args(args);
    step(crate::command::shown(&command));
    Ok(command)
}

fn needs_root(args: &[OsString]) -> bool {
    let is_one_of = |arg: &OsString, list: &[&str]| list.iter().any(|one| arg == one);
    args.first()
        .is_some_and(|first| !is_one_of(first, &NO_ROOT_FIRST))
        && !args.iter().any(|arg| is_one_of(arg, &NO_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tracing_needs_root() {
        let needs = |line: &str| {
            needs_root(
                &line
                    .split_whitespace()
                    .map(OsString::from)
                    .collect::<Vec<_>>(),
            )
        };
        assert!(needs("leaks --for 15s"));
        assert!(needs("trace"));
        assert!(!needs(""));
        assert!(!needs("doctor --json"));
        assert!(!needs("query --list"));
        assert!(!needs("leaks --help"));
        assert!(!needs("--version"));
    }
}
