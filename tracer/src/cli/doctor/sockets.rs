//! What `ps` and the start of every trace need: sockets, and who holds them.

use std::{
    fs::{self, DirEntry},
    io,
};

use super::{check, in_one_line};
use crate::{
    model::report::{Check, Status},
    snapshot::{self, Namespaces},
};

const SOCK_DIAG_FIX: &str =
    "as root: modprobe tcp_diag; a container's seccomp profile must allow netlink sockets";

/// Takes a snapshot, as they do.
pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    let missing = |error: &anyhow::Error| {
        let fix = SOCK_DIAG_FIX.to_owned();
        check("sock_diag", Status::Missing, in_one_line(error), Some(fix))
    };
    let namespaces = match Namespaces::open() {
        Ok(namespaces) => namespaces,
        Err(error) => return vec![missing(&error)],
    };
    match snapshot::take(&namespaces) {
        Ok(snapshot) => {
            let found = format!(
                "{} TCP sockets in {} network namespace{}",
                snapshot.sockets.len(),
                snapshot.namespaces.len(),
                if snapshot.namespaces.len() == 1 {
                    ""
                } else {
                    "s"
                }
            );
            checks.push(check("sock_diag", Status::Ok, found, None));
            let holders = "socket holders";
            let unreadable = unreadable();
            checks.push(if unreadable == 0 {
                check(
                    holders,
                    Status::Ok,
                    "the fds of every process are readable",
                    None,
                )
            } else {
                let found = format!(
                    "the fds of {unreadable} other users' processes are not readable: their \
                     sockets have no owner"
                );
                let fix = "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".to_owned();
                check(holders, Status::Degraded, found, Some(fix))
            });
        }
        Err(error) => checks.push(missing(&error)),
    }
    if namespaces.unreachable > 0 {
        checks.push(check(
            "network namespaces",
            Status::Degraded,
            format!(
                "{} cannot be entered: sockets opened there before the start are not seen",
                namespaces.unreachable
            ),
            Some("run as root, or grant CAP_SYS_ADMIN".to_owned()),
        ));
    }
    checks
}

/// Processes that do not let us see which sockets they hold: to list fds is one
/// right, to see where they lead another.
fn unreadable() -> usize {
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let is_hidden = |process: &DirEntry| {
        let seen = fs::read_dir(process.path().join("fd")).and_then(|mut fds| match fds.next() {
            Some(fd) => fs::read_link(fd?.path()).map(|_| ()),
            None => Ok(()),
        });
        seen.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let is_process = |entry: &DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let processes = processes.flatten().filter(is_process);
    processes.filter(is_hidden).count()
}
