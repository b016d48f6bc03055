//! What the kernel answers on netlink: bytes to sockets. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{io, net::SocketAddr};

use netlink_packet_core::{DecodeError, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    inet::{InetResponse, Timer as Running, nlas::Nla},
};
use thiserror::Error;

use crate::{
    decode::{Ends, Figures, tcp_info::TcpInfo},
    reconcile::Socket,
    table::connection::{Sample, Timer},
    tcp::State,
};

/// A change cut the dump short: `NLM_F_DUMP_INTR`, include/uapi/linux/netlink.h.
const INTERRUPTED: u16 = 0x10;

/// Messages start at multiples of this: `NLMSG_ALIGNTO`, ibidem.
const ALIGNMENT: usize = 4;

/// Why an answer ends the dump.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// Not a message of sock_diag, or one that is damaged.
    #[error("the kernel's answer cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// The kernel refuses or has failed.
    #[error("{0}")]
    Refused(io::Error),
    /// The kernel could not keep what it had to say: `NLMSG_OVERRUN`.
    #[error("the kernel's answer has been lost in part")]
    Overrun,
}

/// What one datagram said beside its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Nothing follows: it holds the end of the dump.
    pub is_last: bool,
    /// A change interrupted the dump: sockets may be missing, or there twice.
    pub is_interrupted: bool,
}

/// Reads one datagram, which holds a message or several, and adds the sockets of
/// the namespace `netns` that it lists.
///
/// # Errors
/// [`AnswerError`]; sockets that came before are added.
pub fn read(bytes: &[u8], netns: u32, sockets: &mut Vec<Socket>) -> Result<Answer, AnswerError> {
    let mut answer = Answer::default();
    let mut rest = bytes;
    while !rest.is_empty() && !answer.is_last {
        // Refuses a length that exceeds the rest or is less than the header's.
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)?;
        answer.is_interrupted |= message.header.flags & INTERRUPTED != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                sockets.extend(socket(&response, netns));
            }
            // The dump's own outcome: 0, or the negative errno that ended it.
            NetlinkPayload::Done(done) if done.code < 0 => return Err(refused(done.code)),
            NetlinkPayload::Done(_) => answer.is_last = true,
            NetlinkPayload::Error(error) => return Err(refused(error.raw_code())),
            NetlinkPayload::Overrun(_) => return Err(AnswerError::Overrun),
            _ => {}
        }
        // The last message may lack its padding.
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let padded = length.checked_next_multiple_of(ALIGNMENT);
        rest = padded.and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    Ok(answer)
}

/// The crate's own conversion overflows on the lowest number.
fn refused(code: i32) -> AnswerError {
    AnswerError::Refused(io::Error::from_raw_os_error(code.saturating_neg()))
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
        Some(Running::Retransmit(_, times)) => u32::from(times),
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
            || header.timer == Some(Running::TimeWait)
            || (state == State::SynRecv && header.inode == 0),
        uid: header.uid,
        sample: Sample {
            recv_q: header.recv_queue,
            send_q: header.send_queue,
            // Before the first acknowledgement the kernel counts from boot.
            ack_received_ms: (state != State::SynSent)
                .then_some(info.last_ack_recv.into())
                .into(),
            backoff,
            timer: match header.timer {
                None | Some(Running::TimeWait) => Timer::None,
                Some(Running::Retransmit(..)) => Timer::Retransmit,
                Some(Running::KeepAlive(_)) => Timer::Keepalive,
                Some(Running::Probe(_)) => Timer::ZeroWindow,
            },
            ..sample(&info, header.inode)
        },
        figures: figures(&info),
    })
}

/// What `tcp_info` tells of times and segments.
pub(super) fn sample(info: &TcpInfo, inode: u32) -> Sample {
    Sample {
        inode,
        data_sent_ms: (info.data_segs_out > 0)
            .then_some(info.last_data_sent.into())
            .into(),
        data_received_ms: (info.data_segs_in > 0)
            .then_some(info.last_data_recv.into())
            .into(),
        data_segments_out: info.data_segs_out,
        data_segments_in: info.data_segs_in,
        probes: info.probes,
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

#[cfg(test)]
mod tests;
