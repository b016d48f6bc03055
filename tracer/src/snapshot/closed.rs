//! Sockets in CLOSE whose fd is still held. They are in no hash table of the
//! kernel, so that no dump lists them: only the fd itself leads there.

use std::{io, net::SocketAddr};

use anyhow::Result;
use nix::{getsockopt_impl, libc, sys::socket::getsockopt};
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{fstat, getxattr},
    io::{Errno, ioctl_fionread},
    net::{getsockname, sockopt::socket_cookie},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{
    answer::{figures, sample},
    clocks,
    sock_diag::Namespaces,
};
use crate::{
    decode::{Ends, tcp_info::TcpInfo},
    reconcile::{Holder, Snapshot, Socket},
    table::connection::Sample,
    tcp::State,
};

/// TCP sockets by the name that sockfs gives them (`sockfs_xattr_get`,
/// net/socket.c).
const TCP_NAMES: [&[u8]; 2] = [b"TCP", b"TCPv6"];

/// What was found out of the sockets that no dump lists, by inode, so that
/// thousands of UNIX sockets are not asked again in each snapshot.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// Not TCP, or in a namespace that is not listed.
    others: FxHashSet<u32>,
    /// In CLOSE when last looked at.
    known: FxHashSet<u32>,
}

impl Closed {
    /// Adds the held sockets in CLOSE to a snapshot that has all others, and
    /// their holders. `netns_of` tells which namespace a process is in.
    ///
    /// A socket is looked at through a duplicate of its fd. While that is open, a
    /// close by the owner does not end the socket: the duplicate's does, some
    /// microseconds later. In CLOSE there is nothing left to end but the memory,
    /// so only sockets that no dump listed after they were seen held are looked at.
    ///
    /// # Errors
    /// Where the kernel does not answer on netlink.
    pub(super) fn gather(
        &mut self,
        snapshot: &mut Snapshot,
        namespaces: &Namespaces,
        netns_of: &FxHashMap<u32, u32>,
    ) -> Result<()> {
        let listed = inodes(snapshot);
        let is_unlisted =
            |inode: &u32| snapshot.holders.contains_key(inode) && !listed.contains(inode);
        self.others.retain(&is_unlisted);
        self.known.retain(&is_unlisted);
        let mut unlisted: FxHashSet<u32> = snapshot
            .holders
            .keys()
            .copied()
            .filter(|inode| !listed.contains(inode) && !self.others.contains(inode))
            .collect();
        unlisted.retain(|inode| {
            let holders = &snapshot.holders[inode];
            // Of one whose fds are all another's by now it is not known.
            let is_tcp = match self.known.contains(inode) {
                true => Some(true),
                false => holders.iter().find_map(is_tcp),
            };
            if is_tcp == Some(false) {
                self.others.insert(*inode);
            }
            is_tcp == Some(true)
        });
        if unlisted.iter().any(|inode| !self.known.contains(inode)) {
            // Those made since the dump are listed now, and those that it passed over, as
            // another one of their hash bucket had gone between two messages.
            let mut again = Snapshot::default();
            namespaces.list(&mut again)?;
            let listed = inodes(&again);
            let is_found = |socket: &mut Socket| unlisted.contains(&socket.sample.inode);
            let found: Vec<Socket> = again.sockets.extract_if(.., is_found).collect();
            // One that has been accepted since was listed without its inode.
            let cookies: FxHashSet<u64> = found.iter().map(|socket| socket.cookie).collect();
            snapshot
                .sockets
                .retain(|socket| !cookies.contains(&socket.cookie));
            snapshot.sockets.extend(found);
            unlisted.retain(|inode| !listed.contains(inode));
        }
        let mut unlisted: Vec<u32> = unlisted.into_iter().collect();
        unlisted.sort_unstable();
        for inode in unlisted {
            self.look_at(inode, snapshot, netns_of);
        }
        Ok(())
    }

    fn look_at(&mut self, inode: u32, snapshot: &mut Snapshot, netns_of: &FxHashMap<u32, u32>) {
        let holders = &snapshot.holders[&inode];
        let mut refused = None;
        for holder in holders {
            let netns = netns_of.get(&holder.pid).copied();
            let Some(netns) = netns.filter(|netns| snapshot.namespaces.contains(netns)) else {
                continue;
            };
            match socket(holder, inode, netns) {
                Ok(Some(socket)) if socket.state == State::Close => {
                    self.known.insert(inode);
                    snapshot.sockets.push(socket);
                    return;
                }
                // It has come back to life.
                Ok(Some(_)) => return,
                Ok(None) => {}
                Err(_) => refused = Some(holder.pid),
            }
        }
        // What this process holds is then not known in full.
        snapshot.unreadable.extend(refused);
    }
}

