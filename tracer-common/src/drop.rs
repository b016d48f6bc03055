//! Counters of records made and lost, one slot per outcome.
//!
//! The kernel keeps one array of these per CPU. Every record that a hook sets
//! out to write ends in exactly one slot, so made = [`SUBMITTED`] + the rest.

/// Written to the ring.
pub const SUBMITTED: u32 = 0;
/// Lost: the ring was full.
pub const RING_FULL: u32 = 1;
/// How many slots there are.
pub const COUNTERS: u32 = 2;
