//! `healthy`: no rule has anything to say.

use crate::diagnosis::{
    Case, Class, Confidence, Evidence, Verdict,
    text::{connections, place, span},
};

/// This verdict's name.
pub const CODE: &str = "healthy";

/// Always answers.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    Some(verdict(case))
}

/// What is said where nothing else is.
#[must_use]
pub fn verdict(case: &Case<'_>) -> Verdict {
    Verdict {
        code: CODE,
        class: Class::Healthy,
        // That nothing was seen is one sign; that it lasted the watch is another.
        confidence: Confidence::Medium,
        fault: None,
        why: format!(
            "{} {} open, {} opened and {} closed in {}: no sign of a leak",
            connections(case.live.len()),
            place(case),
            case.tally.opened,
            case.tally.closed,
            span(case.watched_ms()),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("live connections", case.live.len()),
            Evidence::new("opened", case.tally.opened),
            Evidence::new("closed", case.tally.closed),
            Evidence::new("length of the watch, ms", case.watched_ms()),
        ],
        affected: 0,
    }
}
