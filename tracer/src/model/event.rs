//! What `trace` shows: a connection at the instant something happened to it. Pure.

use jiff::Timestamp;

use crate::{model::connection::Connection, tcp::named};

named! {
    /// What happened.
    EventName {
        /// It was opened: a SYN left, or came in.
        Open = "open",
        /// The handshake is done.
        Established = "established",
        /// It entered another state.
        State = "state",
        /// The program let go.
        AppClose = "app-close",
        /// The kernel keeps a mini-socket for stragglers.
        TimeWait = "time-wait",
        /// The socket is freed.
        Gone = "gone",
        /// connect(2) failed.
        ConnectFailed = "connect-failed",
    }
}

/// One line of `trace`.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub name: EventName,
    /// When.
    pub at: Timestamp,
    /// The connection, as it was right after.
    pub connection: Connection,
}
