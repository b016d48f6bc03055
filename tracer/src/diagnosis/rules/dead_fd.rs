//! `dead-fd`: the connection was reset or timed out, and the program still
//! holds its file descriptor. Such sockets show in no `ss`.
//!
//! A client that was idle when the reset came may not know yet: a pool without
//! a background reader finds out when it next needs the connection.

use crate::{
    clock::BootTime,
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::Hint,
        signs::{PATIENCE_MS, SEVERAL, sample_since},
        text::{connections, have, place, program, span},
        trend::piles_up,
    },
    table::connection::Connection,
    tcp::{ClosedBy, Known, Role, State},
};

/// This verdict's name.
pub const CODE: &str = "dead-fd";

/// Payload within this many milliseconds of the end means that the program was
/// likely using the connection and met the error. Snapshots are seconds apart,
/// so a shorter span would miss most.
pub const IN_USE_MS: u64 = 5_000;

/// The same where one or two must speak for themselves: no pool's member is
/// likely to have been put back in so short a time.
pub const MID_EXCHANGE_MS: u64 = 1_000;

/// Whether it ended by no close of either side (or by both, the program having
/// only shut it down), yet is held.
fn is_dead(connection: &Connection) -> bool {
    let ended = match connection.end.by {
        Some(ClosedBy::Reset | ClosedBy::Timeout) => true,
        Some(ClosedBy::Local) => connection.half_closed,
        // The peer's FIN came first: `missing-close`.
        Some(ClosedBy::Peer) => false,
        Some(ClosedBy::Exit) => connection.end.error != 0,
        // A snapshot may have found it so.
        None => connection.end.error != 0 || connection.known != Known::Observed,
    };
    ended && connection.state == State::Close && connection.is_held()
}

/// When it died, at the latest.
fn died_at(case: &Case<'_>, connection: &Connection) -> Option<BootTime> {
    let seen = connection.end.at.or(connection.state_at);
    seen.or((connection.known == Known::Inherited).then_some(case.from))
}

/// Whether the program knows of the end: a read, a write or a poll took the error
/// away. A shutdown by both sides leaves none to take.
fn is_met(connection: &Connection) -> bool {
    let died = connection.end.at.or(connection.state_at);
    let sample = sample_since(connection, died);
    sample.is_some_and(|sample| !sample.error_waits)
}

/// Whether the program met the end: it serves (servers do not pool), was told
/// by connect or by the error, had shut the connection down, or had used it less
/// than `in_use_ms` before.
fn is_definite(case: &Case<'_>, connection: &Connection, in_use_ms: u64) -> bool {
    if connection.role == Role::Server || connection.half_closed || is_met(connection) {
        return true;
    }
    let Some(died) = died_at(case, connection) else {
        return false;
    };
    if is_failed_connect(connection) {
        return true;
    }
    let latest = match &connection.sample {
        Some(sample) => {
            let moved = [sample.data_sent_ms.ms(), sample.data_received_ms.ms()];
            let moved = moved.into_iter().flatten().min();
            moved.map(|ms| sample.at.minus_ms(ms))
        }
        None => None,
    };
    let used = latest.max(connection.established_at);
    used.is_some_and(|at| died.ms_since(at) <= in_use_ms)
}

/// Whether it never was a connection. One that is held is no leak yet: a loop
/// that reconnects may keep the last failure until its next try.
fn is_failed_connect(connection: &Connection) -> bool {
    connection.opened_at.is_some() && connection.established_at.is_none()
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let dead: Vec<_> = case.live.iter().filter(|c| is_dead(c)).collect();
    let times: Vec<_> = dead.iter().filter_map(|c| died_at(case, c)).collect();
    let growing = piles_up(case, &times);
    let older = |limit: u64| dead.iter().filter(move |c| case.state_ms(c) > limit);
    let proven = older(case.grace_ms())
        .filter(|c| growing || is_definite(case, c, IN_USE_MS))
        .count();
    let several = proven >= SEVERAL;
    let one =
        older(PATIENCE_MS).any(|c| !is_failed_connect(c) && is_definite(case, c, MID_EXCHANGE_MS));
    if !several && !one {
        return None;
    }
    let oldest_ms = dead.iter().map(|c| case.state_ms(c)).max().unwrap_or(0);
    let affected = dead.len();
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::High,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} ended by a reset, a timeout or a shutdown, the first at least {} ago, and {} still holds {}: they carry nothing any more and use up file descriptors",
            connections(affected),
            place(case),
            span(oldest_ms),
            program(case.key),
            if affected == 1 {
                "its descriptor"
            } else {
                "their descriptors"
            },
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("dead connections whose descriptor is open", affected),
            Evidence::new(
                "of these, older than the grace period and met by the program",
                proven,
            ),
            Evidence::new("oldest end, ms ago, at least", oldest_ms),
            Evidence::new("connect calls that failed", case.tally.connect_failures),
            Evidence::new("growing in both halves of the watch", growing),
        ],
        affected,
    })
}

/// Dead ones that are few, or that a pool may explain.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let dead: Vec<_> = case
        .live
        .iter()
        .filter(|c| is_dead(c) && case.state_ms(c) > case.grace_ms())
        .collect();
    let known = dead
        .iter()
        .any(|c| is_definite(case, c, IN_USE_MS) && !is_failed_connect(c));
    (known || dead.len() >= SEVERAL).then(|| Hint {
        why: format!(
            "{} {} {} ended by a reset or a timeout and not been closed since: an idle pool that has not noticed, or a close forgotten on errors",
            connections(dead.len()),
            place(case),
            have(dead.len()),
        ),
        evidence: Evidence::new("dead connections whose descriptor is open", dead.len()),
        affected: dead.len(),
    })
}
