use std::num::NonZeroU32;

use proptest::prelude::*;
use tracer_common::event::{
    Addresses, COMM_LEN, ExitRecord, Figures, Header, NO_IDLE, NO_STACK, OpenRecord, StateRecord,
    kind,
};
use zerocopy::IntoBytes;

use super::{DecodeError, Event, decode};
use crate::tcp::State;

fn header(kind: u32) -> Header {
    Header {
        ts_ns: 5,
        sock: 7,
        kind,
        pid: 10,
        tid: 11,
        uid: 0,
    }
}

fn addresses(family: u16) -> Addresses {
    let mut remote = [0; 16];
    remote[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    Addresses {
        local: [0; 16],
        remote,
        local_port: 0,
        remote_port: 80,
        family,
        _pad: 0,
        netns: 4,
    }
}

fn syn_sent(family: u16) -> OpenRecord {
    OpenRecord {
        header: header(kind::OPEN),
        addresses: addresses(family),
        fd: 3,
        comm: [b'x'; COMM_LEN],
        new: 2,
        _pad: 0,
        stack: NO_STACK,
        chain: 0,
    }
}

#[test]
fn only_an_end_has_figures() {
    let mut record = StateRecord {
        header: header(kind::STATE),
        addresses: addresses(2),
        old: 9,
        new: 7,
        flags: 0,
        error: 0,
        shutdown: 3,
        idle_ms: NO_IDLE,
        figures: Figures {
            tx_bytes: 1,
            rx_bytes: 2,
            retransmits: 3,
            srtt_us: 4,
        },
    };
    let figures = |record: &StateRecord| match decode(record.as_bytes()) {
        Ok(Event::State { how, .. }) => how.figures,
        other => panic!("not a transition: {other:?}"),
    };
    assert_eq!(figures(&record).map(|figures| figures.rx_bytes), Some(2));
    record.new = 8;
    assert_eq!(figures(&record), None);
}

#[test]
fn an_opening_is_read_whole() {
    let event = decode(syn_sent(2).as_bytes()).expect("a valid record");
    let Event::State {
        ends,
        old,
        new,
        task,
        ..
    } = event
    else {
        panic!("not a transition: {event:?}");
    };
    assert_eq!((old, new), (State::Close, State::SynSent));
    assert_eq!(ends.remote.to_string(), "127.0.0.1:80");
    assert_eq!(
        (task.pid, task.tid, task.fd),
        (10, NonZeroU32::new(11), Some(3))
    );
}

#[test]
fn an_ipv6_socket_to_an_ipv4_peer_stays_ipv6() {
    let event = decode(syn_sent(10).as_bytes()).expect("a valid record");
    let Event::State { ends, .. } = event else {
        panic!("not a transition: {event:?}");
    };
    assert_eq!(ends.remote.to_string(), "[::ffff:127.0.0.1]:80");
}

#[test]
fn what_the_kernel_side_never_writes_is_an_error() {
    let mut record = syn_sent(2);
    record.new = 77;
    assert_eq!(
        decode(record.as_bytes()),
        Err(DecodeError::State { state: 77 })
    );
    assert_eq!(
        decode(syn_sent(1).as_bytes()),
        Err(DecodeError::Family { family: 1 })
    );
    let unknown = ExitRecord { header: header(99) };
    assert_eq!(
        decode(unknown.as_bytes()),
        Err(DecodeError::Kind { kind: 99 })
    );
    assert_eq!(decode(&[1, 2, 3]), Err(DecodeError::Short { len: 3 }));
    let whole = syn_sent(2);
    assert_eq!(
        decode(&whole.as_bytes()[..64]),
        Err(DecodeError::Short { len: 64 })
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_known_kind_makes_it_panic(kind in 1u32..10, rest in proptest::collection::vec(any::<u8>(), 0..160)) {
        let mut bytes = header(kind).as_bytes().to_vec();
        bytes.extend(rest);
        let _ = decode(&bytes);
    }
}
