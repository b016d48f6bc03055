//! `response-not-finished`: a client asks, gets its answer, and neither reads that
//! to the end nor closes. The connection cannot be used again, and nobody frees it.
//!
//! It differs from `missing-close` by what is left in the receive queue: data, or
//! the end-of-file. A farewell to an idle pool's member is left there too, so some
//! sign must say that no pool would come back for it.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        abandoned::{FAREWELL_BYTES, Finding, answers},
        left_behind::PASSED_OVER,
        signs::{SEVERAL, is_reused},
        text::{connections, place, program, span},
    },
    table::connection::Connection,
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "response-not-finished";

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client {
        return None;
    }
    hung_up(case).or_else(|| open(case))
}

/// The peer has hung up meanwhile.
fn hung_up(case: &Case<'_>) -> Option<Verdict> {
    let found = Finding::of(case);
    if !found.is_proven() {
        return None;
    }
    let is_unfinished = |c: &Connection| !is_reused(case, c, case.idle_limit_ms());
    let unfinished = found
        .all
        .iter()
        .filter(|a| a.sample.is_some_and(|s| s.recv_q > 0) && is_unfinished(a.connection));
    let unfinished = unfinished.count();
    let affected = found.all.len();
    if unfinished * 2 <= affected {
        return None;
    }
    let why = format!(
        "{} {} carried one exchange each; the peer has hung up, the first at least {} ago, and {} has neither read {unfinished} of them to the end nor closed them{}",
        connections(affected),
        place(case),
        span(found.oldest_ms),
        program(case.key),
        found.what_else(),
    );
    Some(verdict(
        case,
        why,
        vec![
            Evidence::new("connections that the peer closed and we did not", affected),
            Evidence::new("of these, not read to the end (Recv-Q > 0)", unfinished),
            Evidence::new("of these, with data left (Recv-Q > 1)", found.unread()),
            Evidence::new("older than the grace period", found.old),
            Evidence::new("growing in both halves of the watch", found.growing),
            Evidence::new("oldest in CLOSE_WAIT, at least, ms", found.oldest_ms),
        ],
        affected,
    ))
}

/// The peer waits still: part of an answer lies unread while others are opened.
fn open(case: &Case<'_>) -> Option<Verdict> {
    let grace = case.grace_ms();
    let is_unread = |c: &&Connection| {
        let unread = c.sample.as_ref().is_some_and(|sample| {
            sample.recv_q > 0
                && sample.data_received_ms.ms().is_some_and(|ms| ms > grace)
                && (answers(sample) || sample.recv_q > FAREWELL_BYTES)
        });
        unread
            && c.is_held()
            && c.opened_at.is_some()
            && !is_reused(case, c, case.idle_limit_ms())
            && case.passed_over(c) >= PASSED_OVER
    };
    let unread: Vec<_> = case
        .in_state(State::Established)
        .filter(is_unread)
        .collect();
    if unread.len() < SEVERAL || case.have_twins(&unread) {
        return None;
    }
    let samples = unread.iter().filter_map(|c| c.sample.as_ref());
    let bytes: u64 = samples.map(|sample| u64::from(sample.recv_q)).sum();
    let oldest_ms = unread.iter().filter_map(|c| c.idle_ms(case.now)).max();
    let least = unread.iter().map(|c| case.passed_over(c)).min();
    let why = format!(
        "{} {} got an answer, the first at least {} ago, of which {bytes} bytes lie unread; {} has opened {} or more since instead of using them again",
        connections(unread.len()),
        place(case),
        span(oldest_ms.unwrap_or(0)),
        program(case.key),
        least.unwrap_or(0),
    );
    Some(verdict(
        case,
        why,
        vec![
            Evidence::new("connections with an answer left unread", unread.len()),
            Evidence::new("bytes unread in all of them", bytes),
            Evidence::new("unread for, longest, ms", oldest_ms.unwrap_or(0)),
            Evidence::new("opened since the last of them was used", least.unwrap_or(0)),
        ],
        unread.len(),
    ))
}

fn verdict(case: &Case<'_>, why: String, evidence: Vec<Evidence>, affected: usize) -> Verdict {
    Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::High,
        fault: Some(Fault::LocalApp),
        why,
        fix: case.fix(CODE),
        evidence,
        affected,
    }
}
