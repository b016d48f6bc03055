//! The programs that the end-to-end tests run, and their Debian packages.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    apt,
    command::{run, step},
    elevate,
};

/// Each program, and the package that brings it.
pub(crate) const TOOLS: [(&str, &str); 10] = [
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("setcap", "libcap2-bin"),
    ("ps", "procps"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("faketime", "faketime"),
];

/// The same of tests that run on this kernel only: compilers, virtual machines, a browser.
const HERE: [(&str, &str); 6] = [
    ("gcc", "gcc"),
    ("go", "golang-go"),
    ("javac", "openjdk-17-jdk-headless"),
    ("node", "nodejs"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn set_up() -> Result<()> {
    let why = "the end-to-end tests";
    let tools = [&TOOLS[..], &HERE].concat();
    if apt::bring(&tools, why)?.contains(&"nginx") {
        stop_service("nginx", why)?;
    }
    Ok(())
}

/// Tests start servers of their own: one that systemd started while its package
/// was installed shall not serve the reader's host. `why` names the task.
pub(crate) fn stop_service(service: &str, why: &str) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    step(format_args!(
        "systemctl disable --now {service}: {why} starts its own"
    ));
    let mut systemctl: Command = elevate::as_root("systemctl", &[], "stopping a server")?;
    run(systemctl.args(["--quiet", "disable", "--now", service]))
}
