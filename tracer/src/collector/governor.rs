//! Keeps what tracing costs below a limit, by leaving out detail while it is above. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::{clock::BootTime, course::shed::Shed};

/// What it costs is reckoned over so many seconds: in each of them is a snapshot.
const WINDOW: usize = 5;

/// So many seconds in a row it must cost too much before more is left out: a burst is
/// over by then.
const TOO_MUCH: u32 = 3;

/// And so many it must cost little before less is, at first: with what is left out it
/// costs more again.
const CALM: Duration = Duration::from_secs(15);

/// Where that was too early, it is twice as long the next time, up to this.
const LONGEST_CALM: Duration = Duration::from_secs(8 * 60);

/// What tracing has cost so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// When this was read.
    pub(super) at: BootTime,
    /// Processor time of the hooks.
    pub(super) kernel: Duration,
    /// Processor time of tcpleak itself and of its helpers.
    pub(super) user: Duration,
    /// Records lost for want of room in the ring.
    pub(super) ring_full: u64,
}

/// Decides how much is left out.
#[derive(Debug)]
pub(super) struct Governor {
    /// Processor time a second that tracing may cost.
    allowed: Duration,
    /// The most that may be left out.
    most: Shed,
    /// The last ones, the oldest first.
    costs: VecDeque<Cost>,
    shed: Shed,
    /// How many seconds in a row it has cost too much.
    above: u32,
    /// Since when it has cost little.
    calm_since: Option<BootTime>,
    /// How long that must last.
    calm: Duration,
    /// When less was left out again.
    recovered_at: Option<BootTime>,
}

impl Governor {
    /// `percent` of the time of so many processors may be used; `None` where 100 may, as
    /// there is nothing to govern.
    pub(super) fn new(percent: f64, processors: usize, most: Shed) -> Option<Self> {
        (percent < 100.0).then(|| Self {
            allowed: Duration::from_secs(1).mul_f64(percent / 100.0 * processors as f64),
            most,
            costs: VecDeque::with_capacity(WINDOW + 1),
            shed: Shed::Nothing,
            above: 0,
            calm_since: None,
            calm: CALM,
            recovered_at: None,
        })
    }

    /// Once a second. What is to be left out from now on, where that changes.
    pub(super) fn judge(&mut self, cost: Cost) -> Option<Shed> {
        let last = self.costs.back().copied();
        if self.costs.len() > WINDOW {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
        let before = self.costs[0];
        let span = Duration::from_millis(cost.at.ms_since(before.at));
        let used = (cost.kernel + cost.user).saturating_sub(before.kernel + before.user);
        let allowed = self.allowed.mul_f64(span.as_secs_f64());
        let loses = last.is_some_and(|last| cost.ring_full > last.ring_full);
        // A second of it tells nothing.
        let is_full = self.costs.len() > WINDOW;

        let is_above = (is_full && used > allowed) || loses;
        self.above = if is_above { self.above + 1 } else { 0 };
        if is_above || !is_full || used > allowed / 2 {
            self.calm_since = None;
        } else if self.calm_since.is_none() {
            self.calm_since = Some(cost.at);
        }

        let is_long = |since: BootTime| Duration::from_millis(cost.at.ms_since(since)) >= self.calm;
        let next = if self.above >= TOO_MUCH && self.shed < self.most {
            let was_early = self.recovered_at.is_some_and(|at| !is_long(at));
            self.calm = match was_early {
                true => LONGEST_CALM.min(self.calm * 2),
                false => CALM,
            };
            self.shed.more()
        } else if self.shed != Shed::Nothing && self.calm_since.is_some_and(is_long) {
            self.recovered_at = Some(cost.at);
            self.shed.less()
        } else {
            return None;
        };
        // What it cost before says nothing of what it will.
        self.costs.clear();
        self.above = 0;
        self.calm_since = None;
        self.shed = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two processors 10 %: 200 ms a second.
    fn governor() -> Governor {
        Governor::new(10.0, 2, Shed::Transitions).expect("there is something to govern")
    }

    /// What is decided, and when, where each second costs so many ms.
    fn decisions(
        governor: &mut Governor,
        costs: impl IntoIterator<Item = u64>,
    ) -> Vec<(u64, Shed)> {
        let mut cost = Cost {
            at: BootTime::from_ns(0),
            kernel: Duration::ZERO,
            user: Duration::ZERO,
            ring_full: 0,
        };
        governor.judge(cost);
        let seconds = (1..).zip(costs);
        let judged = seconds.filter_map(|(second, ms)| {
            cost.at = BootTime::from_ns(second * 1_000_000_000);
            cost.kernel += Duration::from_millis(ms / 2);
            cost.user += Duration::from_millis(ms - ms / 2);
            Some((second, governor.judge(cost)?))
        });
        judged.collect()
    }

    #[test]
    fn below_the_limit_everything_is_told() {
        assert_eq!(decisions(&mut governor(), [199; 600]), []);
        assert!(Governor::new(100.0, 2, Shed::Transitions).is_none());
    }

    #[test]
    fn a_burst_leaves_out_nothing() {
        let bursts = [900, 10, 10, 10, 10].into_iter().cycle().take(600);
        assert_eq!(decisions(&mut governor(), bursts), []);
    }

    #[test]
    fn stacks_go_first_then_transitions_and_they_come_back_in_turn() {
        let costs = [900; 20].into_iter().chain([50; 50]);
        assert_eq!(
            decisions(&mut governor(), costs),
            [
                (7, Shed::Stacks),
                (15, Shed::Transitions),
                (40, Shed::Stacks),
                (61, Shed::Nothing)
            ]
        );
    }

    #[test]
    fn no_more_is_left_out_than_may_be() {
        let mut governor = Governor {
            most: Shed::Stacks,
            ..governor()
        };
        assert_eq!(decisions(&mut governor, [900; 60]), [(7, Shed::Stacks)]);
    }

    #[test]
    fn what_came_back_too_early_stays_away_longer() {
        // Without stacks it costs little, with them too much.
        let mut governor = governor();
        let mut cost = Cost {
            at: BootTime::from_ns(0),
            kernel: Duration::ZERO,
            user: Duration::ZERO,
            ring_full: 0,
        };
        let mut told = Vec::new();
        for second in 0..3_600 {
            cost.at = BootTime::from_ns(second * 1_000_000_000);
            let ms = if governor.shed == Shed::Nothing {
                900
            } else {
                50
            };
            cost.user += Duration::from_millis(ms);
            told.extend(governor.judge(cost));
        }
        // Every 28 s it would have been 250 times.
        assert!(told.len() < 30, "{}", told.len());
    }

    #[test]
    fn a_ring_that_overflows_costs_too_much() {
        let mut governor = governor();
        let told = (0..10).filter_map(|second| {
            governor.judge(Cost {
                at: BootTime::from_ns(second * 1_000_000_000),
                kernel: Duration::ZERO,
                user: Duration::ZERO,
                ring_full: second,
            })
        });
        assert_eq!(told.collect::<Vec<_>>(), [Shed::Stacks, Shed::Transitions]);
    }
}
