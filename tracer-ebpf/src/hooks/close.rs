//! `tcp_close`: the last reference from a program is gone.

use tracer_common::event::{CloseRecord, flag, kind};

use crate::{
    emit::emit,
    filter,
    fold::Fold,
    sock::Sock,
    task,
    turn::{Pair, Turn},
};

/// The current task closes `sk`. Runs before the close changes any state, in the
/// context of whoever let go last: close(2), exit, or the end of a passed fd.
#[inline(always)]
pub fn on_close(turn: Turn, sk: &Sock) {
    if !turn.is_mine(Pair::Close, sk, 0) {
        return;
    }
    // Without a cookie no record about this socket was ever written.
    let sock = sk.known_name();
    if sock == 0 || !sk.is_users_tcp() {
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) || !filter::is_followed(sock) {
        return;
    }
    let header = task::header(kind::CLOSE, sock, task::now());
    let flags = if task::is_exiting() { flag::EXITING } else { 0 };
    if Fold::of(sock).is_some_and(|fold| fold.adds_close(header.ts_ns, flags)) {
        return;
    }
    emit(&CloseRecord {
        header,
        flags,
        _pad: 0,
    });
}
