//! `inherited-fd`: the program that opened a connection has closed it or ended, and
//! another process, mostly a child, has the descriptor still. So the connection does
//! not end, and nobody uses it.
//!
//! Handing on is a craft, too: a server that forks for each client, a supervisor that
//! passes sockets, a daemon that forks at its start. There the heir uses what it got.

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        abandoned::Abandoned,
        signs::{PATIENCE_MS, SEVERAL},
        text::{connections, place, program, span},
    },
    table::connection::Connection,
    tcp::{Known, Role, State},
};

/// This verdict's name.
pub const CODE: &str = "inherited-fd";

/// A descriptor of another program's that nobody uses.
struct Inherited {
    opener: u32,
    /// The peer has hung up meanwhile, and the heir does not notice.
    is_abandoned: bool,
    /// Milliseconds without use, at the least.
    idle_ms: u64,
}

fn inherited(case: &Case<'_>, connection: &Connection) -> Option<Inherited> {
    let opener = connection.opener()?;
    let holders = connection.holders()?;
    let is_let_go = holders.iter().all(|holder| holder.pid != opener.pid);
    if holders.is_empty() || !is_let_go || connection.known != Known::Observed {
        return None;
    }
    let is_abandoned = Abandoned::of(case, connection).is_some();
    // Made into another program, or made by one that goes on without it: neither is
    // how a daemon starts, nor how a server hands on its work.
    let is_other = holders.iter().all(|holder| holder.comm != opener.comm);
    let goes_on = case.host.holders.contains(&opener.pid);
    let is_unused = is_other || (goes_on && connection.revivals == 0);
    let is_open = connection.role == Role::Client && connection.state == State::Established;
    (is_abandoned || (is_open && is_unused)).then_some(Inherited {
        opener: opener.pid,
        is_abandoned,
        idle_ms: connection.idle_ms(case.now)?,
    })
}

/// Whether a descriptor was handed over on purpose: fork and exec keep its number, a
/// unix socket does so by chance only. Whoever took it is the one to close it.
fn is_handed_over(connection: &Connection) -> bool {
    let of_opener = connection.opener().and_then(|opener| opener.fd);
    let (Some(of_opener), Some(holders)) = (of_opener, connection.holders()) else {
        return false;
    };
    !holders.is_empty() && holders.iter().all(|holder| holder.fd != of_opener)
}

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    if case.live.iter().any(|c| is_handed_over(c)) {
        return None;
    }
    let found = case.live.iter().filter_map(|c| inherited(case, c));
    let old: Vec<_> = found.filter(|i| i.idle_ms > case.grace_ms()).collect();
    let oldest_ms = old.iter().map(|i| i.idle_ms).max()?;
    let is_overdue = oldest_ms > PATIENCE_MS.min(case.watched_ms() / 2);
    if old.len() < SEVERAL && !is_overdue {
        return None;
    }
    let affected = old.len();
    let abandoned = old.iter().filter(|i| i.is_abandoned).count();
    let openers: Vec<u32> = old.iter().map(|i| i.opener).collect();
    let opener = openers.first()?;
    Some(Verdict {
        code: CODE,
        class: Class::Leak,
        confidence: if old.len() >= SEVERAL || abandoned > 0 {
            Confidence::High
        } else {
            Confidence::Medium
        },
        fault: Some(Fault::LocalApp),
        why: format!(
            "{} {} opened by pid {opener} and let go by it: now only {} has the descriptor, and has not used it for up to {}, so that the peer is never told of the end",
            connections(affected),
            place(case),
            program(case.key),
            span(oldest_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("connections that their opener has let go of", affected),
            Evidence::new("opener, pid", *opener),
            Evidence::new("of these, closed by the peer meanwhile", abandoned),
            Evidence::new("unused for, longest, ms", oldest_ms),
        ],
        affected,
    })
}
