//! `silent-drop`: a NAT, firewall or load balancer between forgets a connection that
//! was idle for longer than it remembers. The next request is lost or met by a RST;
//! after shorter pauses all is well.

use std::time::Duration;

use crate::{
    clock::BootTime,
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::keepalive_race::races,
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

/// One that was sent to in vain.
struct Hanging {
    /// How long it had lain idle before, in milliseconds, at the least; 0 if not known.
    paused_ms: u64,
    /// When it was sent to, at the earliest.
    at: BootTime,
}

/// The site's connections that were sent to in vain so far, those included that the
/// program has given up and the kernel goes on with.
fn hanging(case: &Case<'_>) -> Vec<Hanging> {
    let states = [State::Established, State::FinWait1];
    let open = states.into_iter().flat_map(|state| case.in_state(state));
    let is_hanging = |c: &Connection| {
        let sample = c.sample.filter(|s| s.backoff >= TRIES && s.send_q > 0)?;
        let paused_ms = c.quiet_ms.map_or(0, |ms| ms.get().into());
        let heard = sample.at.minus_ms(sample.ack_received_ms.ms()?);
        let at = heard + Duration::from_millis(paused_ms);
        Some(Hanging { paused_ms, at })
    };
    open.filter_map(is_hanging).collect()
}

/// Connections that were opened, and answered, while the ones before went on hanging
/// and the ones after them were yet to: so the peer is there, and no outage either, which
/// would end for all at once.
fn opened_between(case: &Case<'_>, hanging: &[Hanging]) -> u64 {
    let times = || hanging.iter().map(|one| one.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return 0;
    };
    let is_answered = |c: &&&Connection| {
        let is_between = c.opened_at.is_some_and(|at| first < at && at < last);
        is_between && c.sample.is_some_and(|s| s.data_segments_in > 0)
    };
    case.live.iter().filter(is_answered).count() as u64
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.key.role == Role::Listener || races(case).is_some() {
        return None;
    }
    let tally = case.tally;
    let (hanging, at_once): (Vec<_>, Vec<_>) = hanging(case)
        .into_iter()
        .partition(|one| one.paused_ms >= MEMORY_MS);
    let ended = tally.failures.total();
    let failed = ended + hanging.len() as u64;
    let pauses = hanging.iter().map(|one| one.paused_ms);
    let least = [tally.failures.least_ms(), pauses.min()];
    let least_ms = least.into_iter().flatten().min()?;
    // Shorter pauses must have been survived, or it is the peer that resets; or others
    // opened meanwhile.
    let live = case.live.iter().filter(|c| c.revivals > 0);
    let gaps = live.clone().map(|c| u64::from(c.longest_gap_ms));
    let survived_ms = gaps.max().unwrap_or(0).max(tally.longest_gap_ms);
    let survivors = live.count() as u64 + tally.revived;
    let newcomers = opened_between(case, &hanging);
    let several = SEVERAL as u64;
    let is_alive = survivors >= several || newcomers >= several;
    let is_age = least_ms >= MEMORY_MS && survived_ms <= least_ms + least_ms / 8;
    // Where those in use hang as well it is no matter of age.
    let is_rule = at_once.len() * 4 <= hanging.len() + at_once.len();
    if failed < several || !is_alive || !is_age || !is_rule {
        return None;
    }
    let affected = hanging.len();
    Some(Verdict {
        code: CODE,
        class: Class::Peer,
        confidence: Confidence::Medium,
        fault: Some(Fault::Network),
        why: format!(
            "{} {} failed when they were used again after {} or longer, while {}: something on the path forgets idle connections in silence",
            connections(failed),
            place(case),
            span(least_ms),
            if survivors >= several {
                let survived = span(survived_ms);
                format!("{survivors} were used again after up to {survived} and went on")
            } else {
                format!("{newcomers} others were opened meanwhile and answered")
            },
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections that ended in a reset or timeout after a pause", ended),
            Evidence::new("sent to after a pause, without answer so far", affected),
            Evidence::new("shortest pause that one did not survive, ms", least_ms),
            Evidence::new("connections that survived a pause", survivors),
            Evidence::new("longest pause that one survived, ms", survived_ms),
            Evidence::new("connections opened and answered meanwhile", newcomers),
        ],
        affected,
    })
}
