//! What each connection was doing when. Pure.

use std::net::SocketAddr;

use jiff::Timestamp;

use crate::{
    model::{connection::Connection, frame::Frame, report::Loss, untrusted::Untrusted},
    tcp::{Role, State, named},
};

mod gather;

pub use gather::Keeper;

named! {
    /// What a connection was doing.
    Phase {
        /// Being opened: SYN_SENT, SYN_RECV.
        Connecting = "connecting",
        /// ESTABLISHED; whether payload moved is not known.
        Established = "established",
        /// ESTABLISHED, and payload moved within a second.
        Active = "active",
        /// ESTABLISHED, and no payload moved for longer.
        Idle = "idle",
        /// The peer has closed, the program has not: CLOSE_WAIT.
        CloseWait = "close-wait",
        /// The program has closed, the peer has not: FIN_WAIT2.
        FinWait2 = "fin-wait2",
        /// A FIN of ours is on its way: FIN_WAIT1, CLOSING, LAST_ACK.
        Closing = "closing",
        /// Dead, and a program still holds its file descriptor.
        Dead = "dead",
        /// Ended; a mini-socket takes up its ports: TIME_WAIT.
        TimeWait = "time-wait",
        /// It was there, and its state is not known: before the trace.
        Unknown = "unknown",
    }
}

/// From one instant to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Doing what.
    pub phase: Phase,
    /// From here,
    pub from: Timestamp,
    /// to there.
    pub to: Timestamp,
}

named! {
    /// What happened at an instant.
    MarkKind {
        /// The program let go.
        AppClose = "app-close",
        /// A RST.
        Reset = "reset",
        /// Segments had been sent again when it was next looked at: by a snapshot, or as it
        /// changed its state.
        Retransmit = "retransmit",
        /// The owner's process became another program.
        Exec = "exec",
        /// The owner's process ended.
        Exit = "exit",
    }
}

/// An instant of note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub kind: MarkKind,
    /// When.
    pub at: Timestamp,
}

/// One connection from its opening to its end.
#[derive(Clone, Debug)]
pub struct Row {
    /// As it was at its end, or is now.
    pub connection: Connection,
    /// It has not ended.
    pub is_open: bool,
    /// What it did, in order.
    pub spans: Vec<Span>,
    /// In order.
    pub marks: Vec<Mark>,
    /// Code of the verdict on its site; `None` where it has ended.
    pub verdict: Option<&'static str>,
}

/// The connections that one piece of code opened or accepted, to one end.
#[derive(Clone, Debug)]
pub struct Site {
    /// As in the report of `leaks`.
    pub id: String,
    /// Process id; `None` where it is not known.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<Untrusted>,
    /// Which side it is on.
    pub role: Role,
    /// Client: the remote end. Server: the local port.
    pub end: SocketAddr,
    /// The frame that names the code best; `None` where that is not known.
    pub call_site: Option<Frame>,
    /// By opening.
    pub rows: Vec<Row>,
}

/// The connections of a trace over its time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Host name.
    pub host: Untrusted,
    /// Start and end of the trace.
    pub window: (Timestamp, Timestamp),
    /// By process and opening.
    pub sites: Vec<Site>,
    /// Connections that ended and are not among them, for want of room.
    pub left_out: u64,
    /// What was lost.
    pub loss: Loss,
}

impl Timeline {
    /// Leaves nothing but the connections of sites that `code` names, by their id or a
    /// part of their call site, and of those the one of this id. Where it is `None`,
    /// all.
    pub fn keep(&mut self, code: Option<&str>, connection: Option<&str>) {
        self.sites.retain_mut(|site| {
            let is_named = |code: &str| {
                let call_site = site.call_site.as_ref().map(|frame| frame.text());
                site.id == code || call_site.is_some_and(|text| text.raw().contains(code))
            };
            let is_it = |row: &Row| connection.is_none_or(|id| row.connection.id == id);
            if code.is_none_or(is_named) {
                site.rows.retain(is_it);
            } else {
                site.rows.clear();
            }
            !site.rows.is_empty()
        });
    }
}

