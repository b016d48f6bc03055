//! Builds the kernel side to the same bytes on every machine that has the same
//! tools, wherever the repository, the crates and the target directory are.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{pins, strip::strip, toolchain::Toolchain};
use crate::{
    command::{run, step},
    place,
};

const TARGET: &str = "bpfel-unknown-none";

/// How the variables begin that would change what cargo builds.
const OTHER_BUILDS: [&str; 5] = [
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "RUSTC",
    "RUSTFLAGS",
];

/// Builds `tracer-ebpf` and gives back the object as it is committed; `anew`
/// where nothing built before may be taken for granted.
pub(crate) fn object(toolchain: &Toolchain, anew: bool) -> Result<Vec<u8>> {
    let target = place::target().join("ebpf");
    if anew && target.exists() {
        fs::remove_dir_all(&target)
            .with_context(|| format!("cannot empty {}", target.display()))?;
    }
    step(format_args!(
        "build tracer-ebpf with {}",
        toolchain.rustc_version
    ));
    run(cargo(toolchain, "fetch").arg("--locked"))?;
    let mut build = cargo(toolchain, "build");
    build
        .args(["--locked", "--release", "--target", TARGET])
        .args(["-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain)?.join("\x1f"));
    run(&mut build)?;
    let path = target.join(TARGET).join("release/tracer-ebpf");
    let object = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    strip(&object)
}

/// Cargo on `tracer-ebpf` with the kernel side's compiler, and without what the
/// cargo around this one, or the user's shell, says of other builds.
fn cargo(toolchain: &Toolchain, command: &str) -> Command {
    let mut cargo = Command::new(place::cargo());
    for (name, _) in env::vars_os() {
        if OTHER_BUILDS
            .iter()
            .any(|kind| name.to_string_lossy().starts_with(kind))
        {
            cargo.env_remove(name);
        }
    }
    cargo
        .arg(command)
        .current_dir(place::root().join("tracer-ebpf"))
        .env("RUSTC", &toolchain.rustc)
        .env(pins::UNSTABLE.0, pins::UNSTABLE.1);
    cargo
}

/// The flags of aya's own builder (aya-build 0.2), and names for directories
/// that differ between machines, as BTF's line records carry source paths. No
/// file has these names: LLVM would copy its lines into BTF.
fn flags(toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags = vec![
        // No program here reads registers: one object serves every architecture.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.bpf_linker.display()),
    ];
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&place::root(), "/@tcpleak");
    // One directory per registry, named after a hash of its address.
    for registry in fs::read_dir(place::cargo_home()?.join("registry/src"))? {
        remap(&registry?.path(), "/@crates");
    }
    for sources in &toolchain.rust_sources {
        remap(sources, "/@rust");
    }
    Ok(flags)
}
