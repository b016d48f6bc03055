//! shutdown(2): tells a half close from a close, which make the same transitions.

use tracer_common::event::NO_FD;

use crate::{
    maps::{CALLS, Call, SHUTDOWN},
    task,
};

/// The current task enters shutdown(2).
#[inline(always)]
pub fn on_enter() {
    let call = Call {
        start_ns: 0,
        sock: 0,
        fd: NO_FD,
        what: SHUTDOWN,
    };
    // Where the map is full a half close is taken for a close, until the next
    // snapshot shows the fd still held.
    let _ = CALLS.insert(task::pid_tgid(), call, 0);
}

/// The current task's shutdown(2) returns.
#[inline(always)]
pub fn on_return() {
    let _ = CALLS.remove(task::pid_tgid());
}
