//! `half-closed-held`: the program shut down its sending side, the peer has
//! not answered with a FIN, and nobody closes. With the descriptor held the
//! kernel's `tcp_fin_timeout` does not apply: it lasts for ever.
//!
//! A half-close is legitimate while the response flows, or is being computed.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::Hint,
        signs::{PATIENCE_MS, SEVERAL, awaits_answer, sample_since},
        text::{connections, have, place, program, span},
    },
    table::connection::{Connection, Sample},
    tcp::State,
};

/// This verdict's name.
pub const CODE: &str = "half-closed-held";

/// Before this many milliseconds even several prove nothing: answers take time.
pub const EARLY_MS: u64 = 10_000;

/// How long one or two may wait for the answer to what they sent, in
/// milliseconds: half-closing clients (`nc -N`, job submission, proxies) wait
/// for batch work, and five minutes is where those give up.
pub const ANSWER_MS: u64 = 300_000;

/// A half-closed connection, held, with nothing coming in.
struct Held<'a> {
    sample: &'a Sample,
    /// Milliseconds in FIN_WAIT2 without payload received, at the least.
    quiet_ms: u64,
}

impl Held<'_> {
    /// Whether it waits for the answer to what it sent last.
    fn awaits_answer(&self) -> bool {
        awaits_answer(self.sample)
    }
}

fn held<'a>(case: &Case<'a>) -> Vec<Held<'a>> {
    let held = |connection: &'a Connection| {
        // Without a snapshot the response may be flowing.
        let sample = sample_since(connection, connection.state_at)?;
        let received = sample.data_received_ms.ms().unwrap_or(u64::MAX);
        connection.is_held().then(|| Held {
            sample,
            quiet_ms: case.state_ms(connection).min(received),
        })
    };
    case.in_state(State::FinWait2).filter_map(held).collect()
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let held = held(case);
    let several_ms = EARLY_MS.max(case.watched_ms() / 2);
    let older = |limit: u64| held.iter().filter(move |h| h.quiet_ms > limit);
    let overdue = older(PATIENCE_MS).any(|h| !h.awaits_answer() || h.quiet_ms > ANSWER_MS);
    let confidence = if overdue || older(PATIENCE_MS).count() >= SEVERAL {
        Confidence::High
    } else if older(several_ms).count() >= SEVERAL {
        Confidence::Medium
    } else {
        return None;
    };
    let affected = held.len();
    let oldest_ms = held.iter().map(|h| h.quiet_ms).max().unwrap_or(0);
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} {} been in FIN_WAIT2 with nothing received for up to {}: {} shut down its side and never closed, and the peer has not closed either",
            connections(affected),
            place(case),
            have(affected),
            span(oldest_ms),
            program(case.key),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new(
                "connections in FIN_WAIT2 with their descriptor open",
                affected,
            ),
            Evidence::new(
                "of these, still waiting for an answer",
                held.iter().filter(|h| h.awaits_answer()).count(),
            ),
            Evidence::new("longest without payload received, ms", oldest_ms),
        ],
        affected,
    })
}

/// Quiet ones that may still get their answer.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let quiet = held(case).iter().filter(|h| h.quiet_ms > EARLY_MS).count();
    (quiet > 0).then(|| Hint {
        why: format!(
            "{} {} {} been half closed by the program for over {} with nothing received: it waits for a late answer, or it forgot to close",
            connections(quiet),
            place(case),
            have(quiet),
            span(EARLY_MS),
        ),
        evidence: Evidence::new("connections in FIN_WAIT2, quiet for over 10 s", quiet),
        affected: quiet,
    })
}
