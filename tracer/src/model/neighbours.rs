//! Which programs of this host are at the other end of connections. Pure.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    decode::Comm,
    model::{report::OtherEnd, untrusted::Untrusted},
    table::{Table, connection::Connection as Tracked},
    tcp::{Role, State},
};

/// A process: its pid and name.
type Process = (u32, Comm);

/// A socket's own end and the other.
type Pair = (SocketAddr, SocketAddr);

/// Who may be at the other end of some connections.
pub(super) struct Neighbours {
    /// Who has sockets with these ends, and in which network namespaces.
    holders: FxHashMap<Pair, Vec<(u32, Process)>>,
    /// Who listens on a port of a network namespace, and at which address.
    listeners: FxHashMap<(u32, u16), Vec<(IpAddr, Process)>>,
}

impl Neighbours {
    /// Looks them up in the table.
    pub(super) fn of<'a>(table: &Table, connections: impl Iterator<Item = &'a Tracked>) -> Self {
        let wanted: FxHashSet<Pair> = connections.map(|c| reversed(ends(c))).collect();
        let mut neighbours = Self {
            holders: FxHashMap::default(),
            listeners: FxHashMap::default(),
        };
        if wanted.is_empty() {
            return neighbours;
        }
        let all = || table.open();
        for listener in all().filter(|c| c.role == Role::Listener) {
            if let Some(owner) = listener.owner {
                let (local, _) = ends(listener);
                let place = (listener.netns, local.port());
                let there = neighbours.listeners.entry(place).or_default();
                there.push((local.ip(), (owner.pid, owner.comm)));
            }
        }
        for connection in all().filter(|c| c.role != Role::Listener) {
            let ends = ends(connection);
            if !wanted.contains(&ends) {
                continue;
            }
            let owner = connection.owner.map(|owner| (owner.pid, owner.comm));
            // Whose turn it is to accept it.
            let owner = owner.or_else(|| neighbours.listens(connection.netns, ends.0));
            if let Some(owner) = owner {
                let there = neighbours.holders.entry(ends).or_default();
                there.push((connection.netns, owner));
            }
        }
        neighbours
    }

    /// The programs that have the other ends of these, most connections first.
    pub(super) fn at_other_end(&self, connections: &[&Tracked]) -> Vec<OtherEnd> {
        let mut counts: FxHashMap<Process, u64> = FxHashMap::default();
        for process in connections.iter().filter_map(|c| self.across(c)) {
            *counts.entry(process).or_default() += 1;
        }
        let other_end = |((pid, comm), connections): (Process, u64)| OtherEnd {
            pid,
            comm: Untrusted::from_bytes(comm.bytes()),
            connections,
        };
        let mut all: Vec<_> = counts.into_iter().map(other_end).collect();
        all.sort_by_key(|end| (std::cmp::Reverse(end.connections), end.pid));
        all
    }

    fn across(&self, connection: &Tracked) -> Option<Process> {
        let (local, remote) = ends(connection);
        let there = self.holders.get(&(remote, local)).map(Vec::as_slice);
        let there = there.unwrap_or_default();
        let own = there.iter().find(|(netns, _)| *netns == connection.netns);
        match (own, there) {
            (Some((_, process)), _) => Some(*process),
            // Addresses of several namespaces may be the same, and loopback's are.
            (None, [(_, process)]) if !remote.ip().is_loopback() => Some(*process),
            (None, _) => {
                let is_here = remote.ip().is_loopback() || remote.ip() == local.ip();
                let is_queued = connection.state == State::SynSent && is_here;
                is_queued.then(|| self.listens(connection.netns, remote))?
            }
        }
    }

    /// Who listens there.
    fn listens(&self, netns: u32, at: SocketAddr) -> Option<Process> {
        let on_port = self.listeners.get(&(netns, at.port()))?;
        let exact = on_port.iter().find(|(ip, _)| *ip == at.ip());
        let any = || on_port.iter().find(|(ip, _)| ip.is_unspecified());
        exact.or_else(any).map(|(_, process)| *process)
    }
}

/// A server that listens for IPv6 has IPv4 addresses of its clients mapped.
fn ends(connection: &Tracked) -> Pair {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    (plain(connection.local()), plain(connection.remote()))
}

