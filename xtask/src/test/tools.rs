//! The programs that the end-to-end tests run, and their Debian packages.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    apt,
    command::{run, step},
    elevate,
};

/// Each program, and the package that brings it.
pub(crate) const TOOLS: [(&str, &str); 11] = [
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("setcap", "libcap2-bin"),
    ("ps", "procps"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("gcc", "gcc"),
    ("go", "golang-go"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn set_up() -> Result<()> {
    if apt::bring(&TOOLS, "the end-to-end tests")?.contains(&"nginx") {
        stop_nginx()?;
    }
    Ok(())
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