/// Payload that moved less than this many milliseconds ago makes a connection active.
const ACTIVE_MS: i64 = 1_000;

/// The phases of a connection within `window`. `is_open`: it has not ended. `moved`:
/// instants at which payload is known to have moved, in order; none where nothing is
/// known of that.
#[must_use]
pub fn spans(
    connection: &Connection,
    is_open: bool,
    moved: &[Timestamp],
    window: (Timestamp, Timestamp),
) -> Vec<Span> {
    let (from, to) = window;
    let mut spans = Vec::new();
    let mut push = |phase, since: Timestamp, until: Timestamp| {
        let (since, until) = (since.clamp(from, to), until.clamp(from, to));
        if since < until {
            spans.push(Span {
                phase,
                from: since,
                to: until,
            });
        }
    };
    let history = &connection.history;
    let last = if is_open {
        to
    } else {
        connection.closed_at.unwrap_or(to)
    };
    if connection.opened_at.is_none() || history.is_empty() {
        // It was there, and what snapshots found may have been so all the time.
        let phase = match history.first() {
            None => phase_of(connection.state),
            Some(_) => Phase::Unknown,
        };
        let until = history.first().map_or(last, |&(_, at)| at);
        divide(
            phase,
            connection.opened_at.unwrap_or(from),
            until,
            moved,
            &mut push,
        );
    }
    for (index, &(state, since)) in history.iter().enumerate() {
        let until = history.get(index + 1).map_or(last, |&(_, at)| at);
        let until = match (phase_of(state), connection.app_closed_at) {
            // It goes with its last file descriptor.
            (Phase::Dead, Some(closed)) => closed.max(since),
            (Phase::Dead, None) if !is_open => since,
            _ => until,
        };
        divide(phase_of(state), since, until, moved, &mut push);
    }
    if let (Some(state), Some(until), false) =
        (connection.lingers, connection.lingers_until, is_open)
    {
        push(phase_of(state), last, until);
    }
    spans
}

const fn phase_of(state: State) -> Phase {
    match state {
        State::SynSent | State::SynRecv | State::NewSynRecv => Phase::Connecting,
        State::Established => Phase::Established,
        State::CloseWait => Phase::CloseWait,
        State::FinWait2 => Phase::FinWait2,
        State::FinWait1 | State::Closing | State::LastAck => Phase::Closing,
        State::TimeWait => Phase::TimeWait,
        State::Close => Phase::Dead,
        State::Listen => Phase::Unknown,
    }
}

/// ESTABLISHED by whether payload moved; anything else as it is.
fn divide(
    phase: Phase,
    from: Timestamp,
    to: Timestamp,
    moved: &[Timestamp],
    push: &mut impl FnMut(Phase, Timestamp, Timestamp),
) {
    if phase != Phase::Established || moved.is_empty() {
        push(phase, from, to);
        return;
    }
    let active = jiff::SignedDuration::from_millis(ACTIVE_MS);
    let mut at = from;
    let mut since = None;
    for &moved in moved.iter().filter(|&&moved| moved < to) {
        let stops = moved.saturating_add(active).unwrap_or(to).clamp(from, to);
        if moved > at {
            if let Some(since) = since.take() {
                push(Phase::Active, since, at);
            }
            push(Phase::Idle, at, moved);
        }
        since = since.or((stops > from).then_some(moved.max(from)));
        at = at.max(stops);
    }
    if let Some(since) = since {
        push(Phase::Active, since, at);
    }
    push(Phase::Idle, at, to);
}

#[cfg(test)]
mod tests {
    use super::{Connection, Phase, Span, State, Timestamp, spans};
    use crate::view::fixture::{connections, noon};

