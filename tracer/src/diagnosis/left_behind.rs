//! Connections that were used when they were new and never again, though the
//! program went on opening others. Pure.
//!
//! A pool opens only when all its members are in use. So it does not open while old
//! members lie idle: whatever its size, however its traffic goes up and down, none
//! of its members is passed over. This takes the place of a plateau to subtract.

use std::time::Duration;

use crate::{
    clock::BootTime,
    diagnosis::{
        Case,
        signs::{SEVERAL, awaits_answer},
        statistics::{by_chance, real},
    },
    table::{
        connection::{Connection, Sample},
        site::Point,
    },
    tcp::{Role, State},
};

/// Idle means at least this many milliseconds: clients poll and servers think
/// for up to a few seconds.
pub(crate) const IDLE_MS: u64 = 5_000;

/// A pool may lose a race: a member comes back while another is being opened for
/// want of it. Whom so many were opened after, a pool has forgotten.
pub(crate) const PASSED_OVER: u64 = 5;

/// By so many milliseconds what happened may be heard late. A checkpoint counts what
/// was heard.
const HEARD_MS: u64 = 500;

/// An inbound connection opened within this many milliseconds of an outbound one
/// may be what that one was opened for.
const TWIN_MS: u64 = 2_000;

/// So many in a hundred with a twin make a proxy, which opens one for each client.
const TWINS_PERCENT: usize = 80;

/// A part of the watch: what was opened in it, and what of that was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Opened.
    pub(crate) opened: u64,
    /// Left behind.
    pub(crate) left: u64,
}

impl<'a> Case<'a> {
    /// How long without payload is idle in this watch, in milliseconds: long
    /// against the watch too, or a slow poll would do.
    pub(crate) fn idle_limit_ms(&self) -> u64 {
        IDLE_MS.max(self.watched_ms() / 4)
    }

    /// How long a connection must have lain idle before it counts as left behind:
    /// long against the lives of those that ended as well (T0 of a site).
    pub(crate) fn overdue_ms(&self) -> u64 {
        let most = self.tally.lives.quantile_ms(99).unwrap_or(0);
        self.idle_limit_ms().max(most.saturating_mul(3))
    }

    /// How many were opened after `at`, at the least: as the checkpoints tell.
    pub(crate) fn opened_after(&self, at: BootTime) -> u64 {
        let all = self.tally.inherited.saturating_add(self.tally.opened);
        let heard = at + Duration::from_millis(HEARD_MS);
        let next = self.tally.curve.iter().find(|point| point.at >= heard);
        next.map_or(0, |point| all.saturating_sub(point.opened))
    }

    /// How many were opened after `connection` was last used.
    pub(crate) fn passed_over(&self, connection: &Connection) -> u64 {
        let idle = connection.idle_ms(self.now);
        idle.map_or(0, |ms| self.opened_after(self.now.minus_ms(ms)))
    }

    /// Whether all its payload moved within `span` ms of its opening, as far as
    /// snapshots show.
    pub(crate) fn is_used_once(&self, connection: &Connection, span: u64) -> bool {
        let (Some(idle), Some(age)) = (connection.idle_ms(self.now), connection.age_ms(self.now))
        else {
            return false;
        };
        connection.revivals == 0 && age.saturating_sub(idle) <= span
    }

