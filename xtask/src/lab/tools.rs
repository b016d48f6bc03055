//! The programs that the lab runs and builds with, and their Debian packages.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{apt, test};

/// Each program, and the package that brings it.
const TOOLS: [(&str, &str); 10] = [
    ("go", "golang-go"),
    ("javac", "openjdk-17-jdk-headless"),
    ("node", "nodejs"),
    ("python3", "python3"),
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn set_up() -> Result<()> {
    let brought = apt::bring(&TOOLS, "the lab")?;
    for service in ["nginx", "haproxy"] {
        if brought.contains(&service) {
            test::stop_service(service, "the lab")?;
        }
    }
    let node = Command::new("node")
        .arg("-p")
        .arg("typeof fetch")
        .output()?;
    ensure!(
        node.stdout.starts_with(b"function"),
        "the lab wants Node 18 or newer, which has fetch: install a newer nodejs"
    );
    Ok(())
}
