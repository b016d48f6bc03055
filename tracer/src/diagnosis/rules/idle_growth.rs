//! `idle-growth`: a client talks to ever more destinations and keeps a connection to
//! each for ever: its pool has no cap and no idle timeout.
//!
//! Only asked of a program's destinations together.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{place, program, span},
        trend::halves_by_time,
    },
    tcp::{ClosedBy, Role, State},
};

/// This verdict's name.
pub const CODE: &str = "idle-growth";

/// A shorter watch cannot tell growth from a program's start, in milliseconds.
pub const WATCH_MS: u64 = 15_000;

/// New destinations wanted in each half of the watch: a service that meets its
/// colleagues for the first time has fewer.
pub const OPENS: u64 = 8;

/// How many in a hundred of the new ones must stay, in each half.
pub const STAY_PERCENT: u64 = 90;

/// How many in a hundred of the live ones must lie idle.
pub const IDLE_PERCENT: usize = 80;

/// Idle means no payload for this many milliseconds.
const IDLE_MS: u64 = 5_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let is_one = case.key.role != Role::Client || case.destinations < 2;
    if is_one || case.watched_ms() < WATCH_MS {
        return None;
    }
    let halves = halves_by_time(case)?;
    let grows = halves.iter().all(|half| {
        half.opened >= OPENS
            && half.growth().saturating_mul(100) >= half.opened.saturating_mul(STAY_PERCENT)
    });
    let ended_by_us = case.tally.ended_by(ClosedBy::Local) > 0;
    let old: Vec<_> = case
        .in_state(State::Established)
        .filter(|c| c.is_held() && c.age_ms(case.now).is_none_or(|ms| ms > 2 * IDLE_MS))
        .collect();
    let is_idle = |ms: u64| ms >= IDLE_MS;
    let idle = old
        .iter()
        .filter(|c| c.revivals == 0 && c.idle_ms(case.now).is_some_and(is_idle))
        .count();
    if !grows || ended_by_us || old.is_empty() || idle * 100 < old.len() * IDLE_PERCENT {
        return None;
    }
    let affected = case.live.len();
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::Medium,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} has {affected} connections open {}, {} of them new in {}; {idle} of the {} older ones lie idle, and it closes none: their number grows with every destination it meets",
            program(case.key),
            place(case),
            case.tally.opened,
            span(case.watched_ms()),
            old.len(),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("destinations", case.destinations),
            Evidence::new("opened in the first half", halves[0].opened),
            Evidence::new("opened in the second half", halves[1].opened),
            Evidence::new("closed by us", case.tally.ended_by(ClosedBy::Local)),
            Evidence::new("connections older than 10 s", old.len()),
            Evidence::new("of these, idle for over 5 s and never used again", idle),
        ],
        affected,
    })
}
