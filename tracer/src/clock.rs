//! Time as an argument: boot time inside, wall time at the edge. Pure.
//!
//! Ages are differences of boot time, which suspend does not stop and a change
//! of the wall clock does not touch.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{num::NonZeroU64, ops::Add};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_BOOTTIME`, as in every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
// One more than that: so a time that may not be known takes no more room.
pub struct BootTime(NonZeroU64);

impl BootTime {
    /// Later than any.
    pub const END: Self = Self(NonZeroU64::MAX);

    /// From nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(ns))
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn ns(self) -> u64 {
        self.0.get() - 1
    }

    /// Milliseconds from `earlier` to here; 0 where that is later (records of
    /// two CPUs may be some nanoseconds out of order).
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.ns().saturating_sub(earlier.ns()) / 1_000_000
    }

    /// This time less `ms` milliseconds; not before boot.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self::from_ns(self.ns().saturating_sub(ms.saturating_mul(1_000_000)))
    }
}

impl Default for BootTime {
    fn default() -> Self {
        Self::from_ns(0)
    }
}

impl From<u64> for BootTime {
    fn from(ns: u64) -> Self {
        Self::from_ns(ns)
    }
}

impl From<BootTime> for u64 {
    fn from(time: BootTime) -> Self {
        time.ns()
    }
}

impl Add<std::time::Duration> for BootTime {
    type Output = Self;

    fn add(self, span: std::time::Duration) -> Self {
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(span))
    }
}

/// Turns boot time into wall time by the difference of the two clocks at one
/// instant, taken when the trace starts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WallClock {
    offset_ns: i128,
}

impl WallClock {
    /// From both clocks read at the same instant.
    #[must_use]
    pub fn new(wall: Timestamp, boot: BootTime) -> Self {
        Self {
            offset_ns: wall.as_nanosecond() - i128::from(boot.ns()),
        }
    }

    /// The boot time of a wall time; the nearest where that is before boot.
    #[must_use]
    pub fn boot(&self, wall: Timestamp) -> BootTime {
        let ns = wall.as_nanosecond() - self.offset_ns;
        BootTime::from_ns(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }

    /// The wall time of a boot time, cut to microseconds.
    #[must_use]
    pub fn at(&self, boot: BootTime) -> Timestamp {
        let ns = i128::from(boot.ns()) + self.offset_ns;
        // In 64 bits while they last, to the year 2262: a trace does this many times for
        // each event.
        let wall = match i64::try_from(ns) {
            Ok(ns) => Timestamp::from_microsecond(ns / 1_000),
            Err(_) => Timestamp::from_nanosecond(ns / 1_000 * 1_000),
        };
        wall.unwrap_or(Timestamp::MAX)
    }
}
