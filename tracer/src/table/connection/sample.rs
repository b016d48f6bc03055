//! What a snapshot says of a live socket. Pure.

use serde::{Deserialize, Serialize};

use crate::clock::BootTime;

/// A socket that lay idle for so many milliseconds and is used again was revived:
/// longer than the pauses within one exchange.
pub const GAP_MS: u64 = 1_000;

/// What the kernel waits for on a socket (`inet_sk_diag_fill`, net/ipv4/inet_diag.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// Nothing.
    #[default]
    None,
    /// The acknowledgement of what it sent.
    Retransmit,
    /// The next keepalive probe is due; so keepalive is on.
    Keepalive,
    /// The peer to open its window: it has no room for what is to be sent.
    ZeroWindow,
}

/// How long ago something last was, if it ever was: in half the room of an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<u64>", into = "Option<u64>")]
pub struct Since(u32);

impl Since {
    /// Never.
    const NEVER: Self = Self(u32::MAX);

    /// Milliseconds, at most 49 days; `None` if never.
    #[must_use]
    pub fn ms(self) -> Option<u64> {
        (self != Self::NEVER).then_some(self.0.into())
    }
}

impl Default for Since {
    fn default() -> Self {
        Self::NEVER
    }
}

impl From<Option<u64>> for Since {
    fn from(ms: Option<u64>) -> Self {
        let most = Self::NEVER.0 - 1;
        ms.map_or(Self::NEVER, |ms| {
            Self(u32::try_from(ms).map_or(most, |ms| ms.min(most)))
        })
    }
}

impl From<Since> for Option<u64> {
    fn from(since: Since) -> Self {
        since.ms()
    }
}

/// What a snapshot says of a live socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at: BootTime,
    /// Inode of the socket's file; 0 = never accepted, or let go by all holders.
    pub inode: u32,
    /// Bytes received and not read, plus one for an unread FIN. For a
    /// listener: connections waiting to be accepted.
    pub recv_q: u32,
    /// Bytes sent or queued and not acknowledged. For a listener: the backlog.
    pub send_q: u32,
    /// Milliseconds since payload was last sent; `None` if never.
    pub data_sent_ms: Since,
    /// Milliseconds since payload was last received; `None` if never.
    pub data_received_ms: Since,
    /// Milliseconds since the last acknowledgement came in.
    pub ack_received_ms: Since,
    /// Retransmissions of the segment now in flight; 0 when all is well.
    pub backoff: u32,
    /// The timer that runs.
    pub timer: Timer,
    /// Probes, of an idle peer or of its window, that nothing has answered.
    pub probes: u8,
    /// Segments with payload sent.
    pub data_segments_out: u32,
    /// Segments with payload received.
    pub data_segments_in: u32,
    /// In CLOSE: the error that ended it waits to be read (`sk_err`).
    pub error_waits: bool,
    /// Only state, queues and inode are known: of the rest nothing was told.
    pub is_bare: bool,
}

impl Sample {
    /// Milliseconds, at its time, since payload last moved in either direction;
    /// `None` if never.
    ///
    /// Each retransmission counts as sent for the kernel. What nobody acknowledges has
    /// not moved: then the last acknowledgement tells.
    #[must_use]
    pub fn idle_ms(&self) -> Option<u64> {
        let sent = match self.backoff {
            0 => self.data_sent_ms.ms(),
            _ => self.data_sent_ms.ms().and(self.ack_received_ms.ms()),
        };
        match (sent, self.data_received_ms.ms()) {
            (Some(sent), Some(received)) => Some(sent.min(received)),
            (one, other) => one.or(other),
        }
    }

    /// How long a socket lay idle, at the least, if it was used again between the
    /// snapshot `before` and this one; `None` where it was not, or lay idle for less than
    /// [`GAP_MS`].
    pub(super) fn gap_ms_since(&self, before: &Self) -> Option<u64> {
        if before.is_bare || self.is_bare {
            return None;
        }
        let gap = before.idle_ms()?;
        (self.segments() > before.segments() && gap >= GAP_MS).then_some(gap)
    }

    /// With payload, in both directions.
    fn segments(&self) -> u64 {
        u64::from(self.data_segments_in) + u64::from(self.data_segments_out)
    }
}
