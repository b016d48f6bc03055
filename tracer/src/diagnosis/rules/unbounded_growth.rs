//! `unbounded-growth`: a steady share of what is opened stays for ever, in two disjoint
//! windows, and is never touched again. None of the more particular signs tells how.
//!
//! Of a client this is a leak where a pool would have used those left behind again
//! (see `left_behind`). A server's idle connections are its clients' to close: there
//! growth alone is told, and without an accusation.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        left_behind::{p_value, percent},
        rules::Hint,
        statistics::posterior,
        text::{connections, place, program, span},
        trend::halves_by_opens,
    },
    table::connection::Connection,
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "unbounded-growth";

/// A shorter watch cannot tell growth from a program's start, in milliseconds.
pub const WATCH_MS: u64 = 15_000;

/// Opens wanted in each half: with fewer, two or three unlucky ones decide.
pub const OPENS: u64 = 10;

/// How much of what is opened must stay at a server, in percent of the opens of each
/// half.
pub const GROWTH_PERCENT: u64 = 90;

/// How many of a server's connections from the first half must lie idle, in percent.
pub const IDLE_PERCENT: usize = 80;

/// Opens from which on a short or lopsided growth is worth a word.
const HINT_OPENS: u64 = 6;

/// How many of the established connections that `is_first` picks there are, and
/// how many of these were used once and lie idle.
fn cohort(case: &Case<'_>, is_first: impl Fn(&Connection) -> bool) -> (usize, usize) {
    let first: Vec<_> = case
        .in_state(State::Established)
        .filter(|c| case.unaccepted_ms(c).is_none() && is_first(c))
        .collect();
    let limit = case.idle_limit_ms();
    let is_left = |c: &&&Connection| {
        c.idle_ms(case.now).is_some_and(|ms| ms >= limit) && case.is_used_once(c, limit)
    };
    let left = first.iter().filter(is_left).count();
    (first.len(), left)
}

/// Whether the last quarter of the watch saw opens.
fn still_opens(case: &Case<'_>) -> bool {
    let quarter = case.now.minus_ms(case.watched_ms() / 4);
    let mut opened = case.live.iter().filter_map(|c| c.opened_at);
    case.opened_after(quarter) > 0 || opened.any(|at| at >= quarter)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let is_one = case.key.role == Role::Client && case.destinations < 2;
    if !is_one || case.watched_ms() < WATCH_MS || !still_opens(case) {
        return None;
    }
    let halves = halves_by_opens(case)?;
    let left = case.left_behind();
    let windows = case.windows(&left)?;
    let p = p_value(&windows)?;
    let stay = windows[0].left + windows[1].left;
    let grows = case.tally.live() >= case.tally.inherited + stay / 2;
    let is_proven = halves.iter().all(|half| half.opened >= OPENS) && grows && p <= case.significance;
    if !is_proven || case.have_twins(&left) {
        return None;
    }
    let opened = windows[0].opened.saturating_add(windows[1].opened);
    let affected = left.len();
    let share = percent(&windows);
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::Medium,
        fault: Some(Fault::LocalApp),
        why: format!(
            "of {} opened {} in the first {} of the watch, {stay} ({share} %) were used once, are open still and have been idle for {} or longer, at a like share in both halves; {} goes on opening others and neither uses these again nor closes them",
            connections(opened),
            place(case),
            span(case.watched_ms().saturating_sub(case.overdue_ms())),
            span(case.overdue_ms()),
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("opened in the first window", windows[0].opened),
            Evidence::new("of these, left behind", windows[0].left),
            Evidence::new("opened in the second window", windows[1].opened),
            Evidence::new("of these, left behind", windows[1].left),
            Evidence::new("left behind means idle for, ms, at least", case.overdue_ms()),
            Evidence::new("growth of live connections", case.tally.live().saturating_sub(case.tally.inherited)),
            Evidence::new("most live at once", case.tally.peak),
            Evidence::new("probability of that by chance", p),
            Evidence::new("probability that over 5 % leak", posterior(stay, opened)),
        ],
        affected,
    })
}

/// The same of a server, whose clients keep connecting and do not close.
#[must_use]
pub fn check_served(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Server || case.watched_ms() < WATCH_MS || !still_opens(case) {
        return None;
    }
    let halves = halves_by_opens(case)?;
    let follows = halves.iter().all(|half| {
        half.opened >= OPENS
            && half.growth().saturating_mul(100) >= half.opened.saturating_mul(GROWTH_PERCENT)
    });
    let (first, left) = cohort(case, |c| {
        c.opened_at.is_some_and(|at| halves[0].contains(at))
    });
    if !follows || first == 0 || left * 100 < first * IDLE_PERCENT {
        return None;
    }
    let opened = halves[0].opened.saturating_add(halves[1].opened);
    let growth = halves[0].growth().saturating_add(halves[1].growth());
    Some(Verdict {
        code: CODE,
        // Had the clients closed, these were in CLOSE_WAIT: it is theirs to close.
        class: Class::Peer,
        confidence: Confidence::Low,
        fault: Some(Fault::Peer),
        why: format!(
            "of {} opened {} in {}, {growth} stay open, at the same share in both halves of the watch, and {left} of the {first} from the first half have not been used for {} or longer: clients keep connecting and do not close",
            connections(opened),
            place(case),
            span(case.watched_ms()),
            span(case.idle_limit_ms()),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("opened in the first half", halves[0].opened),
            Evidence::new(
                "growth of live connections in the first half",
                halves[0].growth(),
            ),
            Evidence::new("opened in the second half", halves[1].opened),
            Evidence::new(
                "growth of live connections in the second half",
                halves[1].growth(),
            ),
            Evidence::new("live connections of the first half", first),
            Evidence::new("of these, idle and never used again", left),
            Evidence::new("idle means no payload for, ms", case.idle_limit_ms()),
        ],
        affected: case.live.len(),
    })
}

/// Nothing closes, opens go on, and most lie idle: too short or too few for more.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let tally = case.tally;
    if case.key.role != Role::Client
        || tally.opened < HINT_OPENS
        || tally.closed > 0
        || !still_opens(case)
    {
        return None;
    }
    let early = case.now.minus_ms(case.idle_limit_ms());
    let (first, left) = cohort(case, |c| c.opened_at.is_some_and(|at| at <= early));
    (left > 0 && left * 100 >= first * IDLE_PERCENT).then(|| Hint {
        why: format!(
            "{} {} opened in {} and none closed, {left} of them idle: a pool that fills, or a leak",
            connections(tally.opened),
            place(case),
            span(case.watched_ms()),
        ),
        evidence: Evidence::new("connections opened, none closed", tally.opened),
        affected: case.live.len(),
    })
}
