//! Which connections the user asked for. Pure.
//!
//! The kernel applies the part that it can tell early ([`Selection::for_kernel`])
//! and lets through what it cannot; [`Selection::matches`] is exact.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{fmt::Display, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracer_common::config::Filter;
use zerocopy::transmute;

use crate::{
    decode::{Ends, Event, Owner},
    model::untrusted::Untrusted,
    table::connection::Connection,
    tcp::{Role, State},
};

/// What the user asked for; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Owner's process id.
    pub pid: Option<u32>,
    /// Whether the owner must be a process of the traced command: the kernel side
    /// knows which these are.
    pub tree: bool,
    /// Owner's name, exactly.
    pub comm: Option<String>,
    /// Local or remote port.
    pub port: Option<u16>,
    /// Network of the remote address.
    pub remote: Option<IpNet>,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// Control group of the owner: its path, or one that it lies below.
    pub cgroup: Option<String>,
}

impl Selection {
    /// This one of what `recorded` has let through.
    ///
    /// # Errors
    /// Where nothing can be in both: what the recording holds.
    pub fn within(self, recorded: &Self) -> Result<Self, String> {
        fn both<T: Clone + PartialEq + Display>(
            name: &str,
            asked: Option<T>,
            recorded: &Option<T>,
        ) -> Result<Option<T>, String> {
            match (&asked, recorded) {
                (Some(asked), Some(recorded)) if asked != recorded => {
                    Err(format!("was recorded with --{name} {recorded}"))
                }
                _ => Ok(asked.or_else(|| recorded.clone())),
            }
        }
        let remote = match (self.remote, recorded.remote) {
            (Some(asked), Some(recorded)) if recorded.contains(&asked) => Some(asked),
            (Some(asked), Some(recorded)) if asked.contains(&recorded) => Some(recorded),
            (asked, recorded) => both("remote", asked, &recorded)?,
        };
        Ok(Self {
            pid: both("pid", self.pid, &recorded.pid)?,
            tree: self.tree || recorded.tree,
            comm: both("comm", self.comm, &recorded.comm)?,
            port: both("port", self.port, &recorded.port)?,
            remote,
            netns: both("netns", self.netns, &recorded.netns)?,
            cgroup: both("cgroup", self.cgroup, &recorded.cgroup)?,
        })
    }

    /// The filter that the kernel side applies.
    #[must_use]
    pub fn for_kernel(&self) -> Filter {
        let (remote, remote_mask) = self.remote.map_or(([0; 16], [0; 16]), |network| {
            let v4_bits: u32 = if network.addr().is_ipv4() { 96 } else { 0 };
            let bits = v4_bits + u32::from(network.prefix_len());
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (mapped(network.network()), mask.to_be_bytes())
        });
        Filter {
            remote: transmute!(remote),
            remote_mask: transmute!(remote_mask),
            pid: self.pid.unwrap_or(0),
            tree: self.tree.into(),
            netns: self.netns.unwrap_or(0),
            port: self.port.map_or(0, u32::from),
        }
    }

    /// Whether a connection with these ends is wanted, whoever owns it.
    #[must_use]
    pub fn matches_ends(&self, ends: Ends) -> bool {
        let Ends {
            local,
            remote,
            netns,
        } = ends;
        self.netns.is_none_or(|wanted| wanted == netns)
            && self
                .port
                .is_none_or(|port| local.port() == port || remote.port() == port)
            && self
                .remote
                .is_none_or(|network| network.contains(&same_family(network, remote.ip())))
    }

    /// Whether a socket is wanted, whoever owns it. A listener has no remote, and
    /// tells whose the connections are that wait for it.
    #[must_use]
    pub fn wants_socket(&self, ends: Ends, listens: bool) -> bool {
        (listens && self.remote.is_some()) || self.matches_ends(ends)
    }

