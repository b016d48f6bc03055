//! Bytes to events: the only place that sees raw records. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use thiserror::Error;
use tracer_common::event::{
    AcceptRecord, Addresses, CloseRecord, ConnectRecord, ExecRecord, ExitRecord, GoneRecord,
    Header, JoinRecord, NO_FD, NO_IDLE, NO_STACK, OpenRecord, ResetRecord, StateRecord,
    TimeWaitRecord, flag, is_freed_with, kind, reset,
};
use zerocopy::FromBytes;

use crate::{clock::BootTime, tcp::State};

pub mod chain;
pub mod event;
pub mod fold;
pub mod tcp_info;

pub use event::{Circumstance, Comm, Ends, Event, Figures, Owner, StackId};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than its kind.
    #[error("record of {len} bytes is too short for its kind")]
    Short {
        /// Bytes there.
        len: usize,
    },
    /// No such kind.
    #[error("record of unknown kind {kind}")]
    Kind {
        /// The number found.
        kind: u32,
    },
    /// No such TCP state.
    #[error("unknown TCP state {state}")]
    State {
        /// The number found.
        state: u16,
    },
    /// No such place in the map of call stacks.
    #[error("no place {place} for a call stack")]
    Stack {
        /// The number found.
        place: i32,
    },
    /// Neither IPv4 nor IPv6.
    #[error("unknown address family {family}")]
    Family {
        /// The number found.
        family: u16,
    },
}

/// When a process ended, if a record says that one has.
#[must_use]
pub fn exited_at(bytes: &[u8]) -> Option<BootTime> {
    let header: Header = read(bytes).ok()?;
    (header.kind == kind::EXIT).then(|| BootTime::from_ns(header.ts_ns))
}

/// Decodes one record of the ring.
///
/// # Errors
/// [`DecodeError`] where the bytes are not what the kernel side writes.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let header: Header = read(bytes)?;
    let at = BootTime::from_ns(header.ts_ns);
    let sock = header.sock;
    Ok(match header.kind {
        kind::OPEN => {
            let record: OpenRecord = read(bytes)?;
            Event::State {
                at,
                sock,
                ends: ends(&record.addresses)?,
                old: State::Close,
                new: state(record.new)?,
                how: Circumstance::default(),
                task: owner(&header, Comm(record.comm), record.fd, stack(record.stack)?),
            }
        }
        kind::STATE => {
            let record: StateRecord = read(bytes)?;
            let new = state(record.new)?;
            Event::State {
                at,
                sock,
                ends: ends(&record.addresses)?,
                old: state(record.old)?,
                new,
                how: Circumstance {
                    idle_ms: (record.idle_ms != NO_IDLE).then_some(record.idle_ms),
                    figures: (new == State::Close).then(|| figures(&record.figures)),
                    ..how(new, record.flags, record.shutdown, record.error)
                },
                task: owner(&header, Comm::default(), NO_FD, None),
            }
        }
        kind::CONNECT => {
            let record: ConnectRecord = read(bytes)?;
            Event::Connect {
                at,
                sock,
                errno: record.ret.saturating_neg().max(0),
                latency_ns: record.latency_ns,
            }
        }
        kind::ACCEPT => {
            let record: AcceptRecord = read(bytes)?;
            Event::Accept {
                at,
                sock,
                ends: ends(&record.addresses)?,
                owner: owner(&header, Comm(record.comm), record.fd, stack(record.stack)?),
                state: state(record.state)?,
            }
        }
        kind::GONE => {
            let _: GoneRecord = read(bytes)?;
            Event::Gone { at, sock }
        }
        kind::JOIN => {
            let _: JoinRecord = read(bytes)?;
            Event::Join { at, sock }
        }
        kind::EXIT => {
            let _: ExitRecord = read(bytes)?;
            Event::Exit {
                at,
                pid: header.pid,
            }
        }
        kind::EXEC => {
            let _: ExecRecord = read(bytes)?;
            Event::Exec {
                at,
                pid: header.pid,
            }
        }
        kind::CLOSE => {
            let record: CloseRecord = read(bytes)?;
            Event::Close {
                at,
                sock,
                exiting: record.flags & flag::EXITING != 0,
            }
        }
        kind::TIME_WAIT => {
            let record: TimeWaitRecord = read(bytes)?;
            Event::TimeWait {
                at,
                sock,
                state: state(record.state)?,
                stays: Duration::from_nanos(record.stays_ns),
            }
        }
        kind::RESET => {
            let record: ResetRecord = read(bytes)?;
            Event::Reset {
                at,
                sock,
                by_us: record.by == reset::SENT,
            }
        }
        kind => return Err(DecodeError::Kind { kind }),
    })
}

/// Copies a record out, so that the ring's alignment does not matter.
fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    match T::read_from_prefix(bytes) {
        Ok((record, _)) => Ok(record),
        Err(_) => Err(DecodeError::Short { len: bytes.len() }),
    }
}

fn how(new: State, flags: u32, shutdown: u32, error: i32) -> Circumstance {
    Circumstance {
        in_shutdown: flags & flag::IN_SHUTDOWN != 0,
        exiting: flags & flag::EXITING != 0,
        peer_done: flags & flag::PEER_DONE != 0,
        orphan: flags & flag::ORPHAN != 0,
        both_shut: shutdown & 3 == 3,
        subflow: flags & flag::SUBFLOW != 0,
        freed: new == State::Close && is_freed_with(flags, error),
        error,
        ..Circumstance::default()
    }
}

fn figures(figures: &tracer_common::event::Figures) -> Figures {
    Figures {
        tx_bytes: figures.tx_bytes,
        rx_bytes: figures.rx_bytes,
        retransmits: figures.retransmits,
        srtt_us: figures.srtt_us,
    }
}

fn state(number: u16) -> Result<State, DecodeError> {
    State::from_kernel(number).ok_or(DecodeError::State { state: number })
}

fn stack(place: i32) -> Result<Option<StackId>, DecodeError> {
    if place == NO_STACK {
        return Ok(None);
    }
    let stack = u32::try_from(place).ok().and_then(StackId::at);
    stack.map(Some).ok_or(DecodeError::Stack { place })
}

fn owner(header: &Header, comm: Comm, fd: i32, stack: Option<StackId>) -> Owner {
    Owner {
        pid: header.pid,
        tid: NonZeroU32::new(header.tid),
        uid: header.uid,
        comm,
        fd: (fd != NO_FD).then_some(fd),
        stack,
    }
}

fn ends(addresses: &Addresses) -> Result<Ends, DecodeError> {
    let address = |bytes: [u8; 16]| {
        let v6 = Ipv6Addr::from(bytes);
        match addresses.family {
            AF_INET => Ok(IpAddr::V4(
                v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
            )),
            AF_INET6 => Ok(IpAddr::V6(v6)),
            family => Err(DecodeError::Family { family }),
        }
    };
    Ok(Ends {
        local: SocketAddr::new(address(addresses.local)?, addresses.local_port),
        remote: SocketAddr::new(address(addresses.remote)?, addresses.remote_port),
        netns: addresses.netns,
    })
}

#[cfg(test)]
mod tests;
