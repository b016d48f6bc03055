//! What a trace cannot see, in words for its report.

use tracer_common::config::STACKS_A_WINDOW;

use super::{Course, entry::Counts};
use crate::table::MAX_CONNECTIONS;

impl Course {
    /// What this trace cannot see, a sentence each.
    #[must_use]
    pub fn blind(&self) -> Vec<String> {
        let mut blind = self.setup.blind.clone();
        let last = self.last;
        let unreachable = last.map_or(0, |seen| seen.unreachable);
        if unreachable > 0 {
            blind.push(format!(
                "sockets opened before the start in {unreachable} other network namespaces, \
                 which this process may not enter"
            ));
        }
        if self.table.sites_summed_up() > 0 {
            blind.push(format!(
                "{} destinations without a live connection, which are summed up as one",
                self.table.sites_summed_up()
            ));
        }
        if self.counts().calls_forgotten > 0 {
            blind.push(format!(
                "the fd and outcome of {} calls of connect(2), for want of room in the map of \
                 calls",
                self.counts().calls_forgotten
            ));
        }
        blind.extend(self.sheds.sentences(self.now()));
        blind.extend(self.stacks_missing());
        blind.extend(self.stacks_cut_short());
        let unreadable = last.map_or(0, |seen| seen.unreadable);
        if unreadable > 0 {
            blind.push(format!(
                "what {unreadable} processes hold, whose fds this process may not read"
            ));
        }
        let left_out = self.counts().not_followed + self.standing.left_out;
        if left_out > 0 {
            blind.push(format!(
                "what becomes of {left_out} sockets and listening ports of the process: no room for \
                 them among those that are followed"
            ));
        }
        if self.counts().processes_left_out > 0 {
            blind.push(format!(
                "what {} processes of the command do, and those that they start: no room for \
                 them among those that are followed",
                self.counts().processes_left_out
            ));
        }
        let evicted = self.table.counters().evicted;
        if evicted > 0 {
            blind.push(format!(
                "{evicted} connections beyond the {MAX_CONNECTIONS} that are followed at once"
            ));
        }
        let timeless = last.map_or(0, |seen| seen.timeless);
        if timeless > 0 {
            blind.push(format!(
                "idle times and traffic in {timeless} network namespaces made after the start"
            ));
        }
        blind
    }

    fn counts(&self) -> Counts {
        self.standing.counts.since(&self.began.counts)
    }

    /// Which call stacks are not told.
    fn stacks_missing(&self) -> Option<String> {
        let without = self.counts().without_stack;
        let unnamed = self.standing.unnamed;
        match (without, unnamed) {
            (0, 0) => None,
            (without, unnamed) => Some(format!(
                "the code that opened {without} connections, whose call stacks could not be \
                 taken or were not, as {STACKS_A_WINDOW} a second are enough of one process; \
                 and the names of {unnamed} other call stacks, for want of time or room"
            )),
        }
    }

    /// Which call stacks are told in part.
    fn stacks_cut_short(&self) -> Option<String> {
        let not_copied = self.counts().not_copied;
        (not_copied > 0).then(|| {
            format!(
                "the callers of the code that opened up to {not_copied} connections, whose \
                 call stacks frame pointers do not show, as the ring was too full for copies"
            )
        })
    }
}