/// The inodes of all sockets that were listed.
fn inodes(snapshot: &Snapshot) -> FxHashSet<u32> {
    let sockets = snapshot.sockets.iter().chain(&snapshot.nameless);
    sockets.map(|socket| socket.sample.inode).collect()
}

/// Whether the socket behind an fd is one of TCP; `None` where it is gone.
fn is_tcp(holder: &Holder) -> Option<bool> {
    let path = format!("/proc/{}/fd/{}", holder.pid, holder.fd);
    let mut name = [0; 32];
    let size = getxattr(path, "system.sockprotoname", &mut name).ok()?;
    let name = name[..size].split(|&byte| byte == 0).next();
    Some(name.is_some_and(|name| TCP_NAMES.contains(&name)))
}

/// The socket behind an fd; `None` where the fd is another's by now.
///
/// # Errors
/// Where the kernel does not let us look.
fn socket(holder: &Holder, inode: u32, netns: u32) -> io::Result<Option<Socket>> {
    let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let opened = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, holder.fd, PidfdGetfdFlags::empty()));
    let socket = match opened {
        Ok(socket) => socket,
        Err(Errno::SRCH | Errno::BADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let file = fstat(&socket)?;
    if file.st_ino != u64::from(inode) {
        return Ok(None);
    }
    let info = getsockopt(&socket, Info)?;
    let Some(state) = State::from_kernel(info.state.into()) else {
        return Ok(None);
    };
    let local = SocketAddr::try_from(getsockname(&socket)?)?;
    // One that was never connected has none.
    let remote = match local {
        SocketAddr::V4(_) => getsockopt(&socket, PeerV4).ok().map(from_v4),
        SocketAddr::V6(_) => getsockopt(&socket, PeerV6).ok().map(from_v6),
    };
    let nobody = match local {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let now = Timespec::default();
    let mut events = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut events, Some(&now))?;
    Ok(Some(Socket {
        cookie: socket_cookie(&socket)?,
        ends: Ends {
            local,
            remote: remote.unwrap_or(nobody),
            netns,
        },
        state,
        is_mini: false,
        uid: file.st_uid,
        sample: Sample {
            recv_q: ioctl_fionread(&socket)?.try_into().unwrap_or(u32::MAX),
            at: clocks::boot_time(),
            error_waits: events[0].revents().contains(PollFlags::ERR),
            ..sample(&info, inode)
        },
        figures: figures(&info),
    }))
}

/// `struct sockaddr_in`.
fn from_v4(bytes: [u8; 16]) -> SocketAddr {
    let [_, _, p0, p1, a0, a1, a2, a3, ..] = bytes;
    SocketAddr::from(([a0, a1, a2, a3], u16::from_be_bytes([p0, p1])))
}

/// `struct sockaddr_in6`, without its scope, which the kernel's records lack.
fn from_v6(bytes: [u8; 28]) -> SocketAddr {
    let mut address = [0; 16];
    address.copy_from_slice(&bytes[8..24]);
    SocketAddr::from((address, u16::from_be_bytes([bytes[2], bytes[3]])))
}

macro_rules! socket_option {
    ($(#[$doc:meta])* $name:ident, $level:path, $option:path, $type:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name;

        getsockopt_impl!($name, $level, $option, $type, nix::sys::socket::sockopt::GetStruct<$type>);
    };
}

socket_option!(
    /// The kernel's figures.
    Info,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfo
);
socket_option!(
    /// The other end. Unlike getpeername(2), it tells that of a socket in CLOSE,
    /// too (`inet_getname` with peer 2, net/ipv4/af_inet.c).
    PeerV4,
    libc::SOL_SOCKET,
    libc::SO_PEERNAME,
    [u8; 16]
);
socket_option!(
    /// The same of an IPv6 socket.
    PeerV6,
    libc::SOL_SOCKET,
    libc::SO_PEERNAME,
    [u8; 28]
);

#[cfg(test)]
mod tests {
    use super::{from_v4, from_v6};

    #[test]
    fn addresses_are_read_in_network_order() {
        let mut v4 = [0; 16];
        v4[2..8].copy_from_slice(&[0x1f, 0x90, 127, 0, 0, 1]);
        assert_eq!(from_v4(v4).to_string(), "127.0.0.1:8080");
        let mut v6 = [0; 28];
        v6[2..4].copy_from_slice(&[0, 80]);
        v6[23] = 1;
        assert_eq!(from_v6(v6).to_string(), "[::1]:80");
    }
}
