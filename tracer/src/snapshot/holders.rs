//! Which process has which socket open, from /proc/PID/fd.

use std::{fs, io};

use procfs::{
    ProcError,
    process::{FDTarget, Process, all_processes},
};

use crate::{
    decode::Comm,
    reconcile::{Holder, Snapshot},
};

/// Adds the holders of every socket, lowest pid first, and the processes whose
/// fds could not be read.
pub(super) fn gather(snapshot: &mut Snapshot) {
    let Ok(processes) = all_processes() else {
        return;
    };
    for process in processes.flatten() {
        let pid = process.pid().unsigned_abs();
        let found = sockets_of(&process).unwrap_or_default();
        if found.is_empty() {
            if is_hidden(pid) {
                snapshot.unreadable.insert(pid);
            }
            continue;
        }
        // A process that ends meanwhile holds nothing any more.
        let Some(comm) = comm(&process) else {
            continue;
        };
        for (inode, fd) in found {
            let holder = Holder { pid, fd, comm };
            snapshot.holders.entry(inode).or_default().push(holder);
        }
    }
    for holders in snapshot.holders.values_mut() {
        holders.sort_unstable_by_key(|holder| (holder.pid, holder.fd));
    }
}

fn sockets_of(process: &Process) -> Result<Vec<(u32, i32)>, ProcError> {
    Ok(process
        .fd()?
        .flatten()
        .filter_map(|info| match info.target {
            // Socket inodes are 32 bits wide: get_next_ino, fs/inode.c.
            FDTarget::Socket(inode) => Some((u32::try_from(inode).ok()?, info.fd)),
            _ => None,
        })
        .collect())
}

/// Whether a process does not let us see what it holds: to list fds is one
/// right, to see where they lead another.
fn is_hidden(pid: u32) -> bool {
    let first = fs::read_dir(format!("/proc/{pid}/fd")).and_then(|mut fds| match fds.next() {
        Some(fd) => fs::read_link(fd?.path()).map(|_| ()),
        None => Ok(()),
    });
    first.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The name as bytes: a process may choose ones that are not UTF-8.
fn comm(process: &Process) -> Option<Comm> {
    use std::io::Read;
    let mut bytes = Vec::new();
    process
        .open_relative("comm")
        .ok()?
        .take(64)
        .read_to_end(&mut bytes)
        .ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Some(Comm::from(bytes.as_slice()))
}
