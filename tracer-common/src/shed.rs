//! Detail that the kernel side leaves out while tracing costs too much. User space says
//! how much, while the programs run.

/// Everything is told.
pub const NOTHING: u32 = 0;
/// No call stacks are taken.
pub const STACKS: u32 = 1;
/// Nor are transitions told that neither open nor close a connection.
pub const TRANSITIONS: u32 = 2;

/// What the kernel side takes is measured once in `1 <<` this many times.
pub const METER_SHIFT: u32 = 6;
