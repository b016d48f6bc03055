//! bpf-linker, built against the LLVM of the compiler whose bitcode it reads.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::pins;
use crate::{
    apt,
    command::{output, run, step},
    place,
};

/// Finds bpf-linker in its pinned version, installing it if need be.
pub(crate) fn set_up(llvm_version: &str) -> Result<PathBuf> {
    if let Some(linker) = installed()? {
        return Ok(linker);
    }
    let major = llvm_version.split('.').next().unwrap_or_default();
    let prefix = format!("/usr/lib/llvm-{major}");
    if apt::is_debian() && !Path::new(&prefix).join("bin/llvm-config").exists() {
        apt::install(&[&format!("llvm-{major}-dev")], "bpf-linker")?;
    }
    install(major, &prefix)?;
    installed()?
        .context("cargo installed bpf-linker and it is not there: look at CARGO_INSTALL_ROOT")
}

fn install(llvm_major: &str, llvm_prefix: &str) -> Result<()> {
    step(format_args!(
        "cargo install bpf-linker {} (a few minutes)",
        pins::BPF_LINKER
    ));
    let mut install = Command::new(place::cargo());
    install
        .args(["install", "bpf-linker", "--locked", "--force", "--quiet"])
        .args([
            "--version",
            pins::BPF_LINKER,
            "--no-default-features",
            "--features",
        ])
        .arg(format!("llvm-{llvm_major}"))
        .current_dir("/");
    if Path::new(llvm_prefix).exists() {
        install.env("LLVM_PREFIX", llvm_prefix);
    }
    run(&mut install).with_context(|| {
        format!("install LLVM {llvm_major} with its headers, or the released binary of bpf-linker")
    })
}

/// bpf-linker in the pinned version, from `PATH` or where cargo installs.
fn installed() -> Result<Option<PathBuf>> {
    let own = place::cargo_home()?.join("bin/bpf-linker");
    let pinned = format!("bpf-linker {}", pins::BPF_LINKER);
    Ok([Some(own), place::find("bpf-linker")]
        .into_iter()
        .flatten()
        .find(|linker| {
            output(Command::new(linker).arg("--version")).is_ok_and(|said| said.trim() == pinned)
        }))
}
