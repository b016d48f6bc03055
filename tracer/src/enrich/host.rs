//! The host itself. I/O.

use std::{fs, os::unix::ffi::OsStrExt as _};

use crate::model::untrusted::Untrusted;

/// The kernel's default, 32768 to 60999, where the setting cannot be read.
const DEFAULT_EPHEMERAL_PORTS: u32 = 28_232;

/// How many local ports there are for connections to one destination
/// (`net.ipv4.ip_local_port_range`).
#[must_use]
pub fn ephemeral_ports() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text
        .split_whitespace()
        .filter_map(|end| end.parse::<u32>().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => DEFAULT_EPHEMERAL_PORTS,
    }
}

/// The host's name.
#[must_use]
pub fn name() -> Untrusted {
    nix::unistd::gethostname().map_or_else(
        |_| Untrusted::default(),
        |name| Untrusted::from_bytes(name.as_bytes()),
    )
}

/// As `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> Untrusted {
    nix::sys::utsname::uname().map_or_else(
        |_| Untrusted::default(),
        |name| Untrusted::from_bytes(name.release().as_bytes()),
    )
}
