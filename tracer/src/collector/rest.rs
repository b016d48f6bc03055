//! How often snapshots are taken.

use std::time::Duration;

/// How long to rest between two snapshots.
pub(super) struct Rest {
    /// At least this long,
    pub(super) least: Duration,
    /// and this many times as long as the last one took: in processor time, since
    /// a host that is busy with other things makes it wait, not work.
    times: u32,
}

impl Rest {
    pub(super) fn after(&self, work: Duration) -> Duration {
        self.least.max(work * self.times)
    }
}

/// While nothing is lost: often enough for idle times, queues and holders that
/// are seconds old, and never more than a twentieth of the time, so that a host
/// with a million sockets is not kept busy.
pub(super) const STEADY: Rest = Rest {
    least: Duration::from_secs(5),
    times: 20,
};

/// After a loss: soon, but a host that loses records steadily is not to be kept
/// busy by the mending as well.
pub(super) const MEND: Rest = Rest {
    least: Duration::from_secs(2),
    times: 10,
};
