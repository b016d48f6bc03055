//! What a site's ended connections leave in the kernel, and until when. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::{clock::BootTime, table::connection::Linger, tcp::State};

/// Mini-sockets that expire within the same span are counted as one lot, named by
/// its end: some sixty lots a site, however many connections.
const LOT: Duration = Duration::from_secs(1);

/// Mini-sockets of a site that the kernel still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lingering {
    /// In TIME_WAIT.
    pub time_wait: u64,
    /// Orphans in FIN_WAIT2: the peer has not closed.
    pub fin_wait2: u64,
    /// When the last of them expires; `None` without any.
    pub until: Option<BootTime>,
}

/// Counts by expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lingers(VecDeque<Lot>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lot {
    until: BootTime,
    time_wait: u64,
    fin_wait2: u64,
}

impl Lot {
    fn of(linger: Linger, count: u64) -> Self {
        let nanos = u64::try_from(LOT.as_nanos()).unwrap_or(u64::MAX);
        let is_time_wait = linger.state == State::TimeWait;
        Self {
            until: BootTime::from_ns(linger.until.ns().div_ceil(nanos).saturating_mul(nanos)),
            time_wait: if is_time_wait { count } else { 0 },
            fin_wait2: if is_time_wait { 0 } else { count },
        }
    }
}

impl Lingers {
    /// Adds one that begins to linger at `now`, and forgets those that have expired.
    pub(super) fn add(&mut self, now: BootTime, linger: Linger) {
        let expired = self.0.iter().take_while(|lot| lot.until <= now).count();
        self.0.drain(..expired);
        self.merge(Lot::of(linger, 1));
    }

    /// Takes one back.
    pub(super) fn remove(&mut self, linger: Linger) {
        let gone = Lot::of(linger, 1);
        if let Ok(at) = self.0.binary_search_by_key(&gone.until, |lot| lot.until) {
            let lot = &mut self.0[at];
            lot.time_wait = lot.time_wait.saturating_sub(gone.time_wait);
            lot.fin_wait2 = lot.fin_wait2.saturating_sub(gone.fin_wait2);
        }
    }

    /// Adds another site's.
    pub(super) fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|lot| self.merge(*lot));
    }

    fn merge(&mut self, new: Lot) {
        match self.0.binary_search_by_key(&new.until, |lot| lot.until) {
            Ok(at) => {
                self.0[at].time_wait += new.time_wait;
                self.0[at].fin_wait2 += new.fin_wait2;
            }
            Err(at) => self.0.insert(at, new),
        }
    }

    /// Those that have not expired by `now`: the kernel drops them a little after
    /// their time, and earlier where an address is used again or an administrator
    /// kills them.
    #[must_use]
    pub fn at(&self, now: BootTime) -> Lingering {
        let left = self.0.iter().filter(|lot| lot.until > now);
        left.fold(Lingering::default(), |sum, lot| Lingering {
            time_wait: sum.time_wait + lot.time_wait,
            fin_wait2: sum.fin_wait2 + lot.fin_wait2,
            until: if lot.time_wait + lot.fin_wait2 > 0 {
                Some(lot.until)
            } else {
                sum.until
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BootTime, Linger, Lingering, Lingers, State};

    const SECOND: u64 = 1_000_000_000;

    fn linger(state: State, until: u64) -> Linger {
        Linger {
            state,
            until: BootTime::from_ns(until),
        }
    }

    #[test]
    fn they_are_counted_until_they_expire() {
        let mut lingers = Lingers::default();
        for n in 1..=100_000 {
            let now = n * SECOND / 1_000;
            let state = if n % 4 == 0 {
                State::FinWait2
            } else {
                State::TimeWait
            };
            lingers.add(BootTime::from_ns(now), linger(state, now + 60 * SECOND));
        }
        assert!(lingers.0.len() <= 62, "{} lots", lingers.0.len());
        let left = lingers.at(BootTime::from_ns(100 * SECOND));
        assert_eq!((left.time_wait, left.fin_wait2), (45_000, 15_000));
        assert_eq!(left.until, Some(BootTime::from_ns(160 * SECOND)));
        assert_eq!(
            lingers.at(BootTime::from_ns(160 * SECOND)),
            Lingering::default()
        );
    }

    #[test]
    fn one_that_was_none_is_taken_back() {
        let mut lingers = Lingers::default();
        let one = linger(State::TimeWait, 60 * SECOND + 5);
        lingers.add(BootTime::from_ns(5), one);
        lingers.remove(one);
        assert_eq!(lingers.at(BootTime::from_ns(5)), Lingering::default());
    }
}
