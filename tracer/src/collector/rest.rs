//! When snapshots are taken.

use std::time::Duration;

use tokio::time::Instant;

/// How long to rest between two snapshots.
struct Rest {
    /// At least this long,
    least: Duration,
    /// and this many times as long as the last one took: in processor time, since
    /// a host that is busy with other things makes it wait, not work.
    times: u32,
}

/// While nothing is lost: often enough for idle times, queues and holders that
/// are seconds old, and never more than a twentieth of the time, so that a host
/// with a million sockets is not kept busy.
const STEADY: Rest = Rest {
    least: Duration::from_secs(5),
    times: 20,
};

/// After a loss: soon, but a host that loses records steadily is not to be kept
/// busy by the mending as well.
const MEND: Rest = Rest {
    least: Duration::from_secs(2),
    times: 10,
};

/// When the next snapshot is due, by what the last one was.
pub(super) struct Schedule {
    ended: Instant,
    work: Duration,
    /// The next one follows closely, to mend what was lost while it was taken.
    is_followed: bool,
}

impl Schedule {
    /// None was taken yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ended: now,
            work: Duration::ZERO,
            is_followed: false,
        }
    }

    /// `is_to_be_mended`: records were lost since the last one began.
    pub(super) fn due(&self, is_to_be_mended: bool) -> Instant {
        let rest = if is_to_be_mended { MEND } else { STEADY };
        self.ended + rest.least.max(self.work * rest.times)
    }

    /// One has been taken. `is_to_be_mended`: what it shows may have changed unheard
    /// since. The next one need not rest from it then, as that loss may have been the
    /// last; but only once: with two for each long rest they cost twice as much at most.
    pub(super) fn note(&mut self, now: Instant, work: Duration, is_to_be_mended: bool) {
        self.is_followed = is_to_be_mended && !self.is_followed;
        self.ended = now;
        self.work = if self.is_followed {
            Duration::ZERO
        } else {
            work
        };
    }

    /// The next one is due at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.work = Duration::ZERO;
        self.ended = now.checked_sub(STEADY.least).unwrap_or(self.ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_secs(3);

    /// After how many seconds the next one is due.
    fn rests(schedule: &Schedule, is_to_be_mended: bool) -> u64 {
        let due = schedule.due(is_to_be_mended);
        due.duration_since(schedule.ended).as_secs()
    }

    #[test]
    fn one_that_was_much_work_is_rested_from() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert_eq!((rests(&schedule, false), rests(&schedule, true)), (5, 2));
        schedule.note(now, WORK, false);
        assert_eq!((rests(&schedule, false), rests(&schedule, true)), (60, 30));
        schedule.hurry(now);
        assert!(schedule.due(false) <= now);
    }

    #[test]
    fn what_was_lost_meanwhile_is_mended_soon_but_not_on_and_on() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        for rest in [2, 30, 2, 30] {
            schedule.note(now, WORK, true);
            assert_eq!(rests(&schedule, true), rest);
        }
        schedule.note(now, WORK, false);
        assert_eq!(rests(&schedule, true), 30);
    }
}
