//! accept(2) and accept4(2): who owns a server-side socket, by which fd.

use tracer_common::event::{AcceptRecord, kind};

use crate::{emit::emit, filter, sock::Sock, task};

/// The current task's accept call returns `fd`, or a negative errno.
#[inline(always)]
pub fn on_return(fd: i32) {
    if fd < 0 {
        return;
    }
    let Some(sk) = Sock::from_fd(fd as u32) else {
        return;
    };
    if !sk.is_users_tcp() {
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    if !filter::wants(&addresses) {
        return;
    }
    // 0: established before the tracer started and not in its first snapshot
    // yet; that snapshot will show the fd.
    let sock = sk.known_name();
    if sock == 0 || !filter::wants_accept(sock) {
        return;
    }
    emit(&AcceptRecord {
        header: task::header(kind::ACCEPT, sock, task::now()),
        addresses,
        fd,
        comm: task::comm(),
        state: sk.state(),
        _pad: [0; 3],
    });
}
