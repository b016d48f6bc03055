//! `unbounded-growth`: live connections follow opened ones, one for one, in two
//! disjoint windows, and those left behind are never touched again.
//!
//! A pool opens only when all its members are in use, so it does not open while
//! old members lie idle; a warm-up ends; long-lived connections are touched.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::Hint,
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

/// How much of what is opened must stay, in percent of the opens of each half.
pub const GROWTH_PERCENT: u64 = 90;

/// How many of the first half's connections must lie idle, in percent.
pub const IDLE_PERCENT: usize = 80;

/// Idle means at least this many milliseconds: clients poll and servers think
/// for up to a few seconds.
pub const IDLE_MS: u64 = 5_000;

/// Opens from which on a short or lopsided growth is worth a word.
const HINT_OPENS: u64 = 6;

/// How long without payload is idle in this watch, in milliseconds: long
/// against the watch too, or a slow poll would do.
fn idle_limit(case: &Case<'_>) -> u64 {
    IDLE_MS.max(case.watched_ms() / 4)
}

/// Idle for long, and not revived before: all its payload moved soon after its
/// opening.
fn is_left_behind(case: &Case<'_>, connection: &Connection) -> bool {
    let limit = idle_limit(case);
    let (Some(idle), Some(age)) = (connection.idle_ms(case.now), connection.age_ms(case.now))
    else {
        return false;
    };
    idle >= limit && age.saturating_sub(idle) <= limit
}

/// How many of the established connections that `is_first` picks there are, and
/// how many of these were left behind.
fn cohort(case: &Case<'_>, is_first: impl Fn(&Connection) -> bool) -> (usize, usize) {
    let first: Vec<_> = case
        .in_state(State::Established)
        .filter(|c| case.unaccepted_ms(c).is_none() && is_first(c))
        .collect();
    let left = first.iter().filter(|c| is_left_behind(case, c)).count();
    (first.len(), left)
}

/// Whether the last quarter of the watch saw opens.
fn still_opens(case: &Case<'_>) -> bool {
    let quarter = case.now.minus_ms(case.watched_ms() / 4);
    let mut opened = case.live.iter().filter_map(|c| c.opened_at);
    opened.any(|at| at >= quarter)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role == Role::Listener || case.watched_ms() < WATCH_MS || !still_opens(case) {
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
    let is_server = case.key.role == Role::Server;
    let (class, confidence, fault) = if is_server {
        // Had the clients closed, these were in CLOSE_WAIT: it is theirs to close.
        (Class::Peer, Confidence::Low, Fault::Peer)
    } else {
        (Class::Leak, Confidence::Medium, Fault::LocalApp)
    };
    let fix = if is_server {
        "Find the client that opens connections and never closes them, and set an idle or read \
         timeout on the server so that it cannot use up descriptors."
    } else {
        "Look at the code that opens these: close what it opened when the work is done (`with`, \
         `defer`, try-with-resources), share one client instead of one per call, and give the \
         pool a limit and an idle timeout."
    };
    Some(Verdict {
        code: CODE,
        class,
        confidence,
        fault: Some(fault),
        why: format!(
            "of {} opened {} in {}, {growth} stay open, at the same share in both halves of the watch, and {left} of the {first} from the first half have not been used for {} or longer: {}",
            connections(opened),
            place(case.key),
            span(case.watched_ms()),
            span(idle_limit(case)),
            if is_server {
                "clients keep connecting and do not close".to_owned()
            } else {
                format!(
                    "{} keeps opening and neither reuses nor closes",
                    program(case.key)
                )
            },
        ),
        fix: fix.to_owned(),
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
            Evidence::new("idle means no payload for, ms", idle_limit(case)),
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
    let early = case.now.minus_ms(idle_limit(case));
    let (first, left) = cohort(case, |c| c.opened_at.is_some_and(|at| at <= early));
    (left > 0 && left * 100 >= first * IDLE_PERCENT).then(|| Hint {
        why: format!(
            "{} {} opened in {} and none closed, {left} of them idle: a pool that fills, or a leak",
            connections(tally.opened),
            place(case.key),
            span(case.watched_ms()),
        ),
        evidence: Evidence::new("connections opened, none closed", tally.opened),
        affected: case.live.len(),
    })
}
