//! `healthy-pool`: a client's connections that are kept and used again.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Verdict,
        abandoned::ANSWER_MS,
        signs::is_reused,
        text::{connections, place, span},
    },
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "healthy-pool";

/// From how many members on it is a pool.
pub const MEMBERS: usize = 2;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let members: Vec<_> = case.in_state(State::Established).collect();
    let reused = members.iter().filter(|c| is_reused(case, c, ANSWER_MS));
    let reused = reused.count();
    let is_pool = members.len() >= MEMBERS && reused * 2 >= members.len();
    if case.key.role != Role::Client || !is_pool {
        return None;
    }
    Some(Verdict {
        code: CODE,
        class: Class::Healthy,
        confidence: Confidence::Medium,
        fault: None,
        why: format!(
            "{} {} open, {reused} of them seen in use again; {} opened and {} closed in {}: a pool that works",
            connections(members.len()),
            place(case),
            case.tally.opened,
            case.tally.closed,
            span(case.watched_ms()),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("live connections", members.len()),
            Evidence::new("of these, used again", reused),
            Evidence::new("opened", case.tally.opened),
            Evidence::new("closed", case.tally.closed),
            Evidence::new("length of the watch, ms", case.watched_ms()),
        ],
        affected: 0,
    })
}
