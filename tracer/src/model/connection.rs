//! A connection as every view sees it. Pure.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use jiff::Timestamp;

use crate::{
    clock::{BootTime, WallClock},
    model::untrusted::Untrusted,
    table::connection::{self as tracked, ConnId, Connection as Tracked},
    tcp::{ClosedBy, Known, OwnerKnown, ResetBy, Role, State},
};

/// One row: wall times, spans in milliseconds, text made safe. `None` means
/// that it is not known, and is shown as such.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `cookie.generation`, the cookie in hexadecimal as in `ss -e`.
    pub id: String,
    /// Owner's process id.
    pub pid: Option<u32>,
    /// Thread that opened or accepted it.
    pub tid: Option<u32>,
    /// Owner's name.
    pub comm: Option<Untrusted>,
    /// File descriptor in the owner.
    pub fd: Option<i32>,
    /// Real uid of the opener.
    pub uid: Option<u32>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Which side the owner is on.
    pub role: Role,
    /// This host's end, `ADDRESS:PORT`; `*` for port 0.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Now.
    pub state: State,
    /// How it is known.
    pub known: Known,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When it first was ESTABLISHED.
    pub established_at: Option<Timestamp>,
    /// When the program let go.
    pub app_closed_at: Option<Timestamp>,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Who ended it first.
    pub closed_by: Option<ClosedBy>,
    /// Whose RST it met.
    pub reset_by: Option<ResetBy>,
    /// Errno it died of.
    pub error: Option<i32>,
    /// Milliseconds from open to end, or to now.
    pub age_ms: Option<u64>,
    /// Milliseconds in the present state.
    pub state_ms: Option<u64>,
    /// Milliseconds since payload moved.
    pub idle_ms: Option<u64>,
    /// Payload bytes sent.
    pub tx_bytes: u64,
    /// Payload bytes received.
    pub rx_bytes: u64,
    /// Bytes not read by the owner; for a listener, connections not accepted.
    pub recv_q: Option<u32>,
    /// Bytes not acknowledged by the peer; for a listener, the backlog.
    pub send_q: Option<u32>,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
    /// Errno of connect(2), 0 for success.
    pub connect_errno: Option<i32>,
    /// Microseconds spent in connect(2).
    pub connect_us: Option<u64>,
    /// TIME_WAIT or FIN_WAIT2, left in the kernel without an owner.
    pub lingers: Option<State>,
    /// When the kernel drops what lingers, at the latest.
    pub lingers_until: Option<Timestamp>,
    /// States entered since it is traced.
    pub history: Vec<(State, Timestamp)>,
    /// Who has it open, as the latest snapshot told; nobody once all let go.
    pub holders: Option<Vec<Holder>>,
    /// How the owner is known.
    pub owner_known: Option<OwnerKnown>,
    /// Process that called connect, accept or listen.
    pub opener_pid: Option<u32>,
    /// Thread that did.
    pub opener_tid: Option<u32>,
    /// Its name at that time.
    pub opener_comm: Option<Untrusted>,
    /// The file descriptor that it got.
    pub opener_fd: Option<i32>,
}

/// A process that has a connection open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// File descriptor.
    pub fd: i32,
    /// Name.
    pub comm: Untrusted,
}

impl Connection {
    /// The row of a tracked connection at `now`.
    #[must_use]
    pub fn new(tracked: &Tracked, clock: &WallClock, now: BootTime) -> Self {
        let wall = |at: Option<BootTime>| at.map(|at| clock.at(at));
        let owner = tracked.owner.as_ref();
        let opener = tracked.opener();
        let holder = |holder: &tracked::Holder| Holder {
            pid: holder.pid,
            fd: holder.fd,
            comm: Untrusted::from_bytes(holder.comm.bytes()),
        };
        Self {
            id: name(tracked.id),
            pid: owner.map(|owner| owner.pid),
            tid: owner.and_then(|owner| owner.tid).map(NonZeroU32::get),
            comm: owner.map(|owner| Untrusted::from_bytes(owner.comm.bytes())),
            fd: owner.and_then(|owner| owner.fd),
            uid: owner.map(|owner| owner.uid),
            netns: tracked.netns,
            role: tracked.role,
            local: endpoint(tracked.local()),
            remote: endpoint(tracked.remote()),
            state: tracked.state,
            known: tracked.known,
            opened_at: wall(tracked.opened_at),
            established_at: wall(tracked.established_at),
            app_closed_at: wall(tracked.end.app_closed_at),
            closed_at: wall(tracked.end.at),
            closed_by: tracked.end.by,
            reset_by: tracked.end.reset_by,
            error: (tracked.end.error != 0).then_some(tracked.end.error),
            age_ms: tracked.age_ms(now),
            state_ms: tracked.state_ms(now),
            idle_ms: tracked.idle_ms(now),
            tx_bytes: tracked.tx_bytes,
            rx_bytes: tracked.rx_bytes,
            recv_q: tracked.sample.map(|sample| sample.recv_q),
            send_q: tracked.sample.map(|sample| sample.send_q),
            retransmits: tracked.retransmits,
            srtt_us: tracked.srtt_us,
            connect_errno: tracked.connect.map(|connect| connect.errno),
            connect_us: tracked
                .connect
                .map(|connect| u64::from(connect.latency_us())),
            lingers: tracked.end.linger.map(|linger| linger.state),
            lingers_until: wall(tracked.end.linger.map(|linger| linger.until)),
            history: tracked
                .history()
                .map(|(state, at)| (state, clock.at(at)))
                .collect(),
            holders: tracked
                .holders()
                .map(|holders| holders.iter().map(holder).collect()),
            owner_known: tracked.owner_known,
            opener_pid: opener.map(|opener| opener.pid),
            opener_tid: opener.and_then(|opener| opener.tid).map(NonZeroU32::get),
            opener_comm: opener.map(|opener| Untrusted::from_bytes(opener.comm.bytes())),
            opener_fd: opener.and_then(|opener| opener.fd),
        }
    }
}

/// The longest of a connection's names and ends, in most cases.
const NAME_BYTES: usize = 32;

/// `cookie.generation`, the cookie in hexadecimal; in one allocation.
fn name(id: ConnId) -> String {
    let mut text = String::with_capacity(NAME_BYTES);
    let _ = write!(text, "{id}");
    text
}

/// `ADDRESS:PORT`, IPv6 in brackets, as `ss -n` writes it.
#[must_use]
pub fn endpoint(address: SocketAddr) -> String {
    let mut text = String::with_capacity(NAME_BYTES);
    let mut room = itoa::Buffer::new();
    match address.ip() {
        // Each line of a trace has two, and `Display` is slow.
        IpAddr::V4(v4) => {
            for octet in v4.octets() {
                text.push_str(room.format(octet));
                text.push('.');
            }
            text.pop();
        }
        IpAddr::V6(v6) => {
            let _ = write!(text, "[{v6}]");
        }
    }
    text.push(':');
    match address.port() {
        0 => text.push('*'),
        port => text.push_str(room.format(port)),
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_end_is_written_as_an_address_and_a_port(ip: IpAddr, port in 1..=u16::MAX) {
            let end = SocketAddr::new(ip, port);
            prop_assert_eq!(endpoint(end), end.to_string());
            let without = SocketAddr::new(ip, 0).to_string();
            let without = without.strip_suffix('0').map(|start| format!("{start}*"));
            prop_assert_eq!(Some(endpoint(SocketAddr::new(ip, 0))), without);
        }
    }
}
