//! `keepalive-race`: the peer ends idle connections at one age, and we keep them for
//! longer. A request that is sent at that very moment meets its FIN, and gets a RST.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{place, program, span},
    },
    tcp::Role,
};

/// This verdict's name.
pub const CODE: &str = "keepalive-race";

/// Lost races wanted: one may be a restart of the peer.
pub const RACES: u64 = 2;

/// Hang-ups wanted whose idle age is known.
pub const HANG_UPS: u64 = 5;

/// How many in a hundred of the hang-ups must come at one age.
pub const SAME_PERCENT: u64 = 70;

/// Idle timeouts start from this many milliseconds; what comes sooner belongs to an
/// answer.
const TIMEOUT_MS: u64 = 900;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let tally = case.tally;
    if case.key.role != Role::Client || tally.raced < RACES {
        return None;
    }
    let all = tally.hang_ups.total();
    let same = tally.hang_ups.cluster()?;
    let is_timer = same.from_ms >= TIMEOUT_MS && same.count * 100 >= all * SAME_PERCENT;
    if all < HANG_UPS || !is_timer {
        return None;
    }
    Some(Verdict {
        code: CODE,
        class: Class::Peer,
        confidence: Confidence::High,
        fault: Some(Fault::Config),
        why: format!(
            "the peer ends idle connections {} after {} to {} without a request; {} times a request of {} was on its way just then and was answered by a reset",
            place(case),
            span(same.from_ms),
            span(same.to_ms),
            tally.raced,
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("requests that met the peer's FIN", tally.raced),
            Evidence::new("hang-ups of idle connections, age known", all),
            Evidence::new("of these, at the usual age", same.count),
            Evidence::new("the usual age, at least, ms", same.from_ms),
            Evidence::new("the usual age, less than, ms", same.to_ms),
        ],
        affected: 0,
    })
}
