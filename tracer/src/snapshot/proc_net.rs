//! What /proc/PID/net tells of the sockets in a process's network namespace:
//! no cookie, no times, no totals.

use anyhow::{Context, Result};
use procfs::{ProcError, net::TcpNetEntry, process::Process};

use crate::{
    decode::{Ends, Figures},
    reconcile::Socket,
    table::connection::Sample,
    tcp::State,
};

/// The TCP sockets in the namespace `netns`, in which `pid` is.
///
/// # Errors
/// Where the process has ended, or left the namespace.
pub(super) fn read(pid: u32, netns: u32) -> Result<Vec<Socket>> {
    use std::os::unix::fs::MetadataExt;
    let process = Process::new(i32::try_from(pid)?)?;
    let mut entries = process.tcp()?;
    match process.tcp6() {
        Ok(more) => entries.extend(more),
        // IPv6 is disabled. A process that has ended is noticed below.
        Err(ProcError::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let now = std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino();
    anyhow::ensure!(now == u64::from(netns), "process {pid} has moved");
    let sockets = entries.iter().map(|entry| socket(entry, netns));
    sockets.collect::<Option<_>>().context("an unknown state")
}

fn socket(entry: &TcpNetEntry, netns: u32) -> Option<Socket> {
    let state = State::from_kernel(entry.state.to_u8().into())?;
    let inode = u32::try_from(entry.inode).ok()?;
    Some(Socket {
        cookie: 0,
        ends: Ends {
            local: entry.local_address,
            remote: entry.remote_address,
            netns,
        },
        state,
        is_mini: state.is_mini_socket() || (state == State::SynRecv && inode == 0),
        uid: entry.uid,
        sample: Sample {
            inode,
            recv_q: entry.rx_queue,
            send_q: entry.tx_queue,
            is_bare: true,
            ..Sample::default()
        },
        figures: Figures::default(),
    })
}
