//! A process is exiting.

use tracer_common::event::{ExitRecord, kind};

use crate::{
    emit::emit,
    maps::{CALLS, knob},
    task,
};

/// The current task is exiting. Threads come and go; only the last one of a
/// process is reported.
#[inline(always)]
pub fn on_exit() {
    // A return probe may have been missed; the thread id will be used again.
    let _ = CALLS.remove(task::pid_tgid());
    let wanted = knob!(filter.pid);
    if (wanted != 0 && wanted != task::pid()) || !task::is_last_thread() {
        return;
    }
    emit(&ExitRecord {
        header: task::header(kind::EXIT, 0, task::now()),
    });
}
