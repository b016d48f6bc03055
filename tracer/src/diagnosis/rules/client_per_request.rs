//! `client-per-request`: a new client, transport or pool for each call. Each leaves
//! its idle connection behind, until the peer's idle timeout ends it: so their
//! number settles at the rate of calls times that timeout. A garbage collector that
//! finds dropped clients may end some before.
//!
//! A pool in which the peer ends idle members looks alike when it is seldom used;
//! but a pool does not open while it has members idle.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        abandoned::ANSWER_MS,
        signs::{SEVERAL, awaits_answer},
        text::{connections, place, program, span},
    },
    table::{ages::Cluster, connection::Connection},
    tcp::{ClosedBy, Role, State},
};

/// This verdict's name.
pub const CODE: &str = "client-per-request";

/// Ended connections wanted: with fewer, one restart of the peer decides.
pub const ENDED: u64 = 5;

/// How many in a hundred of those that the peer ended it must have ended after one
/// age, and how many of the live ones must be passed over.
pub const MOST_PERCENT: u64 = 80;

/// How many in a hundred of the ended ones the peer must have ended. Where it is not
/// most of them, the others may not have been used again either.
pub const PEERS_PERCENT: u64 = 33;

/// How many must have been opened since the last use of one that counts: two dials
/// may cross.
pub const PASSED_OVER: u64 = 2;

/// Idle timeouts start from this many milliseconds; a peer that closes sooner closes
/// after each answer.
const TIMEOUT_MS: u64 = 1_000;

fn is_most(part: u64, all: u64) -> bool {
    part.saturating_mul(100) >= all.saturating_mul(MOST_PERCENT)
}

/// The age at which the peer closes nearly all that it does close.
fn timeout(case: &Case<'_>) -> Option<Cluster> {
    let tally = case.tally;
    let by_peer = tally.ended_by(ClosedBy::Peer);
    let used_once = tally.closed.saturating_sub(tally.revived);
    let (is_peers, of) = if is_most(by_peer, tally.closed) {
        (!is_most(tally.revived, by_peer), tally.lives.total())
    } else {
        let are_many = by_peer.saturating_mul(100) >= tally.closed.saturating_mul(PEERS_PERCENT);
        (are_many && is_most(used_once, tally.closed), by_peer)
    };
    let is_fixed =
        |cluster: &Cluster| cluster.from_ms >= TIMEOUT_MS && is_most(cluster.count, of);
    (by_peer >= ENDED && is_peers)
        .then(|| tally.lives.cluster())
        .flatten()
        .filter(is_fixed)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role != Role::Client || case.destinations > 1 {
        return None;
    }

    let timeout = timeout(case)?;
    let settled: Vec<&Connection> = case
        .in_state(State::Established)
        .filter(|c| c.is_held() && c.idle_ms(case.now).is_some_and(|ms| ms >= TIMEOUT_MS))
        .collect();
    let is_spent = |c: &&&Connection| {
        let sample = c.sample.as_ref();
        case.is_used_once(c, ANSWER_MS)
            && sample.is_some_and(|s| s.recv_q == 0 && !awaits_answer(s))
            && case.passed_over(c) >= PASSED_OVER
    };
    let spent = settled.iter().filter(is_spent).count();
    // The newest ones had no time to be passed over.
    let newest = settled.iter().filter(|c| case.passed_over(c) < PASSED_OVER);
    let older = settled.len() - newest.count();
    if spent < SEVERAL || !is_most(spent as u64, older as u64) {
        return None;
    }
    let affected = settled.len();
    let by_peer = case.tally.ended_by(ClosedBy::Peer);
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: Confidence::Medium,
        fault: Some(Fault::LocalApp),
        why: format!(
            "of {} opened {} in {}, each carried one exchange and was never used again: {} opens a new one per request; the peer closed {by_peer} of the {} ended ones, after {} to {}, and {affected} lie idle at any time",
            connections(case.tally.opened),
            place(case),
            span(case.watched_ms()),
            program(case.key),
            case.tally.closed,
            span(timeout.from_ms),
            span(timeout.to_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("idle connections that were passed over", spent),
            Evidence::new("idle connections", affected),
            Evidence::new("opened", case.tally.opened),
            Evidence::new("ended by the peer first", by_peer),
            Evidence::new("ended", case.tally.closed),
            Evidence::new("their usual lifetime, at least, ms", timeout.from_ms),
            Evidence::new("their usual lifetime, less than, ms", timeout.to_ms),
            Evidence::new("ended ones that were used again", case.tally.revived),
        ],
        affected,
    })
}
