//! Makes tracefs visible to this process where the host has not mounted it.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Where tracefs is looked for: its own place, and debugfs'.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// How tracefs can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracefs {
    /// The host has mounted it.
    Mounted,
    /// Mounted in a mount namespace of this process' own, which ends with it.
    Private,
    /// It is there, but this process may not read it.
    NotPermitted,
    /// The host has not mounted it and this process may not.
    Missing,
}

/// What is wrong with tracefs, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is wrong.
    pub why: &'static str,
    /// What the user can do.
    pub fix: &'static str,
}

impl Tracefs {
    /// Why it is of no use; `None` where it is.
    #[must_use]
    pub const fn lack(self) -> Option<Lack> {
        match self {
            Self::Mounted | Self::Private => None,
            Self::NotPermitted => Some(Lack {
                why: "tracefs is not readable for this user",
                fix: "run as root, or grant CAP_DAC_READ_SEARCH",
            }),
            Self::Missing => Some(Lack {
                why: "tracefs is not mounted",
                fix: "run as root, grant CAP_SYS_ADMIN, or mount it once, as root: mount -t \
                      tracefs tracefs /sys/kernel/tracing",
            }),
        }
    }
}

/// Whether the host has mounted tracefs, and we may read it.
#[must_use]
pub fn look() -> Tracefs {
    let mut found = Tracefs::Missing;
    for place in PLACES {
        match fs::read_dir(Path::new(place).join("events")) {
            Ok(_) => return Tracefs::Mounted,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                found = Tracefs::NotPermitted;
            }
            Err(_) => {}
        }
    }
    found
}

/// Mounts tracefs for this process alone where the host has not: nobody else
/// sees the mount, and nothing is left behind. Mounts that the host makes later
/// still appear here.
///
/// Must be called before other threads start: a mount namespace is a thread's.
#[must_use]
pub fn ensure() -> Tracefs {
    let found = look();
    if found != Tracefs::Missing {
        return found;
    }
    let none: Option<&str> = None;
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none))
        .and_then(|()| {
            mount(
                Some("tracefs"),
                PLACES[0],
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
        });
    match mounted {
        // To mount it is one right, to read it another.
        Ok(()) => match look() {
            Tracefs::Mounted => Tracefs::Private,
            found => found,
        },
        Err(_) => Tracefs::Missing,
    }
}
