//! Against answers that a kernel gave, and against what none should.

use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use proptest::{collection::vec, prelude::*};

use super::{Answer, AnswerError, INTERRUPTED, read};
use crate::{reconcile::Socket, tcp::State};

/// All IPv4 sockets of a network namespace: two connections in use and one in
/// each other state that lasts, whole with the dump's end.
const V4: &[u8] = include_bytes!("../../../../fuzz/corpus/sock_diag/v4");
/// Likewise for IPv6, one of them talking to an IPv4 peer.
const V6: &[u8] = include_bytes!("../../../../fuzz/corpus/sock_diag/v6");
/// Where nobody has a socket.
const NONE: &[u8] = include_bytes!("../../../../fuzz/corpus/sock_diag/none");
/// The answer to a request for a protocol that does not exist.
const REFUSED: &[u8] = include_bytes!("../../../../fuzz/corpus/sock_diag/refused");

/// Where the first message's header, its fixed part and its attributes begin.
const HEADER: usize = 0;
const BODY: usize = 16;
const ATTRIBUTES: usize = BODY + 72;

const DONE: Answer = Answer {
    is_last: true,
    is_interrupted: false,
};

fn parse(bytes: &[u8]) -> (Result<Answer, AnswerError>, Vec<Socket>) {
    let mut sockets = Vec::new();
    let answer = read(bytes, 7, &mut sockets);
    (answer, sockets)
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(BODY + payload.len()).expect("small");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

/// The first socket's message alone.
fn first() -> Vec<u8> {
    let length = u32::from_ne_bytes([V4[0], V4[1], V4[2], V4[3]]);
    V4[..usize::try_from(length).expect("small")].to_vec()
}

/// The first socket's message with some of its bytes changed.
fn first_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = first();
    message[at..at + bytes.len()].copy_from_slice(bytes);
    message
}

fn is_unreadable(bytes: &[u8]) -> bool {
    matches!(parse(bytes).0, Err(AnswerError::Unreadable(_)))
}

fn refusal(bytes: &[u8]) -> Option<i32> {
    match parse(bytes).0 {
        Err(AnswerError::Refused(error)) => error.raw_os_error(),
        _ => None,
    }
}

#[test]
fn a_kernels_answer_is_read_whole() {
    let (answer, sockets) = parse(V4);
    assert_eq!(answer.expect("an answer"), DONE);
    let in_state = |state| sockets.iter().filter(|s| s.state == state).count();
    let found = [
        State::Listen,
        State::Established,
        State::CloseWait,
        State::FinWait2,
        State::TimeWait,
    ]
    .map(in_state);
    assert_eq!(found, [1, 4, 1, 1, 1]);
    let listener = sockets.iter().find(|s| s.state == State::Listen);
    let listener = listener.expect("a listener");
    for socket in &sockets {
        let ends = [socket.ends.local, socket.ends.remote];
        assert!(socket.cookie != 0, "{socket:?}");
        assert!(
            ends.contains(&listener.ends.local) && socket.ends.netns == 7,
            "{socket:?}"
        );
        // The kernel keeps no full socket for these: nobody holds them.
        let is_mini = [State::TimeWait, State::FinWait2].contains(&socket.state);
        assert_eq!(socket.is_mini, is_mini, "{socket:?}");
    }
    // One connection of all carried data: five bytes.
    let sent: u64 = sockets.iter().map(|socket| socket.figures.tx_bytes).sum();
    assert_eq!(sent, 5);
}

#[test]
fn ipv6_sockets_stay_so() {
    let (answer, sockets) = parse(V6);
    assert_eq!(answer.expect("an answer"), DONE);
    assert!(sockets.iter().all(|socket| socket.ends.local.is_ipv6()));
    let is_mapped = |socket: &&Socket| socket.ends.remote.ip().to_string() == "::ffff:127.0.0.1";
    assert_eq!(sockets.iter().filter(is_mapped).count(), 1);
}

