//! `silent-drop`: a NAT, firewall or load balancer between forgets a connection that
//! was idle for longer than it remembers. The next request is lost or met by a RST;
//! after shorter pauses all is well.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        signs::SEVERAL,
        text::{connections, place, span},
    },
    table::connection::Connection,
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "silent-drop";

/// What remembers connections does so for longer than this, in milliseconds.
pub const MEMORY_MS: u64 = 10_000;

/// Retransmissions of one segment from which on it is not a lost packet.
const TRIES: u32 = 3;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role == Role::Listener {
        return None;
    }
    let tally = case.tally;
    // Sent after a long pause, and in vain so far.
    let is_hanging = |c: &&Connection| {
        let sample = c.sample.as_ref();
        sample.is_some_and(|sample| sample.backoff >= TRIES && sample.send_q > 0)
    };
    let hanging: Vec<u64> = case
        .in_state(State::Established)
        .filter(is_hanging)
        .filter_map(|c| Some(u64::from(c.quiet_ms?.get())))
        .filter(|&ms| ms >= MEMORY_MS)
        .collect();
    let ended = tally.failures.total();
    let failed = ended + hanging.len() as u64;
    let least = [tally.failures.least_ms(), hanging.iter().copied().min()];
    let least_ms = least.into_iter().flatten().min()?;
    // Shorter pauses must have been survived, or it is the peer that resets.
    let live = case.live.iter().filter(|c| c.revivals > 0);
    let gaps = live.clone().map(|c| u64::from(c.longest_gap_ms));
    let survived_ms = gaps.max().unwrap_or(0).max(tally.longest_gap_ms);
    let survivors = live.count() as u64 + tally.revived;
    let several = SEVERAL as u64;
    let is_age = least_ms >= MEMORY_MS && survived_ms <= least_ms + least_ms / 8;
    if failed < several || survivors < several || !is_age {
        return None;
    }
    let affected = hanging.len();
    Some(Verdict {
        code: CODE,
        class: Class::Peer,
        confidence: Confidence::Medium,
        fault: Some(Fault::Network),
        why: format!(
            "{} {} failed when they were used again after {} or longer, while {survivors} were used again after up to {} and went on: something on the path forgets idle connections in silence",
            connections(failed),
            place(case),
            span(least_ms),
            span(survived_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections that ended in a reset or timeout after a pause", ended),
            Evidence::new("sent to after a pause, without answer so far", affected),
            Evidence::new("shortest pause that one did not survive, ms", least_ms),
            Evidence::new("connections that survived a pause", survivors),
            Evidence::new("longest pause that one survived, ms", survived_ms),
        ],
        affected,
    })
}
