//! What a verdict says of its owner beyond the kernel's records: program,
//! control group, container. I/O; read only for owners that a report names.

use std::fs;

use crate::model::{report::GroupOwner, untrusted::Untrusted};

pub mod host;
pub mod runtime;

/// A control group's path is cut past this; the kernel's limit is a page.
const MAX_CGROUP: usize = 4_096;
/// A container id is this many hexadecimal digits in every common runtime.
const CONTAINER_ID_LEN: usize = 64;

/// A process as /proc shows it now. Fields are `None` where it has ended or may
/// not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Path of the program.
    pub exe: Option<Untrusted>,
    /// Path of its control group, version 2 where there is one.
    pub cgroup: Option<Untrusted>,
    /// Id of the container that the control group's path names.
    pub container: Option<Untrusted>,
}

/// How many file descriptors a process has, and may have (its soft limit); `None`
/// where it has ended or may not be looked at.
#[must_use]
pub fn fds(pid: u32) -> Option<(u64, u64)> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let used = process.fd_count().ok()?;
    let limit = match process.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(limit) => limit,
        procfs::process::LimitValue::Unlimited => u64::MAX,
    };
    Some((used as u64, limit))
}

/// What a report says of a process, as it is now.
#[must_use]
pub fn owner(pid: u32) -> GroupOwner {
    let process = process(pid);
    let path = process.exe.as_ref().map(Untrusted::raw);
    GroupOwner {
        pid: Some(pid),
        runtime: runtime::of(pid, path),
        fds: fds(pid),
        exe: process.exe,
        cgroup: process.cgroup,
        container: process.container,
        ..GroupOwner::default()
    }
}

/// Looks a process up.
#[must_use]
pub fn process(pid: u32) -> Process {
    use std::os::unix::ffi::OsStrExt;
    let exe = fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .map(|path| Untrusted::from_bytes(path.as_os_str().as_bytes()));
    let cgroup = fs::read(format!("/proc/{pid}/cgroup"))
        .ok()
        .and_then(|bytes| cgroup_path(&bytes).map(<[u8]>::to_vec));
    Process {
        exe,
        container: cgroup
            .as_deref()
            .and_then(container_id)
            .map(Untrusted::from_bytes),
        cgroup: cgroup.map(|path| Untrusted::from_bytes(&path)),
    }
}

/// The path in a /proc/PID/cgroup: that of version 2 (`0::PATH`) unless it is
/// the root and a version 1 hierarchy says more.
fn cgroup_path(bytes: &[u8]) -> Option<&[u8]> {
    let path_of = |line: &'_ [u8]| -> Option<(bool, std::ops::Range<usize>)> {
        let text_start = line.iter().position(|&b| b == b':')?;
        let second = line[text_start + 1..].iter().position(|&b| b == b':')? + text_start + 1;
        Some((
            line.starts_with(b"0::"),
            second + 1..line.len().min(second + 1 + MAX_CGROUP),
        ))
    };
    let mut best: Option<&[u8]> = None;
    for line in bytes.split(|&b| b == b'\n') {
        let Some((is_v2, range)) = path_of(line) else {
            continue;
        };
        let path = &line[range];
        let is_root = path == b"/";
        if (is_v2 && !is_root) || best.is_none() || (best == Some(b"/") && !is_root) {
            best = Some(path);
        }
    }
    best
}

/// The last run of 64 hexadecimal digits in a path, as Docker, containerd and
/// CRI-O name their groups.
fn container_id(path: &[u8]) -> Option<&[u8]> {
    path.split(|b| !b.is_ascii_hexdigit())
        .rfind(|part| part.len() == CONTAINER_ID_LEN)
}

#[cfg(test)]
mod tests {
    use super::{cgroup_path, container_id};

    #[test]
    fn version_2_is_preferred_unless_it_is_the_root() {
        assert_eq!(
            cgroup_path(b"0::/system.slice/a.service\n"),
            Some(b"/system.slice/a.service".as_slice())
        );
        assert_eq!(
            cgroup_path(b"4:memory:/docker/x\n0::/\n"),
            Some(b"/docker/x".as_slice())
        );
        assert_eq!(
            cgroup_path(b"4:memory:/docker/x\n0::/y\n"),
            Some(b"/y".as_slice())
        );
        assert_eq!(cgroup_path(b"0::/\n"), Some(b"/".as_slice()));
        assert_eq!(cgroup_path(b"nonsense"), None);
    }

    #[test]
    fn container_ids_are_found_in_the_runtimes_paths() {
        let id = "a".repeat(64);
        for path in [
            format!("/docker/{id}"),
            format!("/kubepods/pod1/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(container_id(path.as_bytes()), Some(id.as_bytes()));
        }
        assert_eq!(container_id(b"/user.slice/abc"), None);
    }
}
