//! Becoming root for the few steps that need it.

use std::{ffi::OsStr, fs, os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Result, bail};

use crate::{command, place};

/// Whether this process is root: the kernel gives `/proc/self` its user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// `program` as root: itself where this process is root, else through sudo with
/// `options`, saying `why`.
pub(crate) fn as_root(program: impl AsRef<OsStr>, options: &[&str], why: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if place::find("sudo").is_none() {
        bail!("{why} needs root and there is no sudo: run this again as root");
    }
    command::step(format_args!("{why} needs root: asking sudo"));
    let mut sudo = Command::new("sudo");
    sudo.args(options).arg(program);
    Ok(sudo)
}
