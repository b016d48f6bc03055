//! What a trace cannot see, in words for its report.

use super::Collector;
use crate::{snapshot, symbols::Symbols, table::MAX_CONNECTIONS};

impl Collector {
    /// What this trace cannot see, a sentence each.
    #[must_use]
    pub fn blind(&self) -> Vec<String> {
        let mut blind = self.tracer.chosen.blind();
        if self.unreachable > 0 {
            blind.push(format!(
                "sockets opened before the start in {} other network namespaces, which this \
                 process may not enter",
                self.unreachable
            ));
        }
        if !snapshot::has_initial_pids() {
            blind.push(
                "process ids as this pid namespace counts them: owners seen by the kernel and \
                 owners found in /proc do not match; run with hostPID (--pid=host)"
                    .to_owned(),
            );
        }
        if self.table.sites_summed_up() > 0 {
            blind.push(format!(
                "{} destinations without a live connection, which are summed up as one",
                self.table.sites_summed_up()
            ));
        }
        if self.counts.calls_forgotten > 0 {
            blind.push(format!(
                "the fd and outcome of {} calls of connect(2), for want of room in the map of \
                 calls",
                self.counts.calls_forgotten
            ));
        }
        blind.extend(self.stacks_missing());
        blind.extend(self.stacks_cut_short());
        if self.unreadable > 0 {
            blind.push(format!(
                "what {} processes hold, whose fds this process may not read",
                self.unreadable
            ));
        }
        let left_out = self.counts.not_followed + self.left_out;
        if left_out > 0 {
            blind.push(format!(
                "what becomes of {left_out} sockets and listening ports of the process: no room for \
                 them among those that are followed"
            ));
        }
        if self.counts.processes_left_out > 0 {
            blind.push(format!(
                "what {} processes of the command do, and those that they start: no room for \
                 them among those that are followed",
                self.counts.processes_left_out
            ));
        }
        let evicted = self.table.counters().evicted;
        if evicted > 0 {
            blind.push(format!(
                "{evicted} connections beyond the {MAX_CONNECTIONS} that are followed at once"
            ));
        }
        if self.timeless > 0 {
            blind.push(format!(
                "idle times and traffic in {} network namespaces made after the start",
                self.timeless
            ));
        }
        blind
    }

    /// Which call stacks are not told.
    fn stacks_missing(&self) -> Option<String> {
        let without = self.counts.without_stack;
        let unnamed = self.symbols.as_ref().map_or(0, Symbols::unnamed);
        match (without, unnamed) {
            (0, 0) => None,
            (without, unnamed) => Some(format!(
                "the code that opened {without} connections, whose call stacks could not be \
                 taken, and the names of {unnamed} other call stacks, for want of time or room"
            )),
        }
    }

    /// Which call stacks are told in part.
    fn stacks_cut_short(&self) -> Option<String> {
        let not_copied = self.counts.not_copied;
        (not_copied > 0).then(|| {
            format!(
                "the callers of the code that opened up to {not_copied} connections, whose \
                 call stacks frame pointers do not show, as the ring was too full for copies"
            )
        })
    }
}
