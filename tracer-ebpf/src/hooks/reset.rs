//! `tcp_send_reset` and `tcp_receive_reset`: whose RST ended a connection.

use tracer_common::event::{
    ResetRecord, kind, phase,
    reset::{RECEIVED, SENT},
};

use crate::{
    emit::emit,
    filter,
    fold::Fold,
    sock::{Sock, tcp},
    task,
    turn::{Pair, Turn},
};

/// A RST went out or came in for `sk`, which may be null: most go out for
/// segments that no socket wants.
#[inline(always)]
pub fn on_reset(turn: Turn, pair: Pair, sk: &Sock) {
    if !turn.is_mine(pair, sk, 0) {
        return;
    }
    // The state lies at the same place in a mini-socket, little else does.
    if sk.is_null() || matches!(sk.state(), 0 | tcp::TIME_WAIT | tcp::NEW_SYN_RECV) {
        return;
    }
    let sock = sk.known_name();
    if sock == 0 || sk.state() == tcp::LISTEN || !sk.is_users_tcp() {
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) || !filter::is_followed(sock) {
        return;
    }
    let by = match pair {
        Pair::ResetSent => SENT,
        _ => RECEIVED,
    };
    let ts_ns = task::now();
    if Fold::of(sock).is_some_and(|fold| fold.notes(ts_ns, phase::RESET, by as u8, 0)) {
        return;
    }
    emit(&ResetRecord {
        header: task::header(kind::RESET, sock, ts_ns),
        by,
        _pad: 0,
    });
}
