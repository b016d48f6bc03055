//! How a connection ends, and by whose hand. Pure.
//!
//! Where nothing hooks close(2) the application's hand is read from what only
//! `tcp_close` does (net/ipv4/tcp.c, `__tcp_close`): it sets `sk_shutdown` to both
//! directions before it moves the state, in the context of the closing task. A
//! reset or a timeout sets `sk_err` first and shuts down last.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::BootTime,
    decode::{Circumstance, Ends},
    table::connection::{Connection, Linger},
    tcp::{ClosedBy, Known, ResetBy, State},
};

/// ETIMEDOUT, EHOSTUNREACH, ENETUNREACH: the peer was given up on.
const GIVEN_UP: [i32; 3] = [110, 113, 101];

/// ECONNRESET, EPIPE (in CLOSE_WAIT), ECONNREFUSED (in SYN_SENT): `tcp_reset`.
const RESET: [i32; 3] = [104, EPIPE, 111];

/// A RST in CLOSE_WAIT leaves this error, ibidem.
const EPIPE: i32 = 32;

/// ECONNABORTED: `tcp_abort`, for `ss -K`.
const ABORTED: i32 = 103;

/// `TCP_TIMEWAIT_LEN` (include/net/tcp.h): how long a socket in TIME_WAIT stays, and
/// by default (`tcp_fin_timeout`) an orphan in FIN_WAIT2.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// A RST of ours follows the transition and the free that it causes within the same
/// call; this long after them, in milliseconds, none comes any more.
pub(super) const HELD_BACK_MS: u64 = 20;

/// What a trace hears of by itself; the rest is concluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hears {
    /// That a program lets go of a socket, when it does.
    pub close: bool,
    /// Resets, in and out.
    pub resets: bool,
}

/// What stays in the kernel after `old` -> `new`, where that is CLOSE: `tcp_time_wait` makes a
/// mini-socket without a transition of its own. FIN_WAIT2 stays FIN_WAIT2 where
/// the peer's FIN is still out, and nobody holds the socket; one that is held leaves
/// it by connect(AF_UNSPEC).
pub(super) fn lingers(old: State, new: State, how: Circumstance) -> Option<State> {
    if new != State::Close || how.error != 0 {
        return None;
    }
    match old {
        State::Closing => Some(State::TimeWait),
        State::FinWait2 if how.peer_done => Some(State::TimeWait),
        State::FinWait2 if how.orphan => Some(State::FinWait2),
        _ => None,
    }
}

impl Connection {
    /// Enters a state that a transition announced.
    pub(super) fn enter(&mut self, at: BootTime, ends: Ends, new: State) {
        self.set_ends(ends);
        if new == State::Established {
            self.established_at.get_or_insert(at);
        }
        self.pass_through(at, new);
        self.state = new;
        self.state_at = Some(at);
    }

