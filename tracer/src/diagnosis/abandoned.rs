//! Connections whose peer hung up, and what tells a forgotten one from a member
//! of an idle pool. Pure.

use crate::{
    clock::BootTime,
    diagnosis::{
        Case,
        signs::{PATIENCE_MS, SEVERAL, is_accepted, is_unanswered, sample_since},
        trend::piles_up,
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
    pub(crate) connection: &'a Connection,
    /// When the peer's FIN came; `None` if before the trace.
    pub(crate) at: Option<BootTime>,
    /// Milliseconds since then, at the least.
    pub(crate) ms: u64,
    /// The snapshot, if taken since then.
    pub(crate) sample: Option<&'a Sample>,
}

impl<'a> Abandoned<'a> {
    pub(crate) fn of(case: &Case<'_>, connection: &'a Connection) -> Option<Self> {
        let fin = |(state, at)| (state == State::CloseWait).then_some(at);
        let at = match connection.state {
            State::CloseWait if is_accepted(connection) => connection.state_at,
            // Keepalive finds the peer gone and ends it; the fd remains.
            State::Close if connection.end.by == Some(ClosedBy::Peer) && connection.is_held() => {
                let seen = connection.history().rev().find_map(fin);
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
                sample.send_q == 0 && sample.data_sent_ms.ms().is_none_or(|ms| ms > limit)
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
        let received = sample.at.minus_ms(sample.data_received_ms.ms()?);
        Some(self.at?.ms_since(received) < ANNOUNCED_MS)
    }

    /// Whether the last payload may be the peer's goodbye to an idle
    /// connection, not an answer.
    fn is_farewell(&self, sample: &Sample) -> bool {
        !answers(sample) && self.hung_up_after_data(sample) != Some(false)
    }
}

/// The site's abandoned connections, sorted out.
pub(crate) struct Finding<'a> {
    pub(crate) all: Vec<Abandoned<'a>>,
    /// How many have lasted long enough to count.
    pub(crate) old: usize,
    /// Of the old, those that no pool explains.
    pub(crate) definite: usize,
    /// Whether their number grows without bound.
    pub(crate) growing: bool,
    /// Milliseconds since the first hang-up, at the least.
    pub(crate) oldest_ms: u64,
}

impl<'a> Finding<'a> {
    pub(crate) fn of(case: &Case<'a>) -> Self {
        let all: Vec<_> = case
            .live
            .iter()
            .filter_map(|c| Abandoned::of(case, c))
            .collect();
        let times: Vec<_> = all.iter().filter_map(|a| a.at).collect();
        let growing = piles_up(case, &times);
        let grace = case.grace_ms();
        let old: Vec<_> = all
            .iter()
            .filter(|a| {
                let patient = a.may_be_at_work() && !growing;
                a.outlasts(if patient {
                    grace.max(PATIENCE_MS)
                } else {
                    grace
                })
            })
            .collect();
        Self {
            old: old.len(),
            definite: old.iter().filter(|a| a.is_definite()).count(),
            growing,
            oldest_ms: all.iter().map(|a| a.ms).max().unwrap_or(0),
            all,
        }
    }

    /// What else there is to say of them, to be appended to a sentence.
    pub(crate) fn what_else(&self) -> String {
        let unread = match self.unread() {
            0 => String::new(),
            n => format!("; {n} of them hold data that nobody has read"),
        };
        let growing = if self.growing {
            "; their number keeps growing"
        } else {
            ""
        };
        unread + growing
    }

    /// How many hold data that nobody has read, beside the FIN.
    pub(crate) fn unread(&self) -> usize {
        self.count(|sample| sample.recv_q > 1)
    }

    /// Whether no pool explains them.
    pub(crate) fn is_proven(&self) -> bool {
        let most = self.definite >= SEVERAL && self.definite * 2 > self.old;
        self.old >= SEVERAL && (self.growing || most)
    }

    /// How many of them a snapshot shows so.
    pub(crate) fn count(&self, is_it: impl Fn(&Sample) -> bool) -> usize {
        let samples = self.all.iter().filter_map(|a| a.sample);
        samples.filter(|sample| is_it(sample)).count()
    }
}

/// Whether the last payload that came in answers the last that went out.
pub(crate) fn answers(sample: &Sample) -> bool {
    matches!(
        (sample.data_sent_ms.ms(), sample.data_received_ms.ms()),
        (Some(sent), Some(received)) if sent.saturating_sub(received) <= ANSWER_MS
    )
}
