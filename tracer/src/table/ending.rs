//! How a connection ends, and by whose hand. Pure.
//!
//! In the plan `tracepoint` nothing hooks close(2), so the application's hand is
//! read from what only `tcp_close` does (net/ipv4/tcp.c, `__tcp_close`): it sets
//! `sk_shutdown` to both directions before it moves the state, in the context of
//! the closing task. A reset or a timeout sets `sk_err` first and shuts down last.

use crate::{
    clock::BootTime,
    decode::{Circumstance, Ends},
    table::connection::Connection,
    tcp::{ClosedBy, Known, State},
};

/// ETIMEDOUT, EHOSTUNREACH, ENETUNREACH: the peer was given up on.
const GIVEN_UP: [i32; 3] = [110, 113, 101];

/// What stays in the kernel after `old` -> `new`, where that is CLOSE: `tcp_time_wait` makes a
/// mini-socket without a transition of its own. FIN_WAIT2 stays FIN_WAIT2 where
/// the peer's FIN is still out.
pub(super) fn lingers(old: State, new: State, how: Circumstance) -> Option<State> {
    if new != State::Close || how.error != 0 {
        return None;
    }
    match old {
        State::Closing => Some(State::TimeWait),
        State::FinWait2 if how.peer_done => Some(State::TimeWait),
        State::FinWait2 => Some(State::FinWait2),
        _ => None,
    }
}

impl Connection {
    /// Enters a state that a transition announced.
    pub(super) fn enter(&mut self, at: BootTime, ends: Ends, new: State) {
        // The port is chosen after SYN_SENT is announced, and taken away before
        // the last CLOSE.
        if ends.local.port() != 0 {
            self.local = ends.local;
        }
        if ends.remote.port() != 0 {
            self.remote = ends.remote;
        }
        if new == State::Established {
            self.established_at.get_or_insert(at);
        }
        self.pass_through(at, new);
        self.state = new;
        self.state_at = Some(at);
    }

    /// Notes a state in the history.
    pub(super) fn pass_through(&mut self, at: BootTime, state: State) {
        // A history longer than any that the protocol allows keeps its start.
        let _ = self.history.try_push((state, at));
    }

    /// Notes who ended the connection, and whether the application let go.
    pub(super) fn note_end(&mut self, at: BootTime, old: State, new: State, how: Circumstance) {
        let own_hand = if how.exiting {
            ClosedBy::Exit
        } else {
            ClosedBy::Local
        };
        match new {
            State::FinWait1 | State::LastAck => {
                if how.in_shutdown || !how.both_shut {
                    self.half_closed = true;
                } else {
                    self.app_closed_at.get_or_insert(at);
                }
                self.closed_by.get_or_insert(own_hand);
            }
            State::CloseWait => {
                self.closed_by.get_or_insert(ClosedBy::Peer);
            }
            State::Close => {
                self.closed_at = Some(at);
                self.error = how.error;
                let by = if how.error == 0 {
                    own_hand
                } else if GIVEN_UP.contains(&how.error) {
                    ClosedBy::Timeout
                } else {
                    ClosedBy::Reset
                };
                self.closed_by.get_or_insert(by);
                let by_close = how.error == 0 && how.both_shut && !how.in_shutdown;
                // After a shutdown the last segments of the peer end a connection
                // whose fd is still held. If it is not, the socket is freed next.
                let by_peer = self.half_closed
                    || (how.peer_done && matches!(old, State::FinWait2 | State::Closing));
                if by_close && !by_peer {
                    self.app_closed_at.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    /// The kernel has freed the socket: whoever held it has let go by now.
    pub(super) fn free(&mut self, at: BootTime) {
        if self.state != State::Close {
            self.pass_through(at, State::Close);
            self.state = State::Close;
            self.state_at = Some(at);
        }
        self.closed_at.get_or_insert(at);
        self.app_closed_at.get_or_insert(at);
        // Where records were lost, the one that told may be among them.
        if self.known != Known::Repaired {
            self.closed_by.get_or_insert(ClosedBy::Local);
        }
    }
}
