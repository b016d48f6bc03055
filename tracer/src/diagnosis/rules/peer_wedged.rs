//! `peer-wedged`: the peer's kernel answers, its program does not. Requests are
//! acknowledged, on connections that were answered before, and no reply comes on any
//! of them any more.
//!
//! One blocking call (a long poll, a slow query, `BLPOP`) looks alike, and so does a
//! pool of them: each asks right after its last answer. Here requests were sent
//! later, at different times, and none was answered.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        signs::{PATIENCE_MS, SEVERAL, awaits_answer},
        text::{connections, place, span},
    },
    table::connection::{Connection, Sample},
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "peer-wedged";

/// No answer on any connection for this many milliseconds, in a watch of any length.
pub const SILENT_MS: u64 = 20_000;

/// A request sent this many milliseconds after the last answer was not the next of
/// the same exchange.
pub const LATER_MS: u64 = 1_000;

/// Requests sent over at least this many milliseconds were not sent at once.
pub const SPREAD_MS: u64 = 3_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client || case.destinations > 1 {
        return None;
    }
    let sampled = |c: &'_ &Connection| c.sample.as_ref().is_some_and(|s| !s.is_bare);
    let open: Vec<&Connection> = case.in_state(State::Established).filter(sampled).collect();
    let samples: Vec<&Sample> = open.iter().filter_map(|c| c.sample.as_ref()).collect();
    let silent_ms = samples.iter().filter_map(|s| s.data_received_ms).min()?;
    if silent_ms < SILENT_MS.max(case.watched_ms() / 2) {
        return None;
    }
    let began = case.now.minus_ms(silent_ms);
    let before = case.tally.curve.iter().rfind(|point| point.at <= began);
    let ended = before.map_or(0, |point| point.opened.saturating_sub(point.live));
    let has_ended = ended != case.tally.closed;
    let waiting: Vec<u64> = samples
        .iter()
        .filter(|s| awaits_answer(s) && s.send_q == 0 && s.data_segments_in > 0)
        .filter_map(|s| s.data_sent_ms)
        .filter(|&sent| sent + LATER_MS <= silent_ms)
        .collect();
    let (first, last) = (waiting.iter().max()?, waiting.iter().min()?);
    if has_ended || waiting.len() < SEVERAL || first - last < SPREAD_MS {
        return None;
    }
    let affected = waiting.len();
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: if silent_ms > PATIENCE_MS {
            Confidence::Medium
        } else {
            Confidence::Low
        },
        fault: Some(Fault::Peer),
        why: format!(
            "no connection {} has brought an answer for {}, and requests sent since on {} are acknowledged by the peer's kernel: its host is alive, its program hangs",
            place(case),
            span(silent_ms),
            connections(affected),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections with a request unanswered", affected),
            Evidence::new("last answer on any connection, ms ago", silent_ms),
            Evidence::new("first request sent after it, ms ago", *first),
            Evidence::new("last request sent after it, ms ago", *last),
        ],
        affected,
    })
}
