//! `half-open-peer`: the peer is gone without a word: its host lost power, its cable
//! was cut, a firewall forgot it. What we send is never acknowledged; and where we
//! send nothing, nothing tells us.

use std::net::IpAddr;

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        left_behind::IDLE_MS,
        rules::Hint,
        signs::{PATIENCE_MS, SEVERAL},
        text::{connections, have, place, span},
    },
    table::connection::{Connection, GAP_MS, Timer},
    tcp::{Role, State},
};

/// This verdict's name.
pub const CODE: &str = "half-open-peer";

/// Retransmissions of one segment from which on a lost packet is out of the
/// question: their gaps double, so that the last one is seconds long.
pub const TRIES: u32 = 5;

/// From so many milliseconds without any acknowledgement on it is worth a word: a
/// route that is recomputed heals sooner.
pub const SILENT_MS: u64 = 20_000;

/// Keepalive probes unanswered, from which on chance is out of the question.
pub const PROBES: u8 = 3;

/// An inbound connection is silent if it was not heard for so many times as long as
/// all others of its site.
pub const TIMES: u64 = 6;

/// Others whose beat must be known before one of them is missed.
pub const OTHERS: usize = 5;

/// Segments with payload received, of a connection that is in use all the time.
pub const EXCHANGES: u32 = 10;

/// Segments with payload received, of one that was used more than once or twice.
pub const BUSY: u32 = 3;

/// Milliseconds that what we sent has gone unacknowledged, or our probes have gone
/// unanswered.
fn unheard_ms(case: &Case<'_>, connection: &Connection) -> Option<u64> {
    let sample = connection.sample.as_ref().filter(|s| !s.is_bare)?;
    let unacknowledged =
        sample.timer == Timer::Retransmit && sample.send_q > 0 && sample.backoff >= TRIES;
    let unanswered = sample.timer == Timer::Keepalive && sample.probes >= PROBES;
    let quiet = sample.ack_received_ms.ms()?;
    (unacknowledged || unanswered).then(|| quiet.saturating_add(case.now.ms_since(sample.at)))
}

/// Inbound connections without keepalive that have fallen silent, while every other
/// one goes on in its usual way, and the longest pause of those, in milliseconds.
fn missed<'a>(case: &Case<'a>) -> Option<(Vec<&'a Connection>, u64)> {
    if case.key.role != Role::Server {
        return None;
    }
    // Newcomers have no usual way yet.
    let is_old = |c: &Connection| {
        let age = c.age_ms(case.now);
        age.is_none_or(|ms| ms >= case.watched_ms() / 2)
    };
    let is_known = |c: &Connection| {
        is_old(c) && case.unaccepted_ms(c).is_none() && c.idle_ms(case.now).is_some()
    };
    let open = case.in_state(State::Established);
    let open: Vec<_> = open.filter(|c| is_known(c)).collect();
    let regular = open.iter().filter(|c| beats(c) || is_busy(case, c));
    let usual = |c: &&Connection| idle_ms(case, c).max(c.longest_gap_ms.into());
    let usual_ms = regular.clone().map(usual).max()?.max(GAP_MS);
    let limit = PATIENCE_MS.max(usual_ms.saturating_mul(TIMES));
    let regular = regular.count();
    let (silent, others): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|c| idle_ms(case, c) > limit);
    let is_rule = regular >= OTHERS && regular == others.len();
    let has_keepalive =
        |c: &Connection| c.sample.as_ref().is_some_and(|s| s.timer == Timer::Keepalive);
    let silent: Vec<_> = silent.into_iter().filter(|c| !has_keepalive(c)).collect();
    if !is_rule || silent.is_empty() || silent.len() >= others.len() {
        return None;
    }
    // Where the others do not pause, nothing tells a beat from mere traffic.
    let silent = if others.iter().all(beats) {
        silent
    } else {
        of_hosts_gone(case, &silent, &others, usual_ms)
    };
    (!silent.is_empty()).then_some((silent, usual_ms))
}

fn idle_ms(case: &Case<'_>, connection: &Connection) -> u64 {
    connection.idle_ms(case.now).unwrap_or(0)
}

