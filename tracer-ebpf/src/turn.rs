//! Two programs in turn, where one alone would be skipped too often.
//!
//! The kernel does not run a program on top of itself: a softirq that interrupts it, or
//! on a preemptible kernel a task that takes its CPU, goes unheard (`__bpf_trace_run`,
//! kernel/trace/bpf_trace.c; `__bpf_prog_enter_recur`, kernel/bpf/trampoline.c). A
//! second program with the same work follows the first, and does what the first did not
//! come to: at least one of the two is not the one interrupted.
//!
//! Those on system calls know from [`crate::maps::CALLS`] whether the first has run; the
//! others leave each other marks.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::drop::TAKEN_OVER;
pub use tracer_common::pair::Pair;

use crate::{
    emit::count,
    maps::{ENDS, MARKS, Mark, SLOTS, knob},
    sock::Sock,
};

/// Which of the two this program is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    First,
    Second,
}

const NONE: Mark = [0; 2];

impl Turn {
    /// Whether this program is the one to do the work for what happens to `sk`.
    /// `what` tells events of one socket apart.
    ///
    /// Where the marks of two events fall into one slot, and one came between the
    /// two programs of the other, or the task moved to another CPU between them, both
    /// programs do the work: its record comes twice.
    #[inline(always)]
    pub fn is_mine(self, pair: Pair, sk: &Sock, what: u64) -> bool {
        let slot = u32::from(sk.ports()) % SLOTS;
        let Some(mark) = MARKS.get_ptr_mut(pair as u32 * SLOTS + slot) else {
            return true;
        };
        match self {
            Self::First => {
                set(mark, [sk.address(), what]);
                true
            }
            Self::Second => {
                let was_first = is(mark, [sk.address(), what]);
                if was_first {
                    set(mark, NONE);
                } else {
                    count_taken_over(pair);
                }
                !was_first
            }
        }
    }
}

/// The second program of `pair` does what the first did not come to.
#[inline(always)]
pub fn count_taken_over(pair: Pair) {
    count(TAKEN_OVER + pair as u32);
}

/// Remembers that a socket's end has been told: it is freed next, on this CPU.
#[inline(always)]
pub fn note_end(sk: &Sock) {
    if let Some(mark) = end_of(sk) {
        set(mark, [sk.address(), sk.known_name()]);
    }
}

/// Whether it has; forgets it.
#[inline(always)]
pub fn was_end_told(sk: &Sock) -> bool {
    let Some(mark) = end_of(sk) else {
        return false;
    };
    let was_told = is(mark, [sk.address(), sk.known_name()]);
    if was_told {
        set(mark, NONE);
    }
    was_told
}

/// By name: its ports are taken away meanwhile.
#[inline(always)]
fn end_of(sk: &Sock) -> Option<*mut Mark> {
    // The verifier lets nobody calculate with an address.
    let slot = if knob!(name_by_address) != 0 {
        0
    } else {
        sk.known_name() as u32 % SLOTS
    };
    MARKS.get_ptr_mut(ENDS * SLOTS + slot)
}

#[inline(always)]
fn set(at: *mut Mark, mark: Mark) {
    // SAFETY: the entry is this CPU's own, aligned, and lives as long as the map.
    // Volatile, because another program may come between any two accesses.
    unsafe { write_volatile(at, mark) };
}

/// Word by word: the verifier lets a pointer be compared, but not be calculated
/// with, which is how a comparison of both words at once is compiled.
#[inline(always)]
fn is(at: *const Mark, mark: Mark) -> bool {
    // SAFETY: as in `set`.
    unsafe {
        if read_volatile(&raw const (*at)[0]) != mark[0] {
            return false;
        }
        read_volatile(&raw const (*at)[1]) == mark[1]
    }
}
