//! `timeout-not-passed`: requests that nobody answers, one connection each, and ever
//! more of them: the caller has given up, and its deadline does not reach the
//! transport.
//!
//! A long poll waits as quietly. So one that waits says nothing: their number must
//! follow the requests in two windows, and each must wait for far longer than those
//! that ended took.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        left_behind::{p_value, percent},
        text::{connections, place, program, span},
    },
    tcp::Role,
};

/// This verdict's name.
pub const CODE: &str = "timeout-not-passed";

/// A shorter watch cannot tell a slow answer from none, in milliseconds.
pub const WATCH_MS: u64 = 20_000;

/// Unanswered ones wanted in each window.
pub const EACH: u64 = 4;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client || case.watched_ms() < WATCH_MS {
        return None;
    }
    let waiting = case.unanswered();
    let windows = case.windows(&waiting)?;
    let is_steady = windows.iter().all(|window| window.left >= EACH);
    let p = p_value(&windows)?;
    if !is_steady || p > case.significance || case.have_twins(&waiting) {
        return None;
    }
    let affected = waiting.len();
    let longest_ms = waiting.iter().filter_map(|c| c.idle_ms(case.now)).max();
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: Confidence::Medium,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} sent one request each, which the peer's kernel has acknowledged and nobody has answered for {} to {}; {} percent of all opened end so, in both halves of the watch: {} goes on opening others and does not end these",
            connections(affected),
            place(case),
            span(case.overdue_ms()),
            span(longest_ms.unwrap_or(0)),
            percent(&windows),
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("requests unanswered for longer than the limit", affected),
            Evidence::new("the limit, ms", case.overdue_ms()),
            Evidence::new("longest wait, ms", longest_ms.unwrap_or(0)),
            Evidence::new("opened in the first window", windows[0].opened),
            Evidence::new("of these, unanswered", windows[0].left),
            Evidence::new("opened in the second window", windows[1].opened),
            Evidence::new("of these, unanswered", windows[1].left),
            Evidence::new("probability of that by chance", p),
        ],
        affected,
    })
}