/// Whether it pauses and goes on, again and again.
fn beats(connection: &&Connection) -> bool {
    connection.revivals >= 2
}

/// Whether it was in use many times, and is.
fn is_busy(case: &Case<'_>, connection: &Connection) -> bool {
    let sample = connection.sample.as_ref();
    idle_ms(case, connection) < IDLE_MS
        && sample.is_some_and(|s| s.data_segments_in >= EXCHANGES)
}

/// Of the `silent` ones, those whose host has fallen silent as a whole and at once, in
/// the middle of what it did. Of a client's pool some members lie idle while others
/// are busy; where all have nothing to do they were used last at different times.
fn of_hosts_gone<'a>(
    case: &Case<'_>,
    silent: &[&'a Connection],
    others: &[&Connection],
    usual_ms: u64,
) -> Vec<&'a Connection> {
    let is_gone = |host: IpAddr| {
        let of_host = || silent.iter().filter(|c| c.remote().ip() == host);
        let idle = || of_host().map(|c| idle_ms(case, c));
        let apart = idle().max().unwrap_or(0) - idle().min().unwrap_or(0);
        let was_busy = |c: &&Connection| {
            let sample = c.sample.as_ref();
            sample.is_some_and(|s| s.data_segments_in >= BUSY)
        };
        others.iter().all(|c| c.remote().ip() != host)
            && of_host().count() >= SEVERAL
            && of_host().all(was_busy)
            && apart <= usual_ms.saturating_mul(2)
    };
    let gone = silent.iter().filter(|c| is_gone(c.remote().ip()));
    gone.copied().collect()
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let open = [State::Established, State::CloseWait];
    let open = open.into_iter().flat_map(|state| case.in_state(state));
    let unheard: Vec<_> = open.filter_map(|c| unheard_ms(case, c)).collect();
    let lasting: Vec<_> = unheard.into_iter().filter(|&ms| ms > SILENT_MS).collect();
    if let Some(longest_ms) = lasting.iter().copied().max() {
        return Some(unacknowledged(case, lasting.len(), longest_ms));
    }
    let (silent, usual_ms) = missed(case)?;
    let longest_ms = silent.iter().filter_map(|c| c.idle_ms(case.now)).max();
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: if silent.len() >= SEVERAL {
            Confidence::Medium
        } else {
            Confidence::Low
        },
        fault: Some(Fault::Peer),
        why: format!(
            "{} {} {} sent nothing for up to {}, while every other one is heard at least every {}; keepalive is off, so that a peer that has vanished is never noticed",
            connections(silent.len()),
            place(case),
            have(silent.len()),
            span(longest_ms.unwrap_or(0)),
            span(usual_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("silent connections without keepalive", silent.len()),
            Evidence::new("silent for, longest, ms", longest_ms.unwrap_or(0)),
            Evidence::new("longest pause of all others, ms", usual_ms),
        ],
        affected: silent.len(),
    })
}

fn unacknowledged(case: &Case<'_>, affected: usize, longest_ms: u64) -> Verdict {
    Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: if longest_ms > PATIENCE_MS {
            Confidence::High
        } else {
            Confidence::Medium
        },
        fault: Some(Fault::Peer),
        why: format!(
            "{} {} {} had no acknowledgement for up to {}, though the kernel sent again and again: the peer, or the path to it, is gone without closing; the kernel gives up after some 15 min by default",
            connections(affected),
            place(case),
            have(affected),
            span(longest_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections whose peer answers nothing", affected),
            Evidence::new("without acknowledgement for, longest, ms", longest_ms),
            Evidence::new("unanswered retransmissions of one segment, at least", TRIES),
        ],
        affected,
    }
}

/// Some are being sent again, for not so long yet.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let unheard: Vec<_> = case
        .in_state(State::Established)
        .filter_map(|c| unheard_ms(case, c))
        .collect();
    let longest_ms = unheard.iter().copied().max()?;
    Some(Hint {
        why: format!(
            "{} {} {} had no acknowledgement for {}: the path may heal",
            connections(unheard.len()),
            place(case),
            have(unheard.len()),
            span(longest_ms),
        ),
        evidence: Evidence::new("connections whose peer answers nothing", unheard.len()),
        affected: unheard.len(),
    })
}