    fn connection(history: &[(State, i64)]) -> Connection {
        let history: Vec<_> = history
            .iter()
            .map(|&(state, ms)| (state, noon(ms)))
            .collect();
        Connection {
            opened_at: history.first().map(|&(_, at)| at),
            history,
            app_closed_at: None,
            closed_at: None,
            lingers: None,
            lingers_until: None,
            ..connections("x").swap_remove(0)
        }
    }

    const WINDOW: (i64, i64) = (0, 60_000);

    fn told(connection: &Connection, is_open: bool, moved: &[i64]) -> Vec<(Phase, i64, i64)> {
        let moved: Vec<Timestamp> = moved.iter().map(|&ms| noon(ms)).collect();
        let window = (noon(WINDOW.0), noon(WINDOW.1));
        let ms = |at: Timestamp| {
            i64::try_from(at.duration_since(noon(0)).as_millis()).expect("a minute")
        };
        let told = spans(connection, is_open, &moved, window);
        let told = told.into_iter();
        told.map(|Span { phase, from, to }| (phase, ms(from), ms(to)))
            .collect()
    }

    #[test]
    fn states_are_spans() {
        let mut row = connection(&[
            (State::SynSent, 1_000),
            (State::Established, 1_500),
            (State::FinWait1, 9_000),
            (State::FinWait2, 9_100),
            (State::Close, 9_500),
        ]);
        row.app_closed_at = Some(noon(9_000));
        row.closed_at = Some(noon(9_500));
        row.lingers = Some(State::TimeWait);
        row.lingers_until = Some(noon(69_500));
        let expected = [
            (Phase::Connecting, 1_000, 1_500),
            (Phase::Established, 1_500, 9_000),
            (Phase::Closing, 9_000, 9_100),
            (Phase::FinWait2, 9_100, 9_500),
            (Phase::TimeWait, 9_500, 60_000),
        ];
        assert_eq!(told(&row, false, &[]), expected);
    }

    #[test]
    fn what_is_open_goes_on_to_the_end() {
        let row = connection(&[
            (State::SynRecv, 1_000),
            (State::Established, 1_000),
            (State::CloseWait, 5_000),
        ]);
        let expected = [
            (Phase::Established, 1_000, 5_000),
            (Phase::CloseWait, 5_000, 60_000),
        ];
        assert_eq!(told(&row, true, &[]), expected);
    }

    #[test]
    fn a_dead_one_is_there_until_its_fd_is_closed() {
        let history = [(State::Established, 1_000), (State::Close, 4_000)];
        let mut row = connection(&history);
        let established = (Phase::Established, 1_000, 4_000);
        assert_eq!(
            told(&row, true, &[]),
            [established, (Phase::Dead, 4_000, 60_000)]
        );
        row.closed_at = Some(noon(4_000));
        assert_eq!(told(&row, false, &[]), [established]);
        row.app_closed_at = Some(noon(6_000));
        assert_eq!(
            told(&row, false, &[]),
            [established, (Phase::Dead, 4_000, 6_000)]
        );
    }

    #[test]
    fn an_established_one_is_active_where_payload_moved() {
        let row = connection(&[(State::Established, 0)]);
        let expected = [
            (Phase::Idle, 0, 2_000),
            (Phase::Active, 2_000, 3_500),
            (Phase::Idle, 3_500, 60_000),
        ];
        assert_eq!(told(&row, true, &[2_000, 2_500]), expected);
    }

    #[test]
    fn what_was_there_before_begins_with_the_window() {
        let mut row = connection(&[(State::CloseWait, 7_000)]);
        row.opened_at = None;
        let expected = [
            (Phase::Unknown, 0, 7_000),
            (Phase::CloseWait, 7_000, 60_000),
        ];
        assert_eq!(told(&row, true, &[]), expected);
        row.history.clear();
        row.state = State::Established;
        assert_eq!(told(&row, true, &[]), [(Phase::Established, 0, 60_000)]);
    }
}
