//! The socket is freed.

use tracer_common::event::{GoneRecord, kind};

use crate::{
    emit::emit,
    filter,
    sock::Sock,
    task,
    turn::{Pair, Turn, was_end_told},
};

/// `sk` is being destroyed.
#[inline(always)]
pub fn on_destroy(turn: Turn, sk: &Sock) {
    if !turn.is_mine(Pair::Gone, sk, 0) {
        return;
    }
    // Without a cookie no record about this socket was ever written: it never
    // left CLOSE.
    let sock = sk.known_name();
    if sock == 0 {
        return;
    }
    if was_end_told(sk) {
        filter::wants_end(sock);
        return;
    }
    if sk.joins_mptcp() {
        tell(sock);
        return;
    }
    if !sk.is_users_tcp() {
        return;
    }
    if sk.is_kernels() {
        sk.forget_mptcp();
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) || !filter::wants_end(sock) {
        return;
    }
    tell(sock);
}

#[inline(always)]
fn tell(sock: u64) {
    emit(&GoneRecord {
        header: task::header(kind::GONE, sock, task::now()),
    });
}
