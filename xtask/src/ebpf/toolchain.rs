//! The compiler, the sources of `core` and the linker of the kernel side, set up
//! where they are missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{linker, pins};
use crate::{
    apt,
    command::{output, step},
};

/// Where Debian's compiler is, past any other in `PATH`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A complete toolchain of the kernel side.
pub(crate) struct Toolchain {
    /// The compiler
    pub(crate) rustc: PathBuf,
    /// Its version, as it prints it
    pub(crate) rustc_version: String,
    /// The version of its LLVM
    pub(crate) llvm_version: String,
    /// Where the sources of `core` are, under each of their names
    pub(crate) rust_sources: Vec<PathBuf>,
    /// The linker
    pub(crate) bpf_linker: PathBuf,
}

impl Toolchain {
    /// Finds the toolchain, installing what is missing.
    pub(crate) fn set_up() -> Result<Self> {
        let rustc = debian_rustc().or_else(|why| {
            step(format_args!("{why:#}; looking for a nightly Rust"));
            nightly_rustc()
        })?;
        let version = output(Command::new(&rustc).arg("-vV"))?;
        let llvm_version = after(&version, "LLVM version: ")?.to_owned();
        Ok(Self {
            rust_sources: rust_sources(&rustc)?,
            bpf_linker: linker::set_up(&llvm_version)?,
            rustc_version: after(&version, "rustc ")?.to_owned(),
            llvm_version,
            rustc,
        })
    }
}

/// Debian's compiler, installed if need be.
fn debian_rustc() -> Result<PathBuf> {
    let mut missing = pins::RUSTC_PACKAGES.to_vec();
    missing.retain(|package| !apt::has(package));
    if !missing.is_empty() {
        if !apt::is_debian() {
            bail!("this is not Debian");
        }
        apt::install(&missing, "building the kernel side")?;
    }
    Ok(DEBIAN_RUSTC.into())
}

/// The compiler of a rustup nightly that has the sources of `core`.
fn nightly_rustc() -> Result<PathBuf> {
    let rustup = |args: &[&str]| output(Command::new("rustup").args(args)).unwrap_or_default();
    rustup(&["toolchain", "list"])
        .split_whitespace()
        .filter(|name| name.starts_with("nightly"))
        .map(|name| rustup(&["which", "rustc", "--toolchain", name]))
        .map(|path| PathBuf::from(path.trim_end()))
        .find(|rustc| rust_sources(rustc).is_ok())
        .context(
            "no compiler for the kernel side: \
             run `rustup toolchain install nightly --component rust-src`",
        )
}

/// Where `rustc` keeps the sources of `core`: by the name it looks under, and
/// by the one that links on the way lead to.
fn rust_sources(rustc: &Path) -> Result<Vec<PathBuf>> {
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let sources = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust");
    if !sources.join("library/core/Cargo.toml").is_file() {
        bail!(
            "{} lacks the sources of core in {}",
            rustc.display(),
            sources.display()
        );
    }
    let real = fs::canonicalize(&sources)?;
    Ok(vec![sources, real])
}

/// The rest of the line of `text` that starts with `label`.
fn after<'a>(text: &'a str, label: &str) -> Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .with_context(|| format!("the compiler prints no `{label}`"))
}
