//! Counters of records made and lost, one slot per outcome.
//!
//! The kernel keeps a row of these for each CPU. Every record that a hook sets
//! out to write ends in exactly one of the first slots, so made = [`SUBMITTED`] +
//! [`RING_FULL`].

use crate::pair::PAIRS;

/// Written to the ring.
pub const SUBMITTED: u32 = 0;
/// Lost: the ring was full.
pub const RING_FULL: u32 = 1;
/// No record, but a notice: a socket of the wanted process is not followed, for
/// want of room in the map of followed sockets. Nothing is written about it.
pub const NOT_FOLLOWED: u32 = 2;
/// No record, but a notice: a system call is not remembered, for want of room.
pub const CALL_FORGOTTEN: u32 = 3;
/// No record, but a notice: a connection is told without the call stack of who
/// opened or accepted it. Two stacks wanted the same place in the map of stacks, or
/// there was nothing to walk (a kernel thread, memory paged out), or the process opens
/// more than [`crate::config::STACKS_A_WINDOW`].
pub const NO_STACK: u32 = 4;
/// No record, but a notice: a process of the traced command is not followed, for want
/// of room. Nothing is written about it and what it starts.
pub const PROCESS_LEFT_OUT: u32 = 5;
/// No record, but a notice: a stack that frame pointers do not show was not copied
/// either, since the ring had no room for anything so large.
pub const NOT_COPIED: u32 = 6;
/// No record: nanoseconds that hooks took for one in `1 <<`
/// [`crate::shed::METER_SHIFT`] of what they tell.
pub const METERED_NS: u32 = 7;
/// No record, but a notice: the kernel skipped the first program of a pair, as it
/// had been interrupted, and the second did its work. A slot for each of
/// [`crate::pair::Pair::ALL`].
pub const TAKEN_OVER: u32 = 8;
/// How many slots there are.
pub const COUNTERS: u32 = TAKEN_OVER + PAIRS;
/// And how long a CPU's row of them is: whole cache lines of 64 bytes.
pub const COUNTERS_PER_CPU: u32 = COUNTERS.next_multiple_of(8);
