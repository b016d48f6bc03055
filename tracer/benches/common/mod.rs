//! What benchmarks share: made-up connections, and processor time.

use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use tracer_common::event::{
    AcceptRecord, Addresses, COMM_LEN, Figures, GoneRecord, Header, NO_IDLE, NO_STACK, OpenRecord,
    StateRecord, kind,
};
use zerocopy::IntoBytes;

/// A second of boot time.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Connections a second of the recorded time.
const RATE: u64 = 30_000;

/// Processor time of this process.
pub(crate) fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let of = |time: nix::sys::time::TimeVal| -> Result<Duration> {
        Ok(Duration::new(
            time.tv_sec().try_into()?,
            u32::try_from(time.tv_usec())? * 1_000,
        ))
    };
    Ok(of(usage.user_time())? + of(usage.system_time())?)
}

/// The records of one connection with both ends here; one that `stays` is not closed.
pub(crate) fn connection(number: u64, stays: bool) -> Vec<Vec<u8>> {
    let (client, server) = (number * 2 + 1, number * 2 + 2);
    let at = number * (SECOND / RATE);
    let mut records = vec![
        open(client, at),
        state(client, at + 20_000, 2, 1),
        state(server, at + 18_000, 3, 1),
        accept(server, at + 40_000),
    ];
    if !stays {
        records.extend([
            state(client, at + 90_000, 1, 4),
            state(client, at + 95_000, 4, 5),
            state(client, at + 120_000, 5, 7),
            gone(client, at + 125_000),
            state(server, at + 94_000, 1, 8),
            state(server, at + 110_000, 8, 9),
            state(server, at + 130_000, 9, 7),
            gone(server, at + 131_000),
        ]);
    }
    records
}

fn header(kind: u32, sock: u64, at: u64) -> Header {
    Header {
        ts_ns: at,
        sock,
        kind,
        pid: 1_000 + (sock % 2) as u32,
        tid: 1_000 + (sock % 2) as u32,
        uid: 33,
    }
}

fn addresses(sock: u64) -> Addresses {
    let mut host = [0; 16];
    host[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let port = 32_768 + (sock.div_ceil(2) * 7 % 28_000) as u16;
    let (local_port, remote_port) = match sock % 2 {
        1 => (port, 80),
        _ => (80, port),
    };
    Addresses {
        local: host,
        remote: host,
        local_port,
        remote_port,
        family: 2,
        _pad: 0,
        netns: 4_026_531_833,
    }
}

fn open(sock: u64, at: u64) -> Vec<u8> {
    let record = OpenRecord {
        header: header(kind::OPEN, sock, at),
        addresses: addresses(sock),
        fd: 7 + (sock % 100) as i32,
        comm: *b"wrk\0\0\0\0\0\0\0\0\0\0\0\0\0",
        new: 2,
        _pad: 0,
        stack: 1,
        chain: 7,
    };
    record.as_bytes().to_vec()
}

fn accept(sock: u64, at: u64) -> Vec<u8> {
    let mut comm = [0; COMM_LEN];
    comm[..5].copy_from_slice(b"nginx");
    let record = AcceptRecord {
        header: header(kind::ACCEPT, sock, at),
        addresses: addresses(sock),
        fd: 9 + (sock % 100) as i32,
        comm,
        state: 1,
        _pad: 0,
        stack: NO_STACK,
        chain: 0,
    };
    record.as_bytes().to_vec()
}

fn state(sock: u64, at: u64, old: u16, new: u16) -> Vec<u8> {
    let record = StateRecord {
        header: header(kind::STATE, sock, at),
        addresses: addresses(sock),
        old,
        new,
        flags: 0,
        error: 0,
        shutdown: 0,
        idle_ms: NO_IDLE,
        figures: Figures {
            tx_bytes: 170,
            rx_bytes: 238 + sock % 3,
            retransmits: 0,
            srtt_us: 30 + (at % 40) as u32,
        },
    };
    record.as_bytes().to_vec()
}

fn gone(sock: u64, at: u64) -> Vec<u8> {
    let record = GoneRecord {
        header: header(kind::GONE, sock, at),
    };
    record.as_bytes().to_vec()
}
