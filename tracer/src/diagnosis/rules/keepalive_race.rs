//! `keepalive-race`: the peer ends idle connections at one age, and we keep them for
//! longer. A request that is sent at that very moment meets its FIN, and gets a RST; or
//! a RST only, where it has arrived and the peer closes without having read it.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{place, program, span},
    },
    table::ages::Cluster,
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

/// The age at which the peer ends idle connections, and how many requests met that.
pub(crate) fn races(case: &Case<'_>) -> Option<(Cluster, u64)> {
    let tally = case.tally;
    let all = tally.hang_ups.total();
    let same = tally.hang_ups.cluster()?;
    let is_timer = same.from_ms >= TIMEOUT_MS && same.count * 100 >= all * SAME_PERCENT;
    let raced = tally.raced + tally.failures.within(same);
    let is_race = case.key.role == Role::Client && all >= HANG_UPS && is_timer && raced >= RACES;
    is_race.then_some((same, raced))
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let (same, raced) = races(case)?;
    let all = case.tally.hang_ups.total();
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
            raced,
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("requests that met the peer's FIN, or a RST at that age", raced),
            Evidence::new("hang-ups of idle connections, age known", all),
            Evidence::new("of these, at the usual age", same.count),
            Evidence::new("the usual age, at least, ms", same.from_ms),
            Evidence::new("the usual age, less than, ms", same.to_ms),
        ],
        affected: 0,
    })
}
