//! Reads the clocks.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::clock::{BootTime, WallClock};

/// `CLOCK_BOOTTIME` now: the clock of all records.
#[must_use]
pub fn boot_time() -> BootTime {
    // The clock exists on every kernel that has a ring buffer.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |spec| {
        i128::from(spec.tv_sec()) * 1_000_000_000 + i128::from(spec.tv_nsec())
    });
    BootTime::from_ns(u64::try_from(now).unwrap_or(0))
}

/// Processor time that this thread has used.
#[must_use]
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Processor time that this process has used.
#[must_use]
pub fn process_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// How boot time maps to wall time at this moment.
#[must_use]
pub fn wall_clock() -> WallClock {
    WallClock::new(Timestamp::now(), boot_time())
}
