//! Gathers what exists now: sockets from sock_diag, their holders from /proc.
//! I/O, but for `answer`; what follows from it is decided in `reconcile`.

use anyhow::Result;

use crate::reconcile::Snapshot;
use closed::Closed;
use sock_diag::Namespaces;

pub mod answer;
pub mod clocks;
mod closed;
mod holders;
mod proc_net;
mod sock_diag;

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

/// Takes snapshots, and keeps what one may use of the one before.
pub struct Gatherer {
    namespaces: Namespaces,
    closed: Closed,
}

impl Gatherer {
    /// Enters all network namespaces that may be entered.
    ///
    /// # Errors
    /// Where the kernel does not answer on netlink.
    pub fn open() -> Result<Self> {
        Ok(Self {
            namespaces: Namespaces::open()?,
            closed: Closed::default(),
        })
    }

    /// Takes a snapshot of all sockets and all their holders.
    ///
    /// # Errors
    /// Where the kernel does not answer on netlink.
    pub fn take(&mut self) -> Result<Snapshot> {
        let began = clocks::boot_time();
        let used = clocks::thread_time();
        let existing = self.namespaces.refresh()?;
        let mut snapshot = Snapshot {
            began,
            unreachable: self.namespaces.unreachable,
            ..Snapshot::default()
        };
        self.namespaces.list(&mut snapshot)?;
        // After the sockets: one that changes hands meanwhile is then seen with its
        // new holder, or with none, never with one it had before.
        holders::gather(&mut snapshot);
        let netns_of = &existing.of;
        self.closed
            .gather(&mut snapshot, &self.namespaces, netns_of)?;
        if existing.is_whole {
            snapshot.existing = existing.all;
        }
        snapshot.ended = clocks::boot_time();
        snapshot.cost = clocks::thread_time().saturating_sub(used);
        Ok(snapshot)
    }
}
