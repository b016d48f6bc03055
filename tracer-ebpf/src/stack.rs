//! The call stack of the current task in user space.

use aya_ebpf::{bindings::BPF_F_USER_STACK, programs::tracing::StackIdContext};
use tracer_common::{drop, event::NO_STACK};

use crate::{
    emit::count,
    maps::{STACKS, knob},
};

/// Leaves out the innermost frame: see [`of_current`].
const SKIP_ONE: u64 = 1;

/// The place of the current task's call stack in [`STACKS`], or [`NO_STACK`].
///
/// A stack's hash picks its place. Where another stack has it, this one is kept
/// without its innermost frame, and so with another hash: that frame is the system
/// call's, the same for all.
#[inline(always)]
pub fn of_current(ctx: &impl StackIdContext) -> i32 {
    if knob!(stacks) == 0 {
        return NO_STACK;
    }
    let user = u64::from(BPF_F_USER_STACK);
    let place = ctx
        .get_stackid(&STACKS, user)
        .or_else(|_| ctx.get_stackid(&STACKS, user | SKIP_ONE));
    match place {
        Ok(place) => place as i32,
        Err(_) => {
            count(drop::NO_STACK);
            NO_STACK
        }
    }
}
