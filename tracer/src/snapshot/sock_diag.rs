//! Lists TCP sockets through sock_diag (netlink), in every network namespace
//! that has a process or a name and could be entered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer, nlas::Nla},
};
use netlink_sys::{Socket as Netlink, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::proc_net;
use crate::{
    decode::{Ends, Figures, tcp_info::TcpInfo},
    reconcile::{Snapshot, Socket},
    table::connection::Sample,
    tcp::State,
};

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
        let of: FxHashMap<u32, u32> = processes()?
            .filter_map(|pid| Some((pid, inode_of(namespace_of(pid))?)))
            .collect();
        let mut all: FxHashSet<u32> = of.values().copied().collect();
        all.extend(named().filter_map(inode_of));
        all.insert(self.own);
        self.sockets.retain(|netns, _| all.contains(netns));
        let others = of.iter().map(|(&pid, &netns)| (netns, pid));
        self.others = others
            .filter(|(netns, _)| !self.sockets.contains_key(netns))
            .collect();
        Ok(Existing { of, all })
    }

    /// Lists all TCP sockets into `snapshot`.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub(super) fn list(&self, snapshot: &mut Snapshot) -> Result<()> {
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
        let mut rest = &buffer[..size];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .context("the kernel's answer cannot be read")?;
            /// `NLM_F_DUMP_INTR`, include/uapi/linux/netlink.h
            const INTERRUPTED: u16 = 0x10;
            is_whole &= message.header.flags & INTERRUPTED == 0;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    into.extend(socket(&response, netns));
                }
                NetlinkPayload::Done(_) => return Ok(is_whole),
                NetlinkPayload::Error(error) => bail!("{}", error.to_io()),
                _ => {}
            }
            // Messages are padded to four bytes; the last may lack its padding.
            let length = usize::try_from(message.header.length)?.next_multiple_of(4);
            if length == 0 {
                bail!("the kernel's answer has an empty message");
            }
            rest = rest.get(length..).unwrap_or_default();
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

fn socket(response: &InetResponse, netns: u32) -> Option<Socket> {
    let header = &response.header;
    let id = &header.socket_id;
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(bytes) => Some(TcpInfo::parse(bytes)),
        _ => None,
    });
    let state = State::from_kernel(header.state.into())?;
    // A SYN_SENT socket's segment in flight is its SYN.
    let backoff = match header.timer {
        Some(Timer::Retransmit(_, times)) => u32::from(times),
        _ => info.map_or(0, |info| info.retransmits.into()),
    };
    let info = info.unwrap_or_default();
    Some(Socket {
        cookie: u64::from_ne_bytes(id.cookie),
        ends: Ends {
            local: SocketAddr::new(id.source_address, id.source_port),
            remote: SocketAddr::new(id.destination_address, id.destination_port),
            netns,
        },
        state,
        // A request socket shows as SYN_RECV; a full one is in that state for
        // microseconds only.
        is_mini: state.is_mini_socket()
            || header.timer == Some(Timer::TimeWait)
            || (state == State::SynRecv && header.inode == 0),
        uid: header.uid,
        sample: Sample {
            recv_q: header.recv_queue,
            send_q: header.send_queue,
            // Before the first acknowledgement the kernel counts from boot.
            ack_received_ms: (state != State::SynSent).then_some(info.last_ack_recv.into()),
            backoff,
            ..sample(&info, header.inode)
        },
        figures: figures(&info),
    })
}

/// What `tcp_info` tells of times and segments.
pub(super) fn sample(info: &TcpInfo, inode: u32) -> Sample {
    Sample {
        inode,
        data_sent_ms: (info.data_segs_out > 0).then_some(info.last_data_sent.into()),
        data_received_ms: (info.data_segs_in > 0).then_some(info.last_data_recv.into()),
        data_segments_out: info.data_segs_out,
        data_segments_in: info.data_segs_in,
        ..Sample::default()
    }
}

/// What `tcp_info` tells of totals.
pub(super) fn figures(info: &TcpInfo) -> Figures {
    Figures {
        tx_bytes: info.bytes_sent.saturating_sub(info.bytes_retrans),
        rx_bytes: info.bytes_received,
        retransmits: info.total_retrans,
        srtt_us: info.rtt,
    }
}
