//! What tracing costs, and what is left out where that is too much.

use tracer_common::{
    drop::METERED_NS,
    shed::{self, METER_SHIFT},
};

use crate::{emit::add, maps::SHED, sock::tcp, task};

/// 2^64 over the golden ratio: its multiples spread evenly, however coarse the clock is.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hook that began at `began_ns` has told what it had to. One in so many is measured.
#[inline(always)]
pub fn note(began_ns: u64) {
    if began_ns.wrapping_mul(SPREAD) >> (u64::BITS - METER_SHIFT) == 0 {
        add(METERED_NS, task::now().wrapping_sub(began_ns));
    }
}

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