    /// Notes who ended the connection, and whether the application let go.
    pub(super) fn note_end(
        &mut self,
        at: BootTime,
        (old, new): (State, State),
        how: Circumstance,
        hears: Hears,
    ) {
        let own_hand = own_hand(how.exiting);
        if how.idle_ms.is_some() && self.end.idle_ms.is_none() {
            self.end.idle_ms = how.idle_ms;
        }
        // No program closes a subflow: MPTCP does, and not by tcp_close.
        let hears_close = hears.close && !how.subflow;
        // Only the peer's FIN leads there, whether that was heard of or not.
        if matches!(old, State::CloseWait | State::LastAck) || new == State::LastAck {
            self.end.by = Some(ClosedBy::Peer);
        }
        match new {
            State::FinWait1 | State::LastAck => {
                if hears_close {
                    self.half_closed |= self.end.app_closed_at.is_none();
                } else if how.in_shutdown || !how.both_shut {
                    self.half_closed = true;
                } else {
                    self.end.app_closed_at.get_or_insert(at);
                }
                self.end.by.get_or_insert(own_hand);
            }
            State::CloseWait => {
                self.end.by.get_or_insert(ClosedBy::Peer);
            }
            State::Close => {
                self.end.at = Some(at);
                self.end.error = how.error;
                let by = if how.error == 0 {
                    own_hand
                } else if GIVEN_UP.contains(&how.error) {
                    ClosedBy::Timeout
                } else {
                    ClosedBy::Reset
                };
                self.end.by.get_or_insert(by);
                if how.error == ABORTED {
                    self.end.reset_by = Some(ResetBy::Admin);
                } else if !hears.resets && RESET.contains(&how.error) {
                    self.end.reset_by = Some(ResetBy::Peer);
                }
                let by_close = !hears_close && how.error == 0 && how.both_shut && !how.in_shutdown;
                // After a shutdown the last segments of the peer end a connection
                // whose fd is still held. If it is not, the socket is freed next.
                let by_peer = self.half_closed
                    || (how.peer_done && matches!(old, State::FinWait2 | State::Closing));
                if by_close && !by_peer {
                    self.end.app_closed_at.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    /// In CLOSE, with its final figures: notes how long the peer had been silent, if
    /// nothing came in since the latest snapshot, when it had `measured` so many
    /// bytes sent and received; and whether a request crossed the peer's FIN.
    pub(super) fn note_quiet(&mut self, at: BootTime, measured: (u64, u64), error: i32) {
        let by_peer = self.end.by == Some(ClosedBy::Peer);
        let is_reset = self.end.reset_by == Some(ResetBy::Peer) || RESET.contains(&error);
        let known = self.sample.filter(|sample| !sample.is_bare);
        // The peer's FIN counts as a byte.
        let is_quiet = self.rx_bytes <= measured.1.saturating_add(1);
        self.raced = by_peer
            && is_reset
            && match known {
                Some(_) => is_quiet && self.tx_bytes > measured.0,
                None => error == EPIPE,
            };
        let Some(sample) = known.filter(|_| is_quiet) else {
            return;
        };
        // A reset out of the blue is another matter, and so is what is known.
        let has_sent = self.tx_bytes > measured.0 || sample.send_q > 0;
        if !by_peer && (!has_sent || self.quiet_ms.is_some()) {
            return;
        }
        let received = sample
            .data_received_ms
            .ms()
            .map(|ms| sample.at.minus_ms(ms));
        let fin = |(state, at)| (state == State::CloseWait).then_some(at);
        let fin = self.history().find_map(fin).filter(|_| by_peer);
        self.quiet_ms = received.or(self.established_at).and_then(|last| {
            let ms = fin.unwrap_or(at).ms_since(last);
            NonZeroU32::new(u32::try_from(ms).unwrap_or(u32::MAX))
        });
    }

    /// The last program that held it has let go.
    pub(super) fn let_go(&mut self, at: BootTime, exiting: bool) {
        self.end.app_closed_at.get_or_insert(at);
        // Inherited in CLOSE_WAIT: the peer's close was not seen.
        let first = match self.state {
            State::CloseWait => ClosedBy::Peer,
            _ => own_hand(exiting),
        };
        self.end.by.get_or_insert(first);
    }

    /// A mini-socket takes its place, asked to stay as long as `stays`.
    pub(super) fn note_linger(&mut self, at: BootTime, state: State, stays: Duration) {
        // tcp_time_wait lets TIME_WAIT stay its full length, whatever it is asked.
        let stays = if state == State::TimeWait || stays.is_zero() {
            TIME_WAIT
        } else {
            stays
        };
        if state == State::TimeWait {
            self.pass_through(at, state);
        }
        let until = at + stays;
        self.end.linger = Some(Linger { state, until });
    }

    /// No mini-socket took its place after all.
    pub(super) fn forget_linger(&mut self) -> Option<Linger> {
        self.never_lingered();
        self.end.linger?;
        self.end.linger.take()
    }

    /// A RST went out or came in. No RST is answered by another; but `tcp_reset` also
    /// runs where data comes in after a close, before our own RST goes out.
    pub(super) fn note_reset(&mut self, by_us: bool) {
        match self.end.reset_by {
            Some(ResetBy::Admin) => {}
            _ if by_us => self.end.reset_by = Some(ResetBy::Local),
            _ => drop(self.end.reset_by.get_or_insert(ResetBy::Peer)),
        }
    }

    /// Whether it ended by a reset after the program had let go: data that comes in
    /// then is answered by a RST of ours, after the socket is freed.
    pub(super) fn is_reset_orphan(&self) -> bool {
        let was_let_go = match (self.end.app_closed_at, self.end.at) {
            (Some(let_go), Some(closed)) => let_go < closed,
            _ => self.half_closed,
        };
        was_let_go && self.end.reset_by == Some(ResetBy::Peer)
    }

    /// The kernel has freed the socket: whoever held it has let go by now.
    pub(super) fn free(&mut self, at: BootTime) {
        if self.state != State::Close {
            self.pass_through(at, State::Close);
            self.state = State::Close;
            self.state_at = Some(at);
        }
        self.end.at.get_or_insert(at);
        self.end.app_closed_at.get_or_insert(at);
        // Where records were lost, the one that told may be among them.
        if self.known != Known::Repaired {
            self.end.by.get_or_insert(ClosedBy::Local);
        }
    }
}

/// This host's program as the one who ended a connection.
fn own_hand(exiting: bool) -> ClosedBy {
    if exiting {
        ClosedBy::Exit
    } else {
        ClosedBy::Local
    }
}
