//! Connections whose peer hung up, and what tells a forgotten one from a member
//! of an idle pool. Pure.

use crate::{
    clock::BootTime,
    diagnosis::{
        Case,
        signs::{is_accepted, is_unanswered, sample_since},
    },
    table::connection::{Connection, Sample},
    tcp::{ClosedBy, Role, State},
};

/// A FIN within this many milliseconds of the answer belongs to it ("Connection:
/// close"): idle timeouts start from 2 s (gunicorn) and 5 s (Node, Apache).
pub(crate) const ANNOUNCED_MS: u64 = 1_000;

/// Payload that comes in within this many milliseconds of our latest is its
/// answer; what comes later may be the peer's farewell to an idle connection.
pub(crate) const ANSWER_MS: u64 = 2_000;

/// Farewells are at most this long, in bytes: a TLS close_notify is 31 at most,
/// an HTTP/2 GOAWAY under 100, a database's error message a few hundred.
pub(crate) const FAREWELL_BYTES: u32 = 512;

/// A connection whose peer hung up while the program holds it.
pub(crate) struct Abandoned<'a> {
    connection: &'a Connection,
    /// When the peer's FIN came; `None` if before the trace.
    pub(crate) at: Option<BootTime>,
    /// Milliseconds since then, at the least.
    pub(crate) ms: u64,
    /// The snapshot, if taken since then.
    pub(crate) sample: Option<&'a Sample>,
}

impl<'a> Abandoned<'a> {
    pub(crate) fn of(case: &Case<'_>, connection: &'a Connection) -> Option<Self> {
        let fin = |(state, at): &(State, BootTime)| (*state == State::CloseWait).then_some(*at);
        let at = match connection.state {
            State::CloseWait if is_accepted(connection) => connection.state_at,
            // Keepalive finds the peer gone and ends it; the fd remains.
            State::Close
                if connection.closed_by == Some(ClosedBy::Peer) && connection.is_held() =>
            {
                let seen = connection.history.iter().rev().find_map(fin);
                seen.or(connection.state_at)
            }
            _ => return None,
        };
        Some(Self {
            connection,
            at,
            ms: at.map_or_else(|| case.state_ms(connection), |at| case.now.ms_since(at)),
            sample: sample_since(connection, at),
        })
    }

    /// Whether it has lasted for `limit` ms with nothing more to send: a half
    /// closed connection may still carry our answer.
    pub(crate) fn outlasts(&self, limit: u64) -> bool {
        self.ms > limit
            && self.sample.is_none_or(|sample| {
                sample.send_q == 0 && sample.data_sent_ms.is_none_or(|ms| ms > limit)
            })
    }

    /// Whether a server may still be working on the answer to a client that
    /// has lost patience: request read, end-of-file not, nothing sent since.
    pub(crate) fn may_be_at_work(&self) -> bool {
        self.connection.role == Role::Server
            && self
                .sample
                .is_some_and(|sample| sample.recv_q == 1 && is_unanswered(sample))
    }

    /// Whether no pool explains it: the program knew that the peer hung up, or
    /// left an answer unread.
    pub(crate) fn is_definite(&self) -> bool {
        if self.connection.role == Role::Server {
            return true;
        }
        let Some(sample) = self.sample else {
            return false;
        };
        match sample.recv_q {
            0 => true,
            1 => self.hung_up_after_data(sample) == Some(true) && answers(sample),
            more => more > FAREWELL_BYTES || !self.is_farewell(sample),
        }
    }

    /// Whether the FIN came right after the last payload; `None` if unknown.
    fn hung_up_after_data(&self, sample: &Sample) -> Option<bool> {
        let received = sample.at.minus_ms(sample.data_received_ms?);
        Some(self.at?.ms_since(received) < ANNOUNCED_MS)
    }

    /// Whether the last payload may be the peer's goodbye to an idle
    /// connection, not an answer.
    fn is_farewell(&self, sample: &Sample) -> bool {
        !answers(sample) && self.hung_up_after_data(sample) != Some(false)
    }
}

/// Whether the last payload that came in answers the last that went out.
fn answers(sample: &Sample) -> bool {
    matches!(
        (sample.data_sent_ms, sample.data_received_ms),
        (Some(sent), Some(received)) if sent.saturating_sub(received) <= ANSWER_MS
    )
}
