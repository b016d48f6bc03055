//! Where things are: the repository, its target directory, programs.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::{Context as _, Result};

/// The root of the repository. Asked of the cargo that runs this xtask: with a
/// target directory shared by two clones, it may have been built from the other.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    package.join("..").canonicalize().unwrap_or(package)
}

/// Cargo's target directory, where `CARGO_TARGET_DIR` moved it too.
pub(crate) fn target() -> PathBuf {
    let moved = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(moved)
}

/// Where cargo keeps the sources of the crates it fetched, and what it installed.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::home_dir().context("no home directory: set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// The cargo that runs this xtask: the real one, past rustup's choice of toolchain.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The directories of programs as a root shell has them: `PATH`, then the sbin
/// directories that Debian leaves out of an ordinary user's.
pub(crate) fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Finds a program in [`path`].
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
