//! The rule: which of the connections that no program closed are leaks. Pure.
//!
//! README.md states it for users; keep both in step.

use std::time::Duration;

use super::ledger::Left;
use crate::{
    clock::BootTime,
    tcp::{ClosedBy, Role, State, named},
};

named! {
    /// How a connection that no program closed is judged.
    Verdict {
        /// The program should have closed it.
        Leak = "leak",
        /// It hung in a wait state.
        Stuck = "stuck",
        /// Nothing but the end of the process closed it, and nothing shows that it
        /// had been forgotten: as the members of a pool.
        Held = "held",
    }
}

/// What is said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How bad.
    pub verdict: Verdict,
    /// The verdict's name, for `tcpleak explain`.
    pub code: &'static str,
    /// How long it had been so, in milliseconds.
    pub for_ms: u64,
}

/// What the rule asks of whatever surrounds a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// How long it had lain unused when the same code opened another one in its place,
    /// in milliseconds: see [`passed_over`]. Only where [`SEVERAL`] are so.
    pub passed_over_ms: Option<u64>,
    /// A pool that does not listen to its idle members opened it: these find out that
    /// the peer has hung up when they are next asked for.
    pub is_of_deaf_pool: bool,
}

/// So many of one process, to one place and from the same code must have been passed
/// over: two clients with a pool each may well leave one behind.
pub const SEVERAL: usize = 3;

/// Judges one.
#[must_use]
pub fn judge(left: &Left, grace: Duration, around: Around) -> Judgement {
    let connection = &left.connection;
    let (state, since) = before(left);
    let opened = connection.opened_at.unwrap_or(left.until);
    let for_ms = left.until.ms_since(since.unwrap_or(opened));
    let is_long = for_ms >= millis(grace);
    let found = |verdict, code, for_ms| Judgement {
        verdict,
        code,
        for_ms,
    };
    match (state, around.passed_over_ms) {
        (State::CloseWait | State::Close, _) if is_long && !around.is_of_deaf_pool => {
            let by_peer = connection.end.by == Some(ClosedBy::Peer);
            let code = if by_peer { "missing-close" } else { "dead-fd" };
            found(Verdict::Leak, code, for_ms)
        }
        (State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck, _) if is_long => {
            found(Verdict::Leak, "half-closed-held", for_ms)
        }
        (State::SynSent, _) if is_long => found(Verdict::Stuck, "connect-stuck", for_ms),
        (State::Established, Some(unused)) => found(Verdict::Leak, "unbounded-growth", unused),
        _ => found(Verdict::Held, HELD, left.until.ms_since(opened)),
    }
}

/// The name of what only an exit closed.
pub const HELD: &str = "held-to-exit";

/// The state that the program left it in, and since when.
#[must_use]
pub fn before(left: &Left) -> (State, Option<BootTime>) {
    let connection = &left.connection;
    if !left.by_exit {
        return (connection.state, connection.state_at);
    }
    let mut last = connection.history().rev();
    last.find(|(_, at)| *at <= left.until)
        .map_or((connection.state, None), |(state, at)| (state, Some(at)))
}

/// How long it had lain unused when the same code of the same process last opened
/// another one to the same place, in milliseconds; `None` where that is less than the
/// grace time. A pool opens only when all its members are in use, so such a one is in
/// none.
#[must_use]
pub fn passed_over(left: &Left, last_opening: Option<BootTime>, grace: Duration) -> Option<u64> {
    let idle = if left.by_exit {
        left.connection.end.idle_ms.map(u64::from)
    } else {
        left.connection.idle_ms(left.until)
    }?;
    let is_open = before(left).0 == State::Established && left.connection.role == Role::Client;
    let told = left.connection.end.app_closed_at.unwrap_or(left.until);
    let used = told.minus_ms(idle);
    let unused = last_opening?.ms_since(used);
    (is_open && unused >= millis(grace).max(1)).then_some(unused)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
