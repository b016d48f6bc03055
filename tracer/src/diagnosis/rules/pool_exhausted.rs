//! `pool-exhausted`: connections are borrowed and not returned, one after the other,
//! until the pool's cap stops it. Then nothing moves any more.
//!
//! A pool that nobody needs lies as still. But it fills at once or when it is under
//! load, and not one by one while its members lie idle.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{connections, place, program, span},
    },
    table::connection::Connection,
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "pool-exhausted";

/// Connections that must be seen to fill it: with fewer, pauses say nothing.
pub const FILLED: usize = 5;

/// The pause after a connection's use and before the next is opened, in
/// milliseconds, that a warm-up does not make: it opens the next one at once.
pub const PAUSE_MS: u64 = 50;

/// Opens must have stopped for this many milliseconds, in a watch of any length.
pub const STOPPED_MS: u64 = 15_000;

/// Opens have stopped after this many of the usual pauses between two.
const PAUSES: u64 = 5;

/// How many in a hundred of all live ones must be stale.
const STALE_PERCENT: usize = 80;

/// How many in a hundred must have been opened after a pause: requests come close
/// together at times.
const PAUSED_PERCENT: usize = 50;

/// What people and libraries set as a pool's size: whole tens and powers of two, and
/// a few besides.
fn is_round(cap: usize) -> bool {
    match cap {
        0..5 => false,
        5 | 12 | 15 | 24 | 25 | 75 => true,
        _ => cap.is_power_of_two() || (cap <= 100 && cap.is_multiple_of(10)) || cap.is_multiple_of(50),
    }
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client || case.destinations > 1 {
        return None;
    }
    let live: Vec<&Connection> = case.in_state(State::Established).collect();
    let limit = case.idle_limit_ms();
    let is_stale = |c: &&&Connection| {
        c.is_held() && c.revivals == 0 && c.idle_ms(case.now).is_some_and(|ms| ms >= limit)
    };
    let stale = live.iter().filter(is_stale).count();
    if !is_round(live.len()) || stale * 100 < live.len() * STALE_PERCENT {
        return None;
    }
    // Filled one by one: opened, used once, and a while later the next.
    let mut filled: Vec<_> = live
        .iter()
        .filter(|c| case.is_used_once(c, limit))
        .filter_map(|c| Some((c.opened_at?, case.now.minus_ms(c.idle_ms(case.now)?))))
        .collect();
    filled.sort_unstable();
    let (first, last) = (filled.first()?.0, filled.last()?.0);
    let pairs = filled.windows(2);
    let paused = pairs.filter(|pair| {
        let (used, opened) = (pair[0].1, pair[1].0);
        opened > used && opened.ms_since(used) >= PAUSE_MS
    });
    let paused = paused.count();
    if filled.len() < FILLED || paused * 100 < (filled.len() - 1) * PAUSED_PERCENT {
        return None;
    }
    let usual_ms = last.ms_since(first) / (filled.len() as u64 - 1);
    let stopped_ms = case.now.ms_since(last);
    if stopped_ms < STOPPED_MS.max(usual_ms.saturating_mul(PAUSES)) {
        return None;
    }
    let affected = live.len();
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::Medium,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} were opened one by one, one every {} on average, each used once and not again; at {affected} it stopped, {} ago: {} borrows from a pool of that size and does not return",
            connections(affected),
            place(case),
            span(usual_ms),
            span(stopped_ms),
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("live connections, a usual pool size", affected),
            Evidence::new("of these, idle and never used again", stale),
            Evidence::new("opened only a while after the one before was used", paused),
            Evidence::new("average time between two opens, ms", usual_ms),
            Evidence::new("last open, ms ago", stopped_ms),
        ],
        affected,
    })
}

#[cfg(test)]
mod tests {
    use super::is_round;

    #[test]
    fn sizes_that_people_choose() {
        for cap in [5, 8, 10, 15, 16, 20, 32, 50, 64, 100, 150, 256, 1_000] {
            assert!(is_round(cap), "{cap}");
        }
        for cap in [0, 1, 2, 4, 7, 9, 11, 13, 37, 99, 110, 257] {
            assert!(!is_round(cap), "{cap}");
        }
    }
}