#[test]
fn an_end_without_sockets_is_an_end() {
    assert_eq!(parse(NONE).0.expect("an answer"), DONE);
    assert_eq!(parse(&message(NLMSG_DONE, 0, &[])).0.expect("old"), DONE);
    assert_eq!(parse(&[]).0.expect("nothing"), Answer::default());
    assert_eq!(
        parse(&message(NLMSG_NOOP, 0, &[])).0.expect("no more"),
        Answer::default()
    );
}

#[test]
fn an_interruption_is_told_wherever_it_shows() {
    let interrupted = first_with(HEADER + 6, &(INTERRUPTED | 2).to_ne_bytes());
    let bytes = [interrupted, NONE.to_vec()].concat();
    let (answer, sockets) = parse(&bytes);
    let is_interrupted = true;
    assert_eq!(
        answer.expect("an answer"),
        Answer {
            is_interrupted,
            ..DONE
        }
    );
    assert_eq!(sockets.len(), 1);
}

#[test]
fn a_refusal_is_never_an_end() {
    const ENOENT: i32 = 2;
    assert_eq!(refusal(REFUSED), Some(ENOENT));
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        for (code, errno) in [(-1, 1), (i32::MIN, i32::MAX)] {
            let bytes = message(kind, 0, &code.to_ne_bytes());
            assert_eq!(refusal(&bytes), Some(errno));
        }
        assert!(is_unreadable(&message(kind, 0, &[1, 2])));
    }
    let overrun = parse(&message(NLMSG_OVERRUN, 0, &[])).0;
    assert!(matches!(overrun, Err(AnswerError::Overrun)));
}

#[test]
fn a_message_ends_within_the_datagram_and_after_its_header() {
    let whole = u32::try_from(first().len()).expect("small");
    for length in [
        0,
        1,
        15,
        whole + 1,
        whole + 4,
        1 << 16,
        u32::MAX - 2,
        u32::MAX,
    ] {
        let (answer, sockets) = parse(&first_with(HEADER, &length.to_ne_bytes()));
        assert!(
            matches!(answer, Err(AnswerError::Unreadable(_))),
            "{length}"
        );
        assert_eq!(sockets, []);
    }
    for cut in 1..first().len() {
        assert!(is_unreadable(&first()[..cut]), "{cut}");
    }
}

#[test]
fn an_attribute_ends_within_its_message_and_after_its_header() {
    let room = u16::try_from(first().len() - ATTRIBUTES).expect("small");
    for length in [0, 1, 3, room + 1, u16::MAX] {
        let bytes = first_with(ATTRIBUTES, &length.to_ne_bytes());
        assert!(is_unreadable(&bytes), "{length}");
    }
}

#[test]
fn what_is_not_a_tcp_socket_is_none() {
    assert!(is_unreadable(&first_with(HEADER + 4, &99u16.to_ne_bytes())));
    for family in [0, 99] {
        assert!(is_unreadable(&first_with(BODY, &[family])));
    }
    for state in [0, 13, 255] {
        let (answer, sockets) = parse(&first_with(BODY + 1, &[state]));
        assert_eq!(answer.expect("readable"), Answer::default());
        assert_eq!(sockets, []);
    }
    assert!(is_unreadable(&message(SOCK_DIAG_BY_FAMILY, 0, &[2])));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic_or_invent(
        damage in vec((0..V4.len(), any::<u8>()), 1..8),
        cut in 0..=V4.len(),
    ) {
        let mut bytes = V4.to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let (_, sockets) = parse(&bytes);
        // A socket takes a header and its fixed part at least.
        prop_assert!(sockets.len() <= cut / ATTRIBUTES);
    }

    #[test]
    fn a_truncated_answer_has_no_end(cut in 0..V4.len()) {
        let (answer, sockets) = parse(&V4[..cut]);
        prop_assert!(!answer.is_ok_and(|answer| answer.is_last));
        prop_assert_eq!(&sockets[..], &parse(V4).1[..sockets.len()]);
    }
}
