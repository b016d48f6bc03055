//! `not-enough-data`: the watch is too short, or something is suspicious that
//! the evidence does not prove.

use crate::diagnosis::{Case, Class, Confidence, Evidence, Verdict, rules::HINTS, text::span};

/// This verdict's name.
pub const CODE: &str = "not-enough-data";

/// A shorter watch shows no trend, in milliseconds.
pub const WATCH_MS: u64 = 5_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let hints: Vec<_> = HINTS.iter().filter_map(|hint| hint(case)).collect();
    let mut reasons: Vec<_> = hints.iter().map(|hint| hint.why.as_str()).collect();
    let short = format!(
        "the watch of {} is too short to tell",
        span(case.watched_ms())
    );
    if case.watched_ms() < WATCH_MS {
        reasons.push(&short);
    }
    if reasons.is_empty() {
        return None;
    }
    let why = reasons.join("; ");
    let affected = hints.iter().map(|hint| hint.affected).max().unwrap_or(0);
    let mut evidence = vec![Evidence::new("length of the watch, ms", case.watched_ms())];
    evidence.extend(hints.into_iter().map(|hint| hint.evidence));
    Some(Verdict {
        code: CODE,
        class: Class::Unknown,
        confidence: Confidence::Low,
        fault: None,
        why,
        fix: case.fix(CODE),
        evidence,
        affected,
    })
}
