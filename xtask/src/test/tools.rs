//! The programs that the end-to-end tests run, and their Debian packages.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    apt,
    command::{run, step},
    elevate, place,
};

/// Each program, and the package that brings it.
const TOOLS: [(&str, &str); 9] = [
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("setcap", "libcap2-bin"),
    ("ps", "procps"),
    ("nft", "nftables"),
    ("strace", "strace"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn set_up() -> Result<()> {
    let missing = || {
        TOOLS
            .into_iter()
            .filter(|(program, _)| place::find(program).is_none())
    };
    let packages: Vec<_> = missing().map(|(_, package)| package).collect();
    if packages.is_empty() {
        step("every program of the end-to-end tests is here");
        return Ok(());
    }
    if place::find("apt-get").is_none() {
        bail!(
            "the end-to-end tests need these programs, install them: {}",
            packages.join(" ")
        );
    }
    apt::install(&packages, "the end-to-end tests")?;
    if packages.contains(&"nginx") {
        stop_nginx()?;
    }
    match missing().next() {
        Some((program, package)) => {
            bail!("package {package} brought no {program}: install it by hand")
        }
        None => Ok(()),
    }
}

/// The tests start an nginx of their own: the one that systemd started while
/// the package was installed shall not serve the reader's host.
fn stop_nginx() -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    step("systemctl disable --now nginx: the tests start their own");
    let mut systemctl: Command = elevate::as_root("systemctl", &[], "stopping nginx")?;
    run(systemctl.args(["--quiet", "disable", "--now", "nginx"]))
}
