//! Detail that was left out while tracing cost too much. Pure.

use serde::{Deserialize, Serialize};

use crate::clock::BootTime;

/// How much is left out: each leaves out what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Shed {
    /// Everything is told.
    #[default]
    Nothing,
    /// No call stacks are taken.
    Stacks,
    /// Nor are transitions told that neither open nor close a connection: those are known
    /// by snapshots.
    Transitions,
}

impl Shed {
    /// What is left out, by name.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Stacks => &["stacks"],
            Self::Transitions => &["stacks", "transitions"],
        }
    }

    /// What is left out from now on, as people read it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "tracing costs less again: nothing is left out any more",
            Self::Stacks => "call stacks are left out, so that tracing stays below --max-overhead",
            Self::Transitions => {
                "call stacks are left out, and transitions that neither open nor close a \
                 connection, so that tracing stays below --max-overhead"
            }
        }
    }

    /// One step more.
    #[must_use]
    pub const fn more(self) -> Self {
        match self {
            Self::Nothing => Self::Stacks,
            Self::Stacks | Self::Transitions => Self::Transitions,
        }
    }

    /// One step less.
    #[must_use]
    pub const fn less(self) -> Self {
        match self {
            Self::Nothing | Self::Stacks => Self::Nothing,
            Self::Transitions => Self::Stacks,
        }
    }
}

/// What was left out so far, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sheds {
    /// Since when what is left out now.
    last: (BootTime, Shed),
    /// Milliseconds before that without call stacks, and without transitions.
    stacks_ms: u64,
    transitions_ms: u64,
}

impl Sheds {
    /// So much is left out from now on.
    pub(super) fn note(&mut self, at: BootTime, shed: Shed) {
        (self.stacks_ms, self.transitions_ms) = self.until(at);
        self.last = (at, shed);
    }

    /// What is left out now, and since when.
    pub(super) const fn now(&self) -> (BootTime, Shed) {
        self.last
    }

    fn until(&self, now: BootTime) -> (u64, u64) {
        let (since, shed) = self.last;
        let lasts = now.ms_since(since);
        let of = |what| if shed >= what { lasts } else { 0 };
        (
            self.stacks_ms + of(Shed::Stacks),
            self.transitions_ms + of(Shed::Transitions),
        )
    }

    /// In words for a report, a sentence for each detail.
    pub(super) fn sentences(&self, now: BootTime) -> impl Iterator<Item = String> {
        let (stacks_ms, transitions_ms) = self.until(now);
        let what = [
            (Shed::Stacks, stacks_ms, "the code that opened connections"),
            (
                Shed::Transitions,
                transitions_ms,
                "when connections changed between their opening and their close, but for what \
                 snapshots showed",
            ),
        ];
        // What has just been left out is said, too.
        let now = self.last.1;
        let was_left_out = move |&(shed, ms, _): &(Shed, u64, _)| ms > 0 || now >= shed;
        let what = what.into_iter().filter(was_left_out);
        what.map(|(_, ms, what)| {
            format!(
                "{what}, for {} s of this trace: it cost more than --max-overhead allows",
                ms.div_ceil(1_000).max(1)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_ns(seconds * 1_000_000_000)
    }

    #[test]
    fn what_was_left_out_is_said_with_its_time() {
        let mut sheds = Sheds::default();
        assert_eq!(sheds.sentences(at(99)).count(), 0);
        sheds.note(at(10), Shed::Stacks);
        sheds.note(at(12), Shed::Transitions);
        sheds.note(at(15), Shed::Stacks);
        sheds.note(at(20), Shed::Nothing);
        let said: Vec<_> = sheds.sentences(at(99)).collect();
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("the code that opened connections, for 10 s"));
        assert!(said[1].contains(", for 3 s of this trace"));
    }

    #[test]
    fn what_is_left_out_still_is_said() {
        let mut sheds = Sheds::default();
        sheds.note(at(10), Shed::Stacks);
        let said: Vec<_> = sheds.sentences(at(11)).collect();
        assert_eq!(said.len(), 1);
    }
}
