//! Lists TCP sockets through sock_diag (netlink), in every network namespace
//! that has a process or a name and could be entered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket as Netlink, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{answer, clocks, has_initial_pids, proc_net};
use crate::reconcile::{Snapshot, Socket};

/// The kernel fills up to 32 KiB a message (`NLMSG_GOODSIZE` and what
/// `netlink_dump` allocates for a large receive buffer).
const MESSAGE_BYTES: usize = 64 << 10;

/// A dump that a change interrupts is begun again this often.
const DUMP_TRIES: u32 = 3;

/// A netlink socket in each network namespace. A socket stays in the namespace
/// it was opened in, so they work on after the right to enter is dropped.
///
/// Namespaces made since then cannot be entered. Of their sockets /proc/PID/net
/// of one of their processes tells what little it has.
pub(super) struct Namespaces {
    /// Our own.
    own: u32,
    sockets: BTreeMap<u32, Netlink>,
    /// A process of each namespace that has no netlink socket.
    others: BTreeMap<u32, u32>,
    /// Namespaces that could not be entered.
    pub(super) unreachable: u32,
}

/// The network namespaces that exist.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Which one each process is in.
    pub(super) of: FxHashMap<u32, u32>,
    /// Those of processes, and those with a name.
    pub(super) all: FxHashSet<u32>,
    /// There is none besides that a process is in.
    pub(super) is_whole: bool,
}

impl Namespaces {
    /// Opens netlink sockets in our own namespace and, where permitted, in every
    /// other one that has a process.
    ///
    /// # Errors
    /// Where our own cannot be opened.
    pub(super) fn open() -> Result<Self> {
        let own = inode_of("/proc/self/ns/net").context("cannot read /proc/self/ns/net")?;
        let mut sockets = BTreeMap::from([(own, open()?)]);
        let mut unreachable = BTreeSet::new();
        let of_processes = processes()?.map(namespace_of);
        for path in of_processes.chain(named()) {
            let Some(inode) = inode_of(&path) else {
                continue;
            };
            if sockets.contains_key(&inode) {
                continue;
            }
            match open_in(&path) {
                Ok(socket) => {
                    unreachable.remove(&inode);
                    sockets.insert(inode, socket);
                }
                Err(error) if is_refused(&error) => {
                    unreachable.insert(inode);
                }
                // It has ended, or the name is one that a dead `ip netns` left.
                Err(_) => {}
            }
        }
        Ok(Self {
            own,
            sockets,
            others: BTreeMap::new(),
            unreachable: u32::try_from(unreachable.len()).unwrap_or(u32::MAX),
        })
    }

    /// Finds out which namespaces exist, and lets go of those that do not: a
    /// netlink socket would keep one alive that nobody else has any more.
    ///
    /// # Errors
    /// Where /proc cannot be read.
    pub(super) fn refresh(&mut self) -> Result<Existing> {
        let mut of = FxHashMap::default();
        let mut is_whole = has_initial_pids();
        for pid in processes()? {
            match fs::metadata(namespace_of(pid)) {
                Ok(namespace) => drop(of.insert(pid, u32::try_from(namespace.ino())?)),
                // It may be in one that nobody else is in.
                Err(error) => is_whole &= error.kind() != io::ErrorKind::PermissionDenied,
            }
        }
        let mut all: FxHashSet<u32> = of.values().copied().collect();
        all.extend(named().filter_map(inode_of));
        all.insert(self.own);
        self.sockets.retain(|netns, _| all.contains(netns));
        let others = of.iter().map(|(&pid, &netns)| (netns, pid));
        self.others = others
            .filter(|(netns, _)| !self.sockets.contains_key(netns))
            .collect();
        Ok(Existing { of, all, is_whole })
    }

    /// Lists all TCP sockets into `snapshot`.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub(super) fn list(&self, snapshot: &mut Snapshot) -> Result<()> {
        // Times in tcp_info are relative to the dump.
        let at = clocks::boot_time();
        let (from, from_nameless) = (snapshot.sockets.len(), snapshot.nameless.len());
        for (&netns, netlink) in &self.sockets {
            let mut is_whole = true;
            for family in [AF_INET, AF_INET6] {
                is_whole &= dump_family(netlink, family, netns, &mut snapshot.sockets)
                    .context("cannot list sockets through sock_diag")?;
            }
            if is_whole {
                snapshot.namespaces.insert(netns);
            }
        }
        for (&netns, &pid) in &self.others {
            // Its process may have ended: another one serves the next time.
            if let Ok(sockets) = proc_net::read(pid, netns) {
                snapshot.nameless.extend(sockets);
                snapshot.namespaces.insert(netns);
            }
        }
        let listed = snapshot.sockets.iter_mut().skip(from);
        for socket in listed.chain(snapshot.nameless.iter_mut().skip(from_nameless)) {
            socket.sample.at = at;
        }
        Ok(())
    }
}

/// The ids of all processes.
fn processes() -> Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn namespace_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Where names keep namespaces without any process: those of `ip netns`, and
/// Docker's.
fn named() -> impl Iterator<Item = PathBuf> {
    ["/run/netns", "/run/docker/netns"]
        .into_iter()
        .flat_map(fs::read_dir)
        .flat_map(|names| names.flatten().map(|entry| entry.path()))
}

fn inode_of(path: impl AsRef<Path>) -> Option<u32> {
    u32::try_from(fs::metadata(path).ok()?.ino()).ok()
}

fn is_refused(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<Errno>().copied();
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    errno == Some(Errno::EPERM) || io == Some(io::ErrorKind::PermissionDenied)
}

fn open() -> Result<Netlink> {
    let mut socket = Netlink::new(NETLINK_SOCK_DIAG).context("cannot open a netlink socket")?;
    socket.bind_auto().context("cannot bind a netlink socket")?;
    socket
        .connect(&NetlinkAddr::new(0, 0))
        .context("cannot connect a netlink socket")?;
    Ok(socket)
}

/// Opens a socket in another namespace, on a thread that ends there.
fn open_in(namespace: &Path) -> Result<Netlink> {
    let file = File::open(namespace)?;
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            open()
        });
        match entered.join() {
            Ok(opened) => opened,
            Err(_) => bail!("the thread that entered the namespace ended early"),
        }
    })
}

/// Whether the list is whole: the kernel says when a change cut it short.
fn dump_family(netlink: &Netlink, family: u8, netns: u32, into: &mut Vec<Socket>) -> Result<bool> {
    let start = into.len();
    for _ in 0..DUMP_TRIES {
        into.truncate(start);
        if try_dump(netlink, family, netns, into)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One dump. False where the kernel says that it was interrupted by a change.
fn try_dump(netlink: &Netlink, family: u8, netns: u32, into: &mut Vec<Socket>) -> Result<bool> {
    send_request(netlink, family)?;
    let mut buffer = vec![0; MESSAGE_BYTES];
    let mut is_whole = true;
    loop {
        let size = netlink.recv(&mut buffer.as_mut_slice(), 0)?;
        let answer = answer::read(&buffer[..size], netns, into)?;
        is_whole &= !answer.is_interrupted;
        if answer.is_last {
            return Ok(is_whole);
        }
    }
}

fn send_request(netlink: &Netlink, family: u8) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id: if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    netlink.send(&bytes, 0)?;
    Ok(())
}
