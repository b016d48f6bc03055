//! A process runs another program.

use tracer_common::event::{ExecRecord, kind};

use crate::{emit::emit, filter, task};

/// The current process has become another program: what closes on exec is closed, the
/// other file descriptors are that program's now.
#[inline(always)]
pub fn on_exec() {
    if !filter::wants_process() {
        return;
    }
    emit(&ExecRecord {
        header: task::header(kind::EXEC, 0, task::now()),
    });
}
