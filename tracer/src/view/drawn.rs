//! A timeline with places instead of times, for pages and pictures to draw.

use std::fmt;

use jiff::Timestamp;

use super::{
    table::{MISSING, clock, shown},
    text::between,
    timeline::{heading, own_end},
};
use crate::model::{
    fields::field,
    timeline::{Mark, MarkKind, Phase, Row, Site, Span, Timeline},
};

/// What is said of a row besides what stands in it, in this order.
const ABOUT: [&str; 10] = [
    "opened_at",
    "app_closed_at",
    "closed_at",
    "closed_by",
    "reset_by",
    "tx_bytes",
    "rx_bytes",
    "retransmits",
    "tid",
    "id",
];

/// All of it, or as much as there is room for.
pub(super) struct Drawn<'a> {
    pub(super) sites: Vec<Place<'a>>,
    /// Connections that there is no room for.
    pub(super) left_out: u64,
}

/// A site with its rows.
pub(super) struct Place<'a> {
    pub(super) id: &'a str,
    pub(super) pid: Option<u32>,
    pub(super) heading: String,
    pub(super) verdict: Option<&'static str>,
    pub(super) rows: Vec<Bar<'a>>,
}

/// A connection.
pub(super) struct Bar<'a> {
    pub(super) id: &'a str,
    pub(super) fd: String,
    pub(super) end: &'a str,
    pub(super) state: &'static str,
    pub(super) is_open: bool,
    /// Its other fields in a line.
    pub(super) about: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) dots: Vec<Dot>,
}

/// What it did for a while.
pub(super) struct Piece {
    span: Span,
    pub(super) from: Percent,
    pub(super) width: Percent,
}

impl Piece {
    pub(super) fn phase(&self) -> Phase {
        self.span.phase
    }

    /// In words.
    pub(super) fn title(&self) -> String {
        let Span { phase, from, to } = self.span;
        format!("{phase} for {}, from {}", between(from, to), clock(from))
    }
}

/// What happened at an instant.
pub(super) struct Dot {
    mark: Mark,
    pub(super) at: Percent,
}

impl Dot {
    pub(super) fn kind(&self) -> MarkKind {
        self.mark.kind
    }

    /// In words.
    pub(super) fn title(&self) -> String {
        let Mark { kind, at } = self.mark;
        format!("{kind} at {}", clock(at))
    }
}

/// A share of the window, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Percent(f64);

impl Percent {
    /// As a part of `whole`.
    pub(super) fn of(self, whole: f64) -> f64 {
        self.0 * whole / 100.0
    }
}

/// To the hundred-thousandth: well under a millisecond of an hour.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:.5}", self.0);
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl<'a> Drawn<'a> {
    /// At most `room` rows: open ones first, then those that ended last.
    pub(super) fn new(timeline: &'a Timeline, room: usize) -> Self {
        let rows = || timeline.sites.iter().flat_map(|site| &site.rows);
        let mut ended: Vec<Option<Timestamp>> = rows()
            .filter(|row| !row.is_open)
            .map(|row| row.connection.closed_at)
            .collect();
        let open = rows().count() - ended.len();
        let mut open_room = room;
        let mut ended_room = room.saturating_sub(open);
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = ended_room.checked_sub(1).and_then(|last| ended.get(last));
        let mut take = |row: &Row| {
            let room = if row.is_open {
                &mut open_room
            } else if ended.len() <= ended_room
                || oldest.is_some_and(|oldest| row.connection.closed_at >= *oldest)
            {
                &mut ended_room
            } else {
                return false;
            };
            let is_room = *room > 0;
            *room = room.saturating_sub(1);
            is_room
        };
        let mut left_out = timeline.left_out;
        let axis = Axis::new(timeline.window);
        let mut sites: Vec<Place<'a>> = Vec::new();
        for site in &timeline.sites {
            let kept: Vec<&Row> = site.rows.iter().filter(|row| take(row)).collect();
            left_out += (site.rows.len() - kept.len()) as u64;
            if !kept.is_empty() {
                sites.push(axis.place(site, &kept));
            }
        }
        Self { sites, left_out }
    }

    /// The sites, from 0.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &Place<'a>)> {
        self.sites.iter().enumerate()
    }

    /// Number of the site that a finding is about.
    pub(super) fn place_of(&self, id: &str, pid: Option<u32>) -> Option<usize> {
        let is_it = |place: &Place<'_>| place.id == id && place.pid == pid;
        self.sites.iter().position(is_it)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.sites.iter().map(|site| site.rows.len()).sum()
    }
}

struct Axis {
    from: Timestamp,
    us: f64,
}

impl Axis {
    fn new((from, to): (Timestamp, Timestamp)) -> Self {
        let us = to.duration_since(from).as_secs_f64().max(1e-6);
        Self { from, us }
    }

    fn percent(&self, at: Timestamp) -> Percent {
        let share = at.duration_since(self.from).as_secs_f64() / self.us;
        Percent((share * 100.0).clamp(0.0, 100.0))
    }

    fn place<'a>(&self, site: &'a Site, rows: &[&'a Row]) -> Place<'a> {
        Place {
            id: &site.id,
            pid: site.pid,
            heading: heading(site),
            verdict: site.rows.iter().find_map(|row| row.verdict),
            rows: rows.iter().map(|row| self.bar(row)).collect(),
        }
    }

    fn bar<'a>(&self, row: &'a Row) -> Bar<'a> {
        let connection = &row.connection;
        let about = ABOUT.iter().filter_map(|name| {
            let field = field(name)?;
            let value = shown(field, connection);
            (value != MISSING).then(|| format!("{} {value}", field.title.to_lowercase()))
        });
        Bar {
            id: &connection.id,
            fd: connection
                .fd
                .map_or_else(|| MISSING.to_owned(), |fd| fd.to_string()),
            end: own_end(connection),
            state: if row.is_open {
                connection.state.name()
            } else {
                "ended"
            },
            is_open: row.is_open,
            about: about.collect::<Vec<_>>().join(", "),
            pieces: row.spans.iter().map(|span| self.piece(span)).collect(),
            dots: row.marks.iter().map(|mark| self.dot(*mark)).collect(),
        }
    }

    fn piece(&self, &span: &Span) -> Piece {
        let (from, to) = (self.percent(span.from), self.percent(span.to));
        Piece {
            span,
            from,
            width: Percent(to.0 - from.0),
        }
    }

    fn dot(&self, mark: Mark) -> Dot {
        Dot {
            mark,
            at: self.percent(mark.at),
        }
    }
}
