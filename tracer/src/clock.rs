//! Time as an argument: boot time inside, wall time at the edge. Pure.
//!
//! Ages are differences of boot time, which suspend does not stop and a change
//! of the wall clock does not touch.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Add;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_BOOTTIME`, as in every record.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Later than any.
    pub const END: Self = Self(u64::MAX);

    /// Milliseconds from `earlier` to here; 0 where that is later (records of
    /// two CPUs may be some nanoseconds out of order).
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }

    /// This time less `ms` milliseconds; not before boot.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms.saturating_mul(1_000_000)))
    }
}

impl Add<std::time::Duration> for BootTime {
    type Output = Self;

    fn add(self, span: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
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
            offset_ns: wall.as_nanosecond() - i128::from(boot.0),
        }
    }

    /// The boot time of a wall time; the nearest where that is before boot.
    #[must_use]
    pub fn boot(&self, wall: Timestamp) -> BootTime {
        let ns = wall.as_nanosecond() - self.offset_ns;
        BootTime(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }

    /// The wall time of a boot time, cut to microseconds.
    #[must_use]
    pub fn at(&self, boot: BootTime) -> Timestamp {
        let ns = i128::from(boot.0) + self.offset_ns;
        // In 64 bits while they last, to the year 2262: a trace does this many times for
        // each event.
        let wall = match i64::try_from(ns) {
            Ok(ns) => Timestamp::from_microsecond(ns / 1_000),
            Err(_) => Timestamp::from_nanosecond(ns / 1_000 * 1_000),
        };
        wall.unwrap_or(Timestamp::MAX)
    }
}
