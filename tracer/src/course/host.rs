//! The host's facts from a snapshot. Pure.

use std::net::SocketAddr;

use crate::{
    diagnosis::{Backlog, Host},
    reconcile::Snapshot,
    tcp::State,
};

/// What rules compare with, from a snapshot.
pub(super) fn of(snapshot: &Snapshot, ephemeral_ports: u32) -> Host {
    let mut host = Host {
        ephemeral_ports,
        holders: snapshot.holders.values().flatten().map(|h| h.pid).collect(),
        ..Host::default()
    };
    let listening = snapshot.listening();
    for socket in &snapshot.sockets {
        let (netns, local, remote) = (socket.ends.netns, socket.ends.local, socket.ends.remote);
        let is_served = listening.contains(&(netns, local.port()));
        match socket.state {
            State::TimeWait => *host.time_wait.entry(remote).or_insert(0) += 1,
            State::Listen => {
                // Several listeners may share a port (SO_REUSEPORT).
                let backlog: &mut Backlog = host.backlogs.entry((netns, local.port())).or_default();
                backlog.waiting += socket.sample.recv_q;
                backlog.limit += socket.sample.send_q;
            }
            State::FinWait2 if socket.is_mini || socket.sample.inode == 0 => {
                let end = if is_served {
                    SocketAddr::from(([0, 0, 0, 0], local.port()))
                } else {
                    remote
                };
                *host.orphans.entry(end).or_insert(0) += 1;
            }
            _ => {}
        }
        let is_client = !is_served && socket.state != State::Listen && !socket.is_unconnected();
        if is_client && socket.state.has_port() {
            *host.used_ports.entry((netns, remote)).or_insert(0) += 1;
        }
    }
    host
}
