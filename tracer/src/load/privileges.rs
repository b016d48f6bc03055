//! What this process may do: which capabilities tcpleak asks for and why, and
//! how it lets go of them once everything is attached.

use std::thread;

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};

/// A capability that tcpleak asks for.
#[derive(Clone, Copy, Debug)]
pub struct Privilege {
    /// Which.
    pub capability: Capability,
    /// Its name as in capabilities(7).
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// What is lost without it; `None` where nothing can be traced then.
    pub without: Option<&'static str>,
    /// Needed after everything is attached, too.
    keep: bool,
}

/// All of them.
pub const PRIVILEGES: [Privilege; 5] = [
    Privilege {
        capability: Capability::CAP_BPF,
        name: "CAP_BPF",
        purpose: "load eBPF programs and maps",
        without: None,
        keep: false,
    },
    Privilege {
        capability: Capability::CAP_PERFMON,
        name: "CAP_PERFMON",
        purpose: "attach to tracepoints and read socket fields",
        without: None,
        keep: false,
    },
    Privilege {
        capability: Capability::CAP_DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        purpose: "read tracefs and other users' /proc/PID/fd",
        without: Some(
            "fds of connect and accept are not traced, and sockets opened before the start by \
             other users have no owner",
        ),
        keep: true,
    },
    Privilege {
        capability: Capability::CAP_SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        purpose: "see which process holds which socket",
        without: Some("sockets opened before the start by other users have no owner"),
        keep: true,
    },
    Privilege {
        capability: Capability::CAP_SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        purpose: "list sockets of other network namespaces, mount tracefs where it is not",
        without: Some(
            "sockets opened before the start in other network namespaces (containers) are not \
             seen, and tracefs must be mounted",
        ),
        keep: false,
    },
];

/// Whether this thread has a capability in effect.
#[must_use]
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Lets go of every capability that is not needed once all is attached, for
/// good: also of those that an exec could bring back.
///
/// `works` reads what must stay readable. It is tried first on a thread of its
/// own without CAP_BPF, because before 5.19 every bpf(2) call needs that; where
/// it fails CAP_BPF is kept. Must be called before other threads start:
/// capabilities are a thread's, and new threads get their creator's.
///
/// # Errors
/// Where the kernel refuses to drop.
pub fn drop_unneeded(works: impl FnOnce() -> bool + Send) -> Result<()> {
    let mut keep: CapsHashSet = PRIVILEGES
        .iter()
        .filter(|privilege| privilege.keep)
        .map(|privilege| privilege.capability)
        .collect();
    let works_without = thread::scope(|scope| {
        scope
            .spawn(|| restrict(&keep).is_ok() && works())
            .join()
            .unwrap_or(false)
    });
    if !works_without {
        keep.insert(Capability::CAP_BPF);
    }

    // Only with CAP_SETPCAP, which root has; without it there is no more to
    // gain than the permitted set, which goes below.
    if has(Capability::CAP_SETPCAP) {
        for capability in caps::runtime::thread_all_supported() {
            if !keep.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)
                    .context("cannot drop a capability from the bounding set")?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient).context("cannot clear ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("cannot clear inheritable capabilities")?;
    restrict(&keep)?;
    nix::sys::prctl::set_no_new_privs().context("cannot set no_new_privs")
}

/// Cuts effective and permitted capabilities of this thread down to `keep`.
fn restrict(keep: &CapsHashSet) -> Result<()> {
    let permitted = caps::read(None, CapSet::Permitted).context("cannot read capabilities")?;
    let left: CapsHashSet = permitted.intersection(keep).copied().collect();
    caps::set(None, CapSet::Effective, &left).context("cannot drop effective capabilities")?;
    caps::set(None, CapSet::Permitted, &left).context("cannot drop permitted capabilities")
}
