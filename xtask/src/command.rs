//! Running other programs: each is named before it runs, and each failure says
//! which one it was.

use std::{ffi::OsStr, fmt::Display, iter, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::place;

/// Says in one line what happens next.
pub(crate) fn step(what: impl Display) {
    println!("xtask: {what}");
}

/// The command as the reader would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = match command.get_program() {
        cargo if cargo == place::cargo() => OsStr::new("cargo"),
        other => other,
    };
    iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs `command` with this terminal; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    Ok(())
}

/// Runs `command` and gives back what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{name}` failed: {} {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` wrote no UTF-8"))
}