    /// The connections left behind by now, oldest first. One that waits for an
    /// answer is not: `timeout-not-passed` looks at those.
    pub(crate) fn left_behind(&self) -> Vec<&'a Connection> {
        let overdue = self.overdue_ms();
        let is_left = |c: &&Connection| {
            self.unaccepted_ms(c).is_none()
                && c.is_held()
                && c.idle_ms(self.now).is_some_and(|ms| ms >= overdue)
                && self.is_used_once(c, self.idle_limit_ms())
                && (c.role != Role::Client
                    || (!c.sample.as_ref().is_some_and(awaits_answer)
                        && self.passed_over(c) >= PASSED_OVER))
        };
        self.in_state(State::Established).filter(is_left).collect()
    }

    /// A client's connections with one request, which has arrived and has not been
    /// answered for as long.
    pub(crate) fn unanswered(&self) -> Vec<&'a Connection> {
        let overdue = self.overdue_ms();
        let is_unanswered = |c: &&Connection| {
            let waits =
                |sample: &Sample| !sample.is_bare && sample.send_q == 0 && awaits_answer(sample);
            c.role == Role::Client
                && c.is_held()
                && c.sample.as_ref().is_some_and(waits)
                && c.idle_ms(self.now).is_some_and(|ms| ms >= overdue)
                && self.is_used_once(c, self.idle_limit_ms())
        };
        let open = self.in_state(State::Established);
        open.filter(is_unanswered).collect()
    }

    /// That part of the watch in which a connection could be opened and be overdue
    /// by now, in two windows of equally many opens, as near as checkpoints allow,
    /// and what of each is among `left`.
    pub(crate) fn windows(&self, left: &[&Connection]) -> Option<[Window; 2]> {
        let latest = self.now.minus_ms(self.overdue_ms());
        let points = self.tally.curve.iter();
        let early: Vec<&Point> = points
            .filter(|point| self.from <= point.at && point.at <= latest)
            .collect();
        let end = early.last()?;
        let start = self.tally.inherited;
        let half = start.midpoint(end.opened);
        let middle = early[..early.len() - 1]
            .iter()
            .min_by_key(|point| point.opened.abs_diff(half))?;
        let window = |opened: u64, from: BootTime, to: BootTime| {
            let times = left.iter().filter_map(|c| c.opened_at);
            let left = times.filter(|at| from < *at && *at <= to).count() as u64;
            // What happened just before a checkpoint may be heard after it.
            let left = left.min(opened);
            Window { opened, left }
        };
        let (first, second) = (
            middle.opened.saturating_sub(start),
            end.opened.saturating_sub(middle.opened),
        );
        Some([
            window(first, BootTime::default(), middle.at),
            window(second, middle.at, end.at),
        ])
    }

    /// Whether each of these was opened for an inbound connection of the same
    /// program that is there still: so does a proxy, and a server with one upstream
    /// connection per client. They end with their clients.
    pub(crate) fn have_twins(&self, left: &[&Connection]) -> bool {
        let first = left.iter().filter_map(|c| c.opened_at).min();
        let mut inbound: Vec<BootTime> = self.inbound.to_vec();
        inbound.retain(|at| first.is_some_and(|first| *at >= first.minus_ms(TWIN_MS)));
        // Where many more come in, each has some neighbour by chance.
        if left.is_empty() || inbound.len() > left.len().saturating_mul(3) {
            return false;
        }
        let mut paired = 0;
        for opened in left.iter().filter_map(|c| c.opened_at) {
            let near =
                |at: &BootTime| at.ms_since(opened) <= TWIN_MS && opened.ms_since(*at) <= TWIN_MS;
            if let Some(index) = inbound.iter().position(near) {
                inbound.swap_remove(index);
                paired += 1;
            }
        }
        paired * 100 >= left.len() * TWINS_PERCENT
    }
}

/// The probability that chance made both windows what they are, or worse: the
/// greater one's, squared. `None` where one of them has too few to speak of.
pub(crate) fn p_value(windows: &[Window; 2]) -> Option<f64> {
    let several = SEVERAL as u64;
    let speaks = windows.iter().all(|window| window.left >= several);
    let worse = |p: f64, window: &Window| p.max(by_chance(window.left, window.opened));
    speaks.then(|| windows.iter().fold(0.0, worse).powi(2))
}

/// The share left behind of all opened, in percent.
pub(crate) fn percent(windows: &[Window; 2]) -> f64 {
    let opened = windows[0].opened.saturating_add(windows[1].opened);
    let left = windows[0].left + windows[1].left;
    (1000.0 * real(left) / real(opened.max(1))).round() / 10.0
}
