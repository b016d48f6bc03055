//! What is left out while tracing costs too much.

use tracer_common::shed;

use crate::{maps::SHED, sock::tcp};

/// Whether call stacks are taken now.
#[inline(always)]
pub fn allows_stacks() -> bool {
    shed() < shed::STACKS
}

/// States that open or close a connection, a bit for each.
const ENDS_OF_LIFE: u32 = 1 << tcp::SYN_SENT
    | 1 << tcp::SYN_RECV
    | 1 << tcp::ESTABLISHED
    | 1 << tcp::LISTEN
    | 1 << tcp::CLOSE;

/// Whether a transition to `new` is told now.
#[inline(always)]
pub fn allows_transition(new: u16) -> bool {
    (ENDS_OF_LIFE >> (new & 31)) & 1 != 0 || shed() < shed::TRANSITIONS
}

#[inline(always)]
fn shed() -> u32 {
    SHED.get(0).copied().unwrap_or(shed::NOTHING)
}
