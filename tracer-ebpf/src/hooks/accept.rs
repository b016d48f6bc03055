//! accept(2) and accept4(2): who owns a server-side socket, by which fd; and
//! whoever takes one without them, as io_uring does.

use core::ffi::c_void;

use aya_ebpf::programs::tracing::StackIdContext;
use tracer_common::event::{AcceptRecord, NO_FD, kind};

use crate::{
    emit::emit,
    filter,
    fold::{Fold, Taker},
    maps::{ACCEPT, CALLS, Call},
    sock::Sock,
    stack::{self, Asker, Stack},
    task,
    turn::{Pair, count_taken_over},
};

/// The current task enters accept(2) or accept4(2).
#[inline(always)]
pub fn on_enter() {
    let call = Call {
        start_ns: 0,
        sock: 0,
        fd: NO_FD,
        what: ACCEPT,
    };
    // Where the map is full the socket is told twice, first without its fd.
    let _ = CALLS.insert(task::pid_tgid(), call, 0);
}

/// The current task takes `newsk`, which may be null, out of the accept queue.
/// Inside of a call, the call's return tells it, with the fd.
#[inline(always)]
pub fn on_taken(ctx: &impl StackIdContext, newsk: *const c_void) {
    if newsk.is_null() || task::is_in(ACCEPT) {
        return;
    }
    report(&Sock::from_address(newsk), NO_FD, || {
        stack::of_current(ctx, Asker::Takes)
    });
}

/// The current task's accept call returns `fd`, or a negative errno.
#[inline(always)]
pub fn on_return(ctx: &impl StackIdContext, fd: i32) {
    let _ = CALLS.remove(task::pid_tgid());
    if let Some(sk) = accepted(fd) {
        report(&sk, fd, || stack::of_current(ctx, Asker::Accepts));
    }
}

/// After [`on_return`], which has dealt with the call, unless the kernel skipped it.
#[inline(always)]
pub fn on_return_again(fd: i32) {
    if CALLS.remove(task::pid_tgid()).is_err() {
        return;
    }
    count_taken_over(Pair::AcceptReturn);
    if let Some(sk) = accepted(fd) {
        report(&sk, fd, stack::left_out);
    }
}

#[inline(always)]
fn accepted(fd: i32) -> Option<Sock> {
    u32::try_from(fd).ok().and_then(Sock::from_fd)
}

#[inline(always)]
fn report(sk: &Sock, fd: i32, stack: impl FnOnce() -> Stack) {
    let sock = sk.known_name();
    // One that is folded was looked at when it was born.
    let fold = Fold::of(sock);
    if fold.is_none() && !is_wanted(sk) {
        return;
    }
    // 0: established before the tracer started and not in its first snapshot
    // yet; that snapshot will show the fd.
    if sock == 0 || !filter::wants_accept(sock) {
        return;
    }
    let stack = stack();
    let taker = Taker {
        header: task::header(kind::ACCEPT, sock, task::now()),
        fd,
        comm: task::comm(),
        stack,
    };
    if fold.is_some_and(|fold| fold.adds_accept(&taker)) {
        return;
    }
    let Some(addresses) = sk.addresses() else {
        return;
    };
    emit(&AcceptRecord {
        header: taker.header,
        addresses,
        fd,
        comm: taker.comm,
        state: sk.state(),
        _pad: 0,
        stack: taker.stack.place,
        chain: taker.stack.chain,
    });
}

#[inline(always)]
fn is_wanted(sk: &Sock) -> bool {
    if !sk.is_users_tcp() {
        return false;
    }
    sk.forget_mptcp();
    sk.addresses()
        .is_some_and(|addresses| filter::wants(&addresses))
}
