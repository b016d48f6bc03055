//! A process is exiting.

use tracer_common::event::{ExitRecord, kind};

use crate::{emit::emit, filter, maps::CALLS, task};

/// The current task is exiting. Threads come and go; only the last one of a
/// process is reported.
#[inline(always)]
pub fn on_exit() {
    // A return probe may have been missed; the thread id will be used again.
    let _ = CALLS.remove(task::pid_tgid());
    if !filter::wants_process() || !task::is_last_thread() {
        return;
    }
    filter::release();
    emit(&ExitRecord {
        header: task::header(kind::EXIT, 0, task::now()),
    });
}
