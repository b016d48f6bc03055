//! `accept-stalled`: clients are connected, as far as the kernel and they can
//! tell, but the program does not accept them.

use crate::{
    diagnosis::{
        Backlog, Case, Class, Confidence, Evidence, Fault, Verdict,
        rules::Hint,
        signs::{PATIENCE_MS, SEVERAL},
        text::{connections, have, place, program, span},
    },
    tcp::Role,
};

/// This verdict's name.
pub const CODE: &str = "accept-stalled";

fn backlog(case: &Case<'_>) -> Option<Backlog> {
    let listener = (case.key.netns, case.key.end.port());
    case.host.backlogs.get(&listener).copied()
}

/// Milliseconds each unaccepted connection has waited, at the least. None if
/// the listener says that its queue is empty: they were accepted unseen.
fn waits(case: &Case<'_>) -> Vec<u64> {
    if backlog(case).is_some_and(|queue| queue.waiting == 0) {
        return Vec::new();
    }
    let waits = case.live.iter().filter_map(|c| case.unaccepted_ms(c));
    waits.collect()
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let waits = waits(case);
    let queue = backlog(case);
    let is_full = queue.is_some_and(Backlog::is_full);
    let oldest_ms = waits.iter().copied().max()?;
    let overdue = waits.iter().filter(|&&ms| ms > case.grace_ms()).count();
    // One or two: the start of a service by socket activation, or a browser's
    // connection kept in reserve.
    let stalled = overdue >= SEVERAL || (overdue > 0 && is_full) || oldest_ms > PATIENCE_MS;
    if !stalled {
        return None;
    }
    let affected = waits.len();
    let mut evidence = vec![
        Evidence::new("connections never accepted (no owner, inode 0)", affected),
        Evidence::new("of these, older than the grace period", overdue),
        Evidence::new("longest wait, ms, at least", oldest_ms),
    ];
    if let Some(queue) = queue {
        evidence.push(Evidence::new("waiting in the accept queue", queue.waiting));
        evidence.push(Evidence::new("limit of the accept queue", queue.limit));
    }
    Some(Verdict {
        code: CODE,
        class: Class::Stuck,
        confidence: Confidence::High,
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} {} been waiting to be accepted, the longest for at least {}: {} listens and does not call accept{}",
            connections(affected),
            place(case),
            have(affected),
            span(oldest_ms),
            program(case.key),
            match queue.filter(|_| is_full) {
                Some(queue) => format!(
                    "; its queue is full ({} waiting, {} allowed), so new clients time out",
                    queue.waiting, queue.limit
                ),
                None => String::new(),
            },
        ),
        fix: case.fix(CODE),
        evidence,
        affected,
    })
}

/// A few that wait, or a queue full at this instant.
pub(crate) fn hint(case: &Case<'_>) -> Option<Hint> {
    let overdue = waits(case)
        .iter()
        .filter(|&&ms| ms > case.grace_ms())
        .count();
    if overdue > 0 {
        return Some(Hint {
            why: format!(
                "{} {} {} been waiting to be accepted for over {}: too few to call the program stuck",
                connections(overdue),
                place(case),
                have(overdue),
                span(case.grace_ms()),
            ),
            evidence: Evidence::new("connections not accepted within the grace period", overdue),
            affected: overdue,
        });
    }
    let queue = backlog(case).filter(|queue| case.key.role == Role::Listener && queue.is_full())?;
    Some(Hint {
        why: format!(
            "the accept queue {} is full at this instant ({} waiting, {} allowed): a burst, or an accept loop that does not keep up",
            place(case),
            queue.waiting,
            queue.limit,
        ),
        evidence: Evidence::new("waiting in the accept queue", queue.waiting),
        affected: 0,
    })
}
