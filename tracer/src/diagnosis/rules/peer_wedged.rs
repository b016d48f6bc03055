//! `peer-wedged`: the peer's kernel answers, its program does not. Requests are
//! acknowledged, on connections that were answered before, and no reply comes on any
//! of them any more.
//!
//! One blocking call (a long poll, a slow query, `BLPOP`) looks alike, and so does a
//! pool of them: each asks right after its last answer, or as soon as it is done with
//! its work, which takes now this long and now that. Here requests were sent later, at
//! different times, and none was answered; or a timer sent each, as a heartbeat, and
//! those are answered at once.

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

/// A pause of at least so many milliseconds between an answer and the next request is
/// no program's haste.
pub const BEAT_MS: u64 = 500;

/// A timer's pauses differ from one another by no more than one part in so many.
pub const ALIKE: u64 = 5;

/// Answers that make a habit.
pub const BEATS: u32 = 3;

/// Whether a timer sent all these requests: each after the same pause since the last
/// of several answers.
fn is_heartbeat(waiting: &[&Sample]) -> bool {
    let pause = |s: &&Sample| s.data_received_ms.ms()?.checked_sub(s.data_sent_ms.ms()?);
    let pauses = || waiting.iter().filter_map(pause);
    let (Some(least), Some(most)) = (pauses().min(), pauses().max()) else {
        return false;
    };
    least >= BEAT_MS
        && most - least <= least / ALIKE
        && waiting.iter().all(|s| s.data_segments_in >= BEATS)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client || case.destinations > 1 {
        return None;
    }
    let sampled = |c: &'_ &Connection| c.sample.as_ref().is_some_and(|s| !s.is_bare);
    let open: Vec<&Connection> = case.in_state(State::Established).filter(sampled).collect();
    let samples: Vec<&Sample> = open.iter().filter_map(|c| c.sample.as_ref()).collect();
    let silent_ms = samples.iter().filter_map(|s| s.data_received_ms.ms()).min()?;
    if silent_ms < SILENT_MS.max(case.watched_ms() / 2) {
        return None;
    }
    let began = case.now.minus_ms(silent_ms);
    let before = case.tally.curve.iter().rfind(|point| point.at <= began);
    let ended = before.map_or(0, |point| point.opened.saturating_sub(point.live));
    let has_ended = ended != case.tally.closed;
    let mut waiting: Vec<&Sample> = samples
        .iter()
        .copied()
        .filter(|s| awaits_answer(s) && s.send_q == 0 && s.data_segments_in > 0)
        .collect();
    let beats = waiting.len() == samples.len() && is_heartbeat(&waiting);
    if !beats {
        let is_later = |sent: u64| sent + LATER_MS <= silent_ms;
        waiting.retain(|s| s.data_sent_ms.ms().is_some_and(is_later));
    }
    let sent = || waiting.iter().filter_map(|s| s.data_sent_ms.ms());
    let (first, last) = (sent().max()?, sent().min()?);
    let is_apart = beats || first - last >= SPREAD_MS;
    if has_ended || waiting.len() < SEVERAL || !is_apart {
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
            "no connection {} has brought an answer for {}, and requests on {} are acknowledged by the peer's kernel: its host is alive, its program hangs",
            place(case),
            span(silent_ms),
            connections(affected),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections with a request unanswered", affected),
            Evidence::new("each sent by a timer since its last answer", beats),
            Evidence::new("last answer on any connection, ms ago", silent_ms),
            Evidence::new("first request unanswered, ms ago", first),
            Evidence::new("last request unanswered, ms ago", last),
        ],
        affected,
    })
}
