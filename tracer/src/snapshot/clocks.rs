//! Reads the clocks.

use std::time::Duration;

use jiff::Timestamp;
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

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

/// Processor time that this process has used, or, once it has ended, did until then.
/// Nothing where its parent has waited for it.
#[must_use]
pub fn time_of(process: Pid) -> Duration {
    clock_getcpuclockid(process)
        .and_then(clock_gettime)
        .map_or(Duration::ZERO, Duration::from)
}

/// How boot time maps to wall time at this moment.
#[must_use]
pub fn wall_clock() -> WallClock {
    WallClock::new(Timestamp::now(), boot_time())
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread};

    use super::*;

    #[test]
    fn a_childs_time_is_known_until_it_is_waited_for() {
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"])
            .spawn()
            .expect("it starts");
        let pid = Pid::from_raw(child.id().cast_signed());
        let is_running = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_running() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(time_of(pid) > Duration::from_millis(1));
        assert!(child.wait().is_ok());
        assert_eq!(time_of(pid), Duration::ZERO);
    }
}
