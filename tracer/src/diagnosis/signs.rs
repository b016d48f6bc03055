//! What several rules ask of a connection. Pure.

use crate::{
    clock::BootTime,
    diagnosis::Case,
    table::connection::{Connection, Sample, Timer},
    tcp::{Known, Role, State},
};

/// From how many connections on a definite sign may call a site leaking: one or
/// two can be a slow error path.
pub(crate) const SEVERAL: usize = 3;

/// How long a program may be busy with one thing (a slow query, a batch job, a
/// garbage collection) before a socket that waits for it counts as forgotten:
/// the timeout that most proxies and servers start from.
pub(crate) const PATIENCE_MS: u64 = 60_000;

impl<'a> Case<'a> {
    /// The live connections in `state`.
    pub(crate) fn in_state(&self, state: State) -> impl Iterator<Item = &'a Connection> {
        self.live.iter().copied().filter(move |c| c.state == state)
    }

    /// Milliseconds that `connection` has been in its state, at the least.
    ///
    /// Exact where the transition was seen. Else the last acknowledgement
    /// bounds it: a FIN carries one, so none is older than the transition. What was
    /// there before the trace has been so for the whole watch; of a connection
    /// repaired after a loss that is not known.
    pub(crate) fn state_ms(&self, connection: &Connection) -> u64 {
        if let Some(at) = connection.state_at {
            return self.now.ms_since(at);
        }
        let watched = match connection.known {
            Known::Repaired => 0,
            Known::Observed | Known::Inherited => self.watched_ms(),
        };
        let unheard = match (connection.state, &connection.sample) {
            (State::Close | State::SynSent, _) | (_, None) => None,
            (_, Some(sample)) => sample.ack_received_ms.ms(),
        };
        watched.max(unheard.unwrap_or(0))
    }

    /// Milliseconds that an accept queue has held `connection`, at the least;
    /// `None` if a program has it, or may have.
    ///
    /// Payload sent by us proves a program even where its accept was missed.
    pub(crate) fn unaccepted_ms(&self, connection: &Connection) -> Option<u64> {
        let sample = connection.sample.as_ref()?;
        let waits = connection.role == Role::Server
            && matches!(connection.state, State::Established | State::CloseWait)
            && connection.owner.is_none()
            && sample.inode == 0
            && sample.data_segments_out == 0
            && connection.tx_bytes == 0;
        waits.then(|| {
            let since = connection.established_at.or(connection.opened_at);
            match (since, connection.known) {
                (Some(at), _) => sample.at.ms_since(at),
                (None, Known::Repaired) => sample.ack_received_ms.ms().unwrap_or(0),
                (None, _) => sample
                    .at
                    .ms_since(self.from)
                    .max(sample.ack_received_ms.ms().unwrap_or(0)),
            }
        })
    }
}

/// Whether a program has the connection in hand: a client's does from the
/// start, a server's once accepted.
pub(crate) fn is_accepted(connection: &Connection) -> bool {
    connection.role == Role::Client
        || connection.owner.is_some()
        || connection.sample.as_ref().is_some_and(|s| s.inode != 0)
}

/// The snapshot of `connection` if it was taken at `since` or later.
pub(crate) fn sample_since(connection: &Connection, since: Option<BootTime>) -> Option<&Sample> {
    connection
        .sample
        .as_ref()
        .filter(|sample| since.is_none_or(|at| sample.at >= at))
}

/// Whether the latest payload is one that came in and was not answered: the
/// program may still be working on it.
pub(crate) fn is_unanswered(sample: &Sample) -> bool {
    match (sample.data_received_ms.ms(), sample.data_sent_ms.ms()) {
        (Some(received), Some(sent)) => received < sent,
        (received, _) => received.is_some(),
    }
}

/// Whether the latest payload is one that went out: an answer to it is still due,
/// if it was a request.
///
/// A request that follows the last answer at once falls into the same tick of the
/// kernel's clock. What comes in after a last answer are keepalive's replies at most:
/// without keepalive an acknowledgement since then is that of a request.
pub(crate) fn awaits_answer(sample: &Sample) -> bool {
    match (sample.data_sent_ms.ms(), sample.data_received_ms.ms()) {
        (Some(sent), Some(received)) if sent == received => {
            matches!(sample.timer, Timer::None)
                && matches!(sample.ack_received_ms.ms(), Some(ms) if ms < received)
        }
        (Some(sent), Some(received)) => sent < received,
        (sent, None) => sent.is_some(),
        (None, _) => false,
    }
}

/// Whether it served more than one exchange: revived after a pause, or in use for
/// longer than `span` ms after its opening.
pub(crate) fn is_reused(case: &Case<'_>, connection: &Connection, span: u64) -> bool {
    let busy = match (connection.age_ms(case.now), connection.idle_ms(case.now)) {
        (Some(age), Some(idle)) => age.saturating_sub(idle) > span,
        _ => false,
    };
    let several = connection
        .sample
        .as_ref()
        .is_some_and(|sample| sample.data_segments_in > 1 && sample.data_segments_out > 1);
    connection.revivals > 0 || (busy && several)
}
