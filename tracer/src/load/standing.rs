//! How the kernel side stands: what it counted, what it costs, what it leaves out.

use std::{os::fd::AsFd as _, time::Duration};

use tracer_common::{drop, pair::Pair, shed::METER_SHIFT};

use super::{Tracer, counters};
use crate::course::{entry::Counts, shed::Shed};

impl Tracer {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let sum = |slot| self.counts.sum(slot);
        Counts {
            submitted: sum(drop::SUBMITTED),
            ring_full: sum(drop::RING_FULL),
            not_followed: sum(drop::NOT_FOLLOWED),
            calls_forgotten: sum(drop::CALL_FORGOTTEN),
            processes_left_out: sum(drop::PROCESS_LEFT_OUT),
            without_stack: sum(drop::NO_STACK),
            not_copied: sum(drop::NOT_COPIED),
            missed: self.missed(),
        }
    }

    /// How often a program was skipped and no other did its work.
    fn missed(&self) -> u64 {
        let attached = self.ebpf.programs();
        let attached =
            attached.filter_map(|(name, program)| Some((name, program.fd().ok()?.as_fd())));
        let detached = self.detached.iter();
        let detached = detached.map(|(name, program)| (&**name, program.as_fd()));
        let skipped: Vec<_> = attached
            .chain(detached)
            .filter_map(|(name, program)| Some((name, counters::skipped(program)?)))
            .collect();
        let taken_over = |pair: Pair| self.counts.sum(drop::TAKEN_OVER + pair as u32);
        counters::missed(&skipped, taken_over)
    }

    /// Processor time that hooks have taken so far, reckoned from a sample.
    #[must_use]
    pub fn cost(&self) -> Duration {
        Duration::from_nanos(self.counts.sum(drop::METERED_NS) << METER_SHIFT)
    }

    /// Leaves out so much from now on.
    pub fn shed(&self, shed: Shed) {
        self.valve.set(shed);
    }
}
