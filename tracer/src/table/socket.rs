//! A socket as a snapshot shows it: what may correct a connection.

use serde::{Deserialize, Serialize};

use super::connection::Sample;
use crate::{
    decode::{Ends, Figures},
    tcp::State,
};

/// A socket as a snapshot shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    /// Its cookie; 0 where that is not known.
    pub cookie: u64,
    /// Both ends, and the namespace.
    pub ends: Ends,
    /// State.
    pub state: State,
    /// A mini-socket: TIME_WAIT, an orphan's FIN_WAIT2, or half-open.
    pub is_mini: bool,
    /// Effective uid of its creator.
    pub uid: u32,
    /// Queues and times; for a mini-socket without meaning.
    pub sample: Sample,
    /// Totals.
    pub figures: Figures,
}

impl Socket {
    /// Whether it is no connection: not connected yet, or not any more after
    /// `connect(AF_UNSPEC)` or a connect that failed. One that was reset keeps its
    /// other end.
    #[must_use]
    pub fn is_unconnected(&self) -> bool {
        self.state == State::Close && self.ends.remote.port() == 0
    }
}
