//! What `ps` and the start of every trace need: sockets, and who holds them.

use caps::Capability;

use super::{check, in_one_line};
use crate::{
    load::privileges,
    model::report::{Check, Status},
    snapshot::Gatherer,
};

const SOCK_DIAG_FIX: &str =
    "as root: modprobe tcp_diag; a container's seccomp profile must allow netlink sockets";

/// Takes a snapshot, as they do.
pub(super) fn checks() -> Vec<Check> {
    let snapshot = match Gatherer::open().and_then(|mut gatherer| gatherer.take()) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let fix = Some(SOCK_DIAG_FIX.to_owned());
            let found = in_one_line(&error);
            return vec![check("sock_diag", Status::Missing, found, fix)];
        }
    };
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
    let mut checks = vec![
        check("sock_diag", Status::Ok, found, None),
        holders(snapshot.unreadable.len()),
    ];
    if snapshot.unreachable > 0 {
        checks.push(check(
            "network namespaces",
            Status::Degraded,
            format!(
                "{} cannot be entered: sockets opened there before the start are not seen",
                snapshot.unreachable
            ),
            Some("run as root, or grant CAP_SYS_ADMIN".to_owned()),
        ));
    }
    checks
}

/// Whether the owner of every socket can be told.
fn holders(unreadable: usize) -> Check {
    const NAME: &str = "socket holders";
    let needed = [Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];
    match unreadable {
        0 => check(
            NAME,
            Status::Ok,
            "the fds of every process are readable",
            None,
        ),
        // A security module, or a parent's user namespace: nothing to be done.
        n if needed.into_iter().all(privileges::has) => {
            let found = format!("readable, except those closed to root as well ({n})");
            check(NAME, Status::Ok, found, None)
        }
        n => {
            let found = format!(
                "the fds of {n} processes of other users are not readable: their sockets have no \
                 owner"
            );
            let fix = "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".to_owned();
            check(NAME, Status::Degraded, found, Some(fix))
        }
    }
}
