//! Gathers what exists now: sockets from sock_diag, their holders from /proc.
//! I/O, but for `answer`; what follows from it is decided in `reconcile`.

use anyhow::Result;

use crate::reconcile::Snapshot;

pub mod answer;
pub mod clocks;
pub mod holders;
pub mod sock_diag;

pub use sock_diag::Namespaces;

/// Inode of the pid namespace that the kernel starts with (`PROC_PID_INIT_INO`,
/// include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Whether process ids here are those of the kernel's records. In a container with
/// a pid namespace of its own they are not.
#[must_use]
pub fn has_initial_pids() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.ino() == INITIAL_PID_NAMESPACE)
}

/// Takes a snapshot of all sockets in `namespaces` and all their holders.
///
/// # Errors
/// Where the kernel does not answer on netlink.
pub fn take(namespaces: &Namespaces) -> Result<Snapshot> {
    let began = clocks::boot_time();
    let mut snapshot = Snapshot {
        began,
        ..Snapshot::default()
    };
    namespaces.dump(&mut snapshot)?;
    // After the sockets: one that changes hands meanwhile is then seen with its
    // new holder, or with none, never with one it had before.
    holders::gather(&mut snapshot);
    snapshot.ended = clocks::boot_time();
    for socket in &mut snapshot.sockets {
        // Times in tcp_info are relative to the dump.
        socket.sample.at = began;
    }
    Ok(snapshot)
}
