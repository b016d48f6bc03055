//! `connect-stuck`: connects that nobody answers.

use crate::{
    diagnosis::{
        Backlog, Case, Class, Confidence, Evidence, Fault, Verdict,
        text::{connections, have, place, span},
    },
    tcp::State,
};

/// This verdict's name.
pub const CODE: &str = "connect-stuck";

/// A connect is stuck after this many milliseconds: the slowest honest path
/// (satellite, a cold proxy) takes under 2 s.
pub const STUCK_MS: u64 = 5_000;

/// Tries that went unanswered: one may be a lost packet.
pub const TRIES: u32 = 2;

/// From this many unanswered tries on chance is out of the question.
pub const SURE_TRIES: u32 = 3;

/// Retransmissions are at least this many milliseconds apart
/// (`TCP_TIMEOUT_INIT`), which dates a connect that is older than the trace.
const RETRY_MS: u64 = 1_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let stuck: Vec<(u64, u32)> = case
        .in_state(State::SynSent)
        .filter_map(|connection| {
            // A connect that no snapshot has looked at may wait for its first
            // write (TCP_FASTOPEN_CONNECT).
            let tries = connection.sample.as_ref()?.backoff;
            let ms = case.state_ms(connection).max(u64::from(tries) * RETRY_MS);
            (ms > STUCK_MS && tries >= TRIES).then_some((ms, tries))
        })
        .collect();
    let oldest_ms = stuck.iter().map(|(ms, _)| *ms).max()?;
    let tries = stuck.iter().map(|(_, tries)| *tries).max()?;
    // On this very host the listener's queue can be looked at.
    let listener = (case.key.netns, case.key.end.port());
    let full = case
        .host
        .backlogs
        .get(&listener)
        .copied()
        .filter(|queue| case.key.end.ip().is_loopback() && queue.is_full());
    let affected = stuck.len();
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: if tries >= SURE_TRIES {
            Confidence::High
        } else {
            Confidence::Medium
        },
        fault: Some(if full.is_some() {
            Fault::Peer
        } else {
            Fault::Network
        }),
        why: format!(
            "{} {} {} been in SYN_SENT for up to {} after up to {} unanswered retries: {}; the kernel gives up after 127 s by default",
            connections(affected),
            place(case),
            have(affected),
            span(oldest_ms),
            tries,
            match full {
                Some(Backlog { waiting, limit }) => format!(
                    "the listener on this host does not accept, its queue is full ({waiting} waiting, {limit} allowed)"
                ),
                None => "the peer or a firewall on the way drops them in silence, or the peer's \
                         accept queue is full"
                    .to_owned(),
            },
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections in SYN_SENT for over 5 s", affected),
            Evidence::new("oldest, ms", oldest_ms),
            Evidence::new("most unanswered retries of one", tries),
            Evidence::new("connect calls that failed", case.tally.connect_failures),
        ],
        affected,
    })
}
