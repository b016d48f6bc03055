//! A process starts another.

use core::ffi::c_void;

use crate::{filter, maps::offset, read::read};

/// The current task has made the task `child`, which has not run yet. A thread has
/// its process's number.
#[inline(always)]
pub fn on_fork(child: *const c_void) {
    if let Some(pid) = read::<u32>(child, offset!(task_tgid)) {
        filter::adopt(pid);
    }
}
