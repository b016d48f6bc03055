//! connect(2): the opener's fd, what the call returned, and how long it took.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use tracer_common::{
    drop::CALL_FORGOTTEN,
    event::{ConnectRecord, NO_FD, kind},
};

use crate::{
    emit::{count, emit},
    fold::Fold,
    maps::{CALLS, CONNECT, Call},
    task,
    turn::{Pair, Turn, count_taken_over},
};

/// The current task enters connect(2) on `fd`.
#[inline(always)]
pub fn on_enter(ctx: &impl EbpfContext, fd: i32) {
    if CALLS.insert(task::pid_tgid(), begun(fd), 0).is_err() {
        count(CALL_FORGOTTEN);
        warn!(
            ctx,
            "more tasks in connect(2) and accept(2) than are remembered: some connections lack their fd"
        );
    }
}

/// After [`on_enter`], which has remembered the call, unless the kernel skipped it.
#[inline(always)]
pub fn on_enter_again(fd: i32) {
    if !task::is_in(CONNECT) && CALLS.insert(task::pid_tgid(), begun(fd), 0).is_ok() {
        count_taken_over(Pair::ConnectEntry);
    }
}

#[inline(always)]
fn begun(fd: i32) -> Call {
    Call {
        start_ns: task::now(),
        sock: 0,
        fd,
        what: CONNECT,
    }
}

/// Ties the call that the current task is in to the socket it has just moved to
/// SYN_SENT. Returns the fd, or [`NO_FD`] outside of connect(2).
#[inline(always)]
pub fn claim(sock: u64) -> i32 {
    let Some(call) = CALLS.get_ptr_mut(task::pid_tgid()) else {
        return NO_FD;
    };
    // SAFETY: entries are keyed by task, so only the current task writes this
    // one, and it lives until that task's own connect call returns.
    let call = unsafe { &mut *call };
    if call.what != CONNECT {
        return NO_FD;
    }
    call.sock = sock;
    call.fd
}

/// The current task's connect(2) returns `ret`. Only calls that opened a TCP
/// connection are reported: a later call on the same socket (EALREADY, EISCONN)
/// and other families never reach SYN_SENT. The second of two programs finds no call
/// unless the first was skipped.
#[inline(always)]
pub fn on_return(turn: Turn, ret: i32) {
    let task = task::pid_tgid();
    // SAFETY: as in `claim`; the entry is copied out before it is removed.
    let Some(call) = (unsafe { CALLS.get(task) }).copied() else {
        return;
    };
    let _ = CALLS.remove(task);
    if turn == Turn::Second {
        count_taken_over(Pair::ConnectReturn);
    }
    if call.what != CONNECT || call.sock == 0 {
        return;
    }
    let ts_ns = task::now();
    let latency_ns = ts_ns.wrapping_sub(call.start_ns);
    if Fold::of(call.sock).is_some_and(|fold| fold.connect_returned(ts_ns, ret, latency_ns)) {
        return;
    }
    emit(&ConnectRecord {
        header: task::header(kind::CONNECT, call.sock, ts_ns),
        latency_ns,
        fd: call.fd,
        ret,
    });
}
