//! `peer-not-reading`: the peer's receive window is closed, because its program does
//! not read. The kernel probes it for as long as it answers: for ever.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::Hint,
        signs::PATIENCE_MS,
        text::{connections, have, place, span},
    },
    table::connection::{Connection, Timer},
    tcp::State,
};

/// This verdict's name.
pub const CODE: &str = "peer-not-reading";

/// Before this many milliseconds it is back-pressure, in a watch of any length.
pub const EARLY_MS: u64 = 20_000;

/// Milliseconds that nothing could be sent for want of room at the peer; window
/// probes carry no payload.
fn blocked_ms(case: &Case<'_>, connection: &Connection) -> Option<u64> {
    let sample = connection.sample.as_ref()?;
    let is_blocked = sample.timer == Timer::ZeroWindow && sample.send_q > 0;
    let ms = sample.data_sent_ms.ms().filter(|_| is_blocked)?;
    Some(ms.saturating_add(case.now.ms_since(sample.at)))
}

fn blocked(case: &Case<'_>) -> Vec<(u64, u32)> {
    let open = [State::Established, State::CloseWait];
    let open = open.into_iter().flat_map(|state| case.in_state(state));
    open.filter_map(|c| Some((blocked_ms(case, c)?, c.sample?.send_q)))
        .collect()
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let early = EARLY_MS.max(case.watched_ms() / 2).min(PATIENCE_MS);
    let mut blocked = blocked(case);
    blocked.retain(|&(ms, _)| ms > early);
    let longest_ms = blocked.iter().map(|&(ms, _)| ms).max()?;
    let bytes: u64 = blocked.iter().map(|&(_, queued)| u64::from(queued)).sum();
    let affected = blocked.len();
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: if longest_ms > PATIENCE_MS {
            Confidence::High
        } else {
            Confidence::Medium
        },
        fault: Some(Fault::Peer),
        why: format!(
            "{} {} {} {bytes} bytes to send and could send none for up to {}: the peer's receive window is closed, its program does not read",
            connections(affected),
            place(case),
            have(affected),
            span(longest_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections with a closed window", affected),
            Evidence::new("nothing sent for, longest, ms", longest_ms),
            Evidence::new("bytes waiting in all of them", bytes),
        ],
        affected,
    })
}

/// Blocked for not so long yet.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let blocked = blocked(case);
    let longest_ms = blocked.iter().map(|&(ms, _)| ms).max()?;
    (longest_ms > EARLY_MS / 2).then(|| Hint {
        why: format!(
            "{} {} {} been waiting for {} for the peer to read: back-pressure, or a peer that hangs",
            connections(blocked.len()),
            place(case),
            have(blocked.len()),
            span(longest_ms),
        ),
        evidence: Evidence::new("connections with a closed window", blocked.len()),
        affected: blocked.len(),
    })
}