    /// Whether every event is wanted, whatever its ends.
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.port.is_none() && self.remote.is_none() && self.netns.is_none()
    }

    /// Whether an event is wanted. The kernel lets through what it cannot tell; an
    /// event of a connection that is already followed always is.
    #[must_use]
    pub fn admits(&self, event: &Event, is_followed: impl Fn(u64) -> bool) -> bool {
        match *event {
            Event::State {
                sock,
                ends,
                old,
                new,
                ..
            } => {
                let listens = old == State::Listen || new == State::Listen;
                self.wants_socket(ends, listens) || is_followed(sock)
            }
            Event::Accept { sock, ends, .. } => self.wants_socket(ends, false) || is_followed(sock),
            Event::Connect { .. }
            | Event::Close { .. }
            | Event::TimeWait { .. }
            | Event::Reset { .. }
            | Event::Gone { .. }
            | Event::Join { .. }
            | Event::Exec { .. }
            | Event::Exit { .. } => true,
        }
    }

    /// Whether a connection is wanted, by all but its owner's control group. Listeners are
    /// none.
    #[must_use]
    pub fn wants_connection(&self, connection: &Connection) -> bool {
        connection.role != Role::Listener
            && self.matches_ends(connection.ends())
            && self.matches_owner(connection.owner.as_ref())
    }

    /// Whether this owner is wanted. An owner not known yet is not, once one is
    /// asked for.
    #[must_use]
    pub fn matches_owner(&self, owner: Option<&Owner>) -> bool {
        self.matches_process(owner.map(|owner| (owner.pid, owner.comm.bytes())))
    }

    /// As [`Selection::matches_owner`], by process id and name.
    #[must_use]
    pub fn matches_process(&self, process: Option<(u32, &[u8])>) -> bool {
        let pid = self
            .pid
            .is_none_or(|wanted| process.is_some_and(|(pid, _)| pid == wanted));
        let comm = self
            .comm
            .as_ref()
            .is_none_or(|wanted| process.is_some_and(|(_, comm)| comm == wanted.as_bytes()));
        pid && comm
    }

    /// Whether an owner in this control group is wanted; `None` where it is not known.
    #[must_use]
    pub fn matches_cgroup(&self, cgroup: Option<&Untrusted>) -> bool {
        let Some(wanted) = self.cgroup.as_deref() else {
            return true;
        };
        let rest =
            cgroup.and_then(|cgroup| cgroup.raw().strip_prefix(wanted.trim_end_matches('/')));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether, of several holders of a socket, this one is asked for.
    #[must_use]
    pub fn prefers(&self, pid: u32, comm: &[u8]) -> bool {
        self.wants_owner() && self.matches_process(Some((pid, comm)))
    }

    /// Whether an owner is asked for.
    #[must_use]
    pub fn wants_owner(&self) -> bool {
        self.pid.is_some() || self.comm.is_some()
    }
}

/// An IPv4 address in mapped form, as all addresses are on the wire to user space.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An IPv4 network holds IPv4-mapped addresses, too.
fn same_family(network: IpNet, address: IpAddr) -> IpAddr {
    match network {
        IpNet::V4(_) => address.to_canonical(),
        IpNet::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::transmute;

    use super::{Ends, Selection};

    fn remote(network: &str) -> Selection {
        Selection {
            remote: Some(network.parse().expect("a network")),
            ..Selection::default()
        }
    }

    fn both_agree(network: &str, address: &str, expected: bool) {
        let selection = remote(network);
        let end = format!("[{address}]:80")
            .parse()
            .or_else(|_| format!("{address}:80").parse());
        let end: std::net::SocketAddr = end.expect("an address");
        assert_eq!(
            selection.matches_ends(Ends {
                local: end,
                remote: end,
                netns: 1
            }),
            expected,
            "{network} {address}"
        );

        // What the kernel side computes.
        let filter = selection.for_kernel();
        let words: [u32; 4] = transmute!(super::mapped(end.ip()));
        let admitted = (0..4).all(|i| words[i] & filter.remote_mask[i] == filter.remote[i]);
        assert_eq!(admitted, expected, "kernel: {network} {address}");
    }

    #[test]
    fn networks_hold_their_addresses_here_and_in_the_kernel() {
        both_agree("10.0.0.0/8", "10.1.2.3", true);
        both_agree("10.0.0.0/8", "11.1.2.3", false);
        both_agree("127.0.0.1/32", "127.0.0.1", true);
        both_agree("0.0.0.0/0", "8.8.8.8", true);
        both_agree("0.0.0.0/0", "2001:db8::1", false);
        both_agree("2001:db8::/32", "2001:db8::1", true);
        both_agree("2001:db8::/32", "2001:db9::1", false);
        both_agree("10.1.2.9/8", "10.200.2.3", true);
    }

    #[test]
    fn of_a_recording_is_shown_what_both_ask_for() {
        let of = |port, remote: Option<&str>| Selection {
            port,
            remote: remote.map(|remote| remote.parse().expect("a network")),
            ..Selection::default()
        };
        let within = |asked: Selection, recorded| asked.within(&recorded).ok();
        let wide = of(None, Some("10.0.0.0/8"));
        let narrow = of(None, Some("10.1.0.0/16"));
        assert_eq!(
            within(of(None, None), of(Some(80), None)),
            Some(of(Some(80), None))
        );
        assert_eq!(
            within(of(Some(80), None), of(None, None)),
            Some(of(Some(80), None))
        );
        assert_eq!(within(of(Some(81), None), of(Some(80), None)), None);
        assert_eq!(within(wide.clone(), narrow.clone()), Some(narrow.clone()));
        assert_eq!(within(narrow.clone(), wide), Some(narrow.clone()));
        assert_eq!(within(of(None, Some("11.0.0.0/8")), narrow), None);
    }

    // tetragon#4623: IPv4-mapped addresses must match IPv4 filters.
    #[test]
    fn an_ipv4_network_holds_mapped_addresses() {
        both_agree("127.0.0.0/8", "::ffff:127.0.0.1", true);
        both_agree("10.0.0.0/8", "::ffff:127.0.0.1", false);
    }
}
