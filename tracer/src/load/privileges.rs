//! What this process may do: which capabilities tcpleak asks for and why, and
//! how it lets go of them once everything is attached.

use std::thread;

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};

use super::blocked::Blocked;

/// A capability that tcpleak asks for.
#[derive(Clone, Copy, Debug)]
pub struct Privilege {
    /// Which.
    pub capability: Capability,
    /// A greater one that includes it.
    within: Option<Capability>,
    /// Its name as in capabilities(7).
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// What is lost without it; `None` where nothing can be traced then.
    pub without: Option<&'static str>,
    /// Needed after everything is attached, too.
    keep: bool,
}

impl Privilege {
    /// Whether this thread has it in effect; and if so, whether only by way of a
    /// greater one.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        if has(self.capability) {
            Some(Held::Itself)
        } else if self.within.is_some_and(has) {
            Some(Held::Within)
        } else {
            None
        }
    }
}

/// How a privilege is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// By its own capability.
    Itself,
    /// By CAP_SYS_ADMIN, which the kernel takes for CAP_BPF and CAP_PERFMON, too.
    Within,
}

/// How to get them all: setcap replaces what it set before.
#[must_use]
pub fn how_to_grant() -> String {
    let names: Vec<&str> = PRIVILEGES.iter().map(|privilege| privilege.name).collect();
    let bits = names.join(",").to_lowercase();
    // Root in a container.
    let as_root = if nix::unistd::geteuid().is_root() {
        "this root user lacks it, as in a container:"
    } else {
        "run as root (sudo tcpleak ...), or"
    };
    format!(
        "{as_root} grant all {} at once, with `setcap {bits}+ep $(which tcpleak)`, in a systemd \
         unit's AmbientCapabilities=, or in a container's list of capabilities to add",
        names.len()
    )
}

/// Why the kernel does not let this process use eBPF.
pub(super) fn no_ebpf() -> Blocked {
    let needed = PRIVILEGES
        .iter()
        .filter(|privilege| privilege.without.is_none());
    let (why, fix) = if needed.clone().all(|privilege| privilege.held().is_some()) {
        (
            "the kernel refuses eBPF, though this process has the capabilities for it",
            "a container's seccomp profile must allow bpf(2); a host must not be booted with \
             lockdown=confidentiality",
        )
    } else {
        (
            "the kernel does not let this process use eBPF",
            "run as root (sudo tcpleak ...), or grant the capabilities that `tcpleak doctor` lists",
        )
    };
    Blocked {
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

/// All of them.
pub const PRIVILEGES: [Privilege; 5] = [
    Privilege {
        capability: Capability::CAP_BPF,
        within: Some(Capability::CAP_SYS_ADMIN),
        name: "CAP_BPF",
        purpose: "load eBPF programs and maps",
        without: None,
        keep: false,
    },
    Privilege {
        capability: Capability::CAP_PERFMON,
        within: Some(Capability::CAP_SYS_ADMIN),
        name: "CAP_PERFMON",
        purpose: "attach to tracepoints and read socket fields",
        without: None,
        keep: false,
    },
    Privilege {
        capability: Capability::CAP_DAC_READ_SEARCH,
        within: None,
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
        within: None,
        name: "CAP_SYS_PTRACE",
        purpose: "see which process holds which socket, and which network namespace it is in",
        without: Some(
            "sockets opened before the start by other users have no owner, and those in other \
             network namespaces (containers) are not seen",
        ),
        keep: true,
    },
    Privilege {
        capability: Capability::CAP_SYS_ADMIN,
        within: None,
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
        keep.insert(if has(Capability::CAP_BPF) {
            Capability::CAP_BPF
        } else {
            Capability::CAP_SYS_ADMIN
        });
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
