//! A site's growth in two disjoint windows: what one shows by chance, two
//! seldom do. Pure.

use crate::{clock::BootTime, diagnosis::Case, diagnosis::signs::SEVERAL, table::site::Point};

/// A part of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// Its first instant, exclusive.
    pub(crate) from: BootTime,
    /// Its last instant, inclusive.
    pub(crate) to: BootTime,
    /// Connections opened in it.
    pub(crate) opened: u64,
    /// Connections ended in it.
    pub(crate) closed: u64,
}

impl Half {
    fn between(from: &Point, to: &Point) -> Self {
        let ended = |point: &Point| point.opened.saturating_sub(point.live);
        Self {
            from: from.at,
            to: to.at,
            opened: to.opened.saturating_sub(from.opened),
            closed: ended(to).saturating_sub(ended(from)),
        }
    }

    /// By how many the live connections grew.
    pub(crate) const fn growth(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Its length in milliseconds, not 0.
    pub(crate) fn ms(&self) -> u64 {
        self.to.ms_since(self.from).max(1)
    }

    /// Whether `at` lies in it.
    pub(crate) fn contains(&self, at: BootTime) -> bool {
        self.from < at && at <= self.to
    }
}

/// The watch in two, as near to half of the opens in each as the checkpoints
/// allow: so a ramp of traffic weighs the same in both. `None` without a
/// checkpoint between start and end.
pub(crate) fn halves_by_opens(case: &Case<'_>) -> Option<[Half; 2]> {
    let middle = case.tally.inherited.saturating_add(case.tally.opened / 2);
    halves(case, |point| point.opened.abs_diff(middle))
}

/// The watch in two equally long parts, as near as the checkpoints allow.
pub(crate) fn halves_by_time(case: &Case<'_>) -> Option<[Half; 2]> {
    let middle = case.now.ns() / 2 + case.from.ns() / 2;
    halves(case, |point| point.at.ns().abs_diff(middle))
}

fn halves(case: &Case<'_>, distance: impl Fn(&Point) -> u64) -> Option<[Half; 2]> {
    let tally = case.tally;
    let start = Point {
        at: case.from,
        opened: tally.inherited,
        live: tally.inherited,
    };
    let end = Point {
        at: case.now,
        opened: tally.inherited.saturating_add(tally.opened),
        live: tally.live(),
    };
    let middle = tally
        .curve
        .iter()
        .filter(|point| case.from < point.at && point.at < case.now)
        .min_by_key(|point| distance(point))?;
    Some([Half::between(&start, middle), Half::between(middle, &end)])
}

/// Whether trouble piles up: in both halves several connections of today's met
/// it (at `times`), and the site's live ones grew by as many.
///
/// The second asks for more than the first: an idle pool whose members the peer
/// hangs up on one by one fills both halves too, but it does not grow.
pub(crate) fn piles_up(case: &Case<'_>, times: &[BootTime]) -> bool {
    halves_by_opens(case).is_some_and(|halves| {
        halves.iter().all(|half| {
            let met = times.iter().filter(|at| half.contains(**at)).count();
            met >= SEVERAL && usize::try_from(half.growth()).is_ok_and(|n| n >= SEVERAL)
        })
    })
}
