//! The programs that the benchmarks run, and their Debian packages.

use anyhow::Result;

use crate::{apt, test};

/// Each program, and the package that brings it.
const TOOLS: [(&str, &str); 8] = [
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("bpftool", "bpftool"),
    ("bpftrace", "bpftrace"),
    ("tcplife", "libbpf-tools"),
    ("tcpstates", "libbpf-tools"),
    ("kill", "procps"),
    ("prlimit", "util-linux"),
];

/// Installs the packages of the programs that are missing.
pub(crate) fn set_up() -> Result<()> {
    if apt::bring(&TOOLS, "the benchmarks")?.contains(&"nginx") {
        test::stop_service("nginx", "the benchmarks")?;
    }
    Ok(())
}
