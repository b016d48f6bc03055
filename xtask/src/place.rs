//! Where things are: the repository, its target directory, programs.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The root of the repository this xtask was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
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

/// Finds a program as a root shell would: `PATH`, then the sbin directories
/// that Debian leaves out of an ordinary user's `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