const fn reversed((local, remote): Pair) -> Pair {
    (remote, local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::{Ends, Owner},
        table::connection::ConnId,
    };

    /// A host: pid, role, network namespace, local and remote end of each socket.
    fn host(sockets: &[(u32, Role, u32, &str, &str)]) -> Table {
        let mut table = Table::new(false, false);
        table.begin_snapshot();
        for (sock, &(pid, role, netns, local, remote)) in (1..).zip(sockets) {
            let owner = Owner {
                pid,
                tid: None,
                uid: 0,
                comm: Comm::from(format!("p{pid}").as_bytes()),
                fd: Some(3),
                stack: None,
            };
            let addr = |text: &str| text.parse().expect("an address");
            let ends = Ends {
                local: addr(local),
                remote: addr(remote),
                netns,
            };
            let state = match role {
                Role::Listener => State::Listen,
                // Whose listener turned it away.
                Role::Client if pid == 8 => State::SynSent,
                _ => State::Established,
            };
            let id = ConnId {
                sock,
                generation: 0,
            };
            table.adopt(id, ends, role, state, (pid != 0).then_some(owner), false);
        }
        table.end_snapshot(FxHashSet::default());
        table
    }

    /// Which pids are at the other end of the clients of a pid, and of how many.
    fn found(table: &Table, pid: u32) -> Vec<(u32, u64)> {
        let own = |c: &&Tracked| c.role == Role::Client && c.owner.is_some_and(|o| o.pid == pid);
        let clients: Vec<_> = table.open().filter(own).collect();
        let neighbours = Neighbours::of(table, clients.iter().copied());
        let found = neighbours.at_other_end(&clients);
        for end in &found {
            assert_eq!(end.comm.raw(), format!("p{}", end.pid));
        }
        found.iter().map(|end| (end.pid, end.connections)).collect()
    }

    const SERVER: &str = "127.0.0.1:80";

    #[test]
    fn whoever_has_the_other_end_is_named() {
        let table = host(&[
            (7, Role::Client, 1, "127.0.0.1:4001", SERVER),
            (7, Role::Client, 1, "127.0.0.1:4002", SERVER),
            (7, Role::Client, 1, "127.0.0.1:4003", SERVER),
            (7, Role::Client, 1, "10.0.0.1:4004", "192.0.2.1:80"),
            (20, Role::Server, 1, SERVER, "127.0.0.1:4001"),
            // As a socket for IPv6 shows them.
            (
                21,
                Role::Server,
                1,
                "[::ffff:127.0.0.1]:80",
                "[::ffff:127.0.0.1]:4002",
            ),
            (21, Role::Server, 1, SERVER, "127.0.0.1:4003"),
        ]);
        assert_eq!(found(&table, 7), [(21, 2), (20, 1)]);
        assert_eq!(found(&table, 20), []);
    }

    #[test]
    fn what_waits_to_be_accepted_is_the_listeners() {
        let table = host(&[
            (30, Role::Listener, 1, "0.0.0.0:80", "0.0.0.0:0"),
            (31, Role::Listener, 2, SERVER, "0.0.0.0:0"),
            (7, Role::Client, 1, "127.0.0.1:4001", SERVER),
            (0, Role::Server, 1, SERVER, "127.0.0.1:4001"),
            // The queue is full; and elsewhere, whoever listens here on that port.
            (8, Role::Client, 1, "127.0.0.1:4002", SERVER),
            (8, Role::Client, 1, "10.0.0.1:4003", "192.0.2.1:80"),
        ]);
        assert_eq!(found(&table, 7), [(30, 1)]);
        assert_eq!(found(&table, 8), [(30, 1)]);
    }

    #[test]
    fn addresses_that_several_namespaces_have_name_nobody() {
        let (near, far) = ("10.0.0.1:4001", "10.0.0.2:80");
        let client = (7, Role::Client, 1, near, far);
        let server = |pid, netns| (pid, Role::Server, netns, far, near);
        assert_eq!(found(&host(&[client, server(20, 2)]), 7), [(20, 1)]);
        assert_eq!(found(&host(&[client, server(20, 2), server(21, 3)]), 7), []);
        let home = (7, Role::Client, 1, "127.0.0.1:4001", SERVER);
        let other = (20, Role::Server, 2, SERVER, "127.0.0.1:4001");
        assert_eq!(found(&host(&[home, other]), 7), []);
    }
}
