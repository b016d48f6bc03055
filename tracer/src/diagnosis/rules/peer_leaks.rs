//! `peer-leaks`: we close, and the other side never does. Each such connection waits
//! in FIN_WAIT2, held by nobody here, until the kernel drops it after 60 s
//! (`tcp_fin_timeout`). At the other end it sits in CLOSE_WAIT.
//!
//! Every connection that we close passes through FIN_WAIT2; so what counts is for
//! how long. Their number over the rate at which they come tells.

use std::net::SocketAddr;

use crate::{
    diagnosis::{
        Case, Class, Confidence, Evidence, Fault, Verdict,
        signs::SEVERAL,
        text::{place, span},
        trend::halves_by_time,
    },
    tcp::{ClosedBy, Role},
};

/// This verdict's name.
pub const CODE: &str = "peer-leaks";

/// A shorter watch tells no rate, in milliseconds.
pub const WATCH_MS: u64 = 10_000;

/// How many must wait at once.
pub const ORPHANS: u64 = 10;

/// Peers close within milliseconds; one that takes so many on average does not
/// close. No socket can be older than the watch, as far as the rate knows.
pub const STAY_MS: u64 = 20_000;

/// See the module.
#[must_use]
pub fn check(case: &Case<'_>) -> Option<Verdict> {
    let tally = case.tally;
    let end = match case.key.role {
        Role::Client => case.key.end,
        Role::Server => SocketAddr::from(([0, 0, 0, 0], case.key.end.port())),
        Role::Listener => return None,
    };
    let orphans = u64::from(case.host.orphans.get(&end).copied().unwrap_or(0));
    let closed = tally.ended_by(ClosedBy::Local) + tally.ended_by(ClosedBy::Exit);
    // Other programs' orphans are not this site's.
    let own = orphans.min(tally.fin_waits);
    if case.watched_ms() < WATCH_MS || own < ORPHANS {
        return None;
    }
    // A pool at the other end that we hung up on does not close before it is used.
    let several = SEVERAL as u64;
    let goes_on = halves_by_time(case)?.iter().all(|half| half.closed >= several);
    if !goes_on {
        return None;
    }
    // Little's law: how long one stays is their number over the rate of arrivals.
    let stay_ms = own.saturating_mul(case.watched_ms()) / closed.max(own);
    if stay_ms < STAY_MS.min(case.watched_ms() / 2) {
        return None;
    }
    Some(Verdict {
        code: CODE,
        class: Class::Peer,
        confidence: Confidence::High,
        fault: Some(Fault::Peer),
        why: format!(
            "{own} connections {} that we have closed wait in FIN_WAIT2 for the other side to close: at the rate at which we close, for about {} each; there they are in CLOSE_WAIT, leaked",
            place(case),
            span(stay_ms),
        ),
        fix: case.fix(CODE),
        evidence: vec![
            Evidence::new("sockets in FIN_WAIT2 that nobody holds", orphans),
            Evidence::new("connections closed by us first", closed),
            Evidence::new("of these, left in FIN_WAIT2", tally.fin_waits),
            Evidence::new("average stay there, at least, ms", stay_ms),
        ],
        affected: 0,
    })
}
