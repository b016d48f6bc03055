//! `tcpleak trace`: events as they happen, a line each.

use std::io::{self, Write};

use jiff::Timestamp;
use nix::errno::Errno;
use serde::{Serialize, Serializer, ser::SerializeMap};
use textwrap::core::display_width;

use super::{
    Format, Style, csv, json,
    lines::Lines,
    table::{clock, shown},
    text::{Colour, Page, bytes, clip, count, duration, loss_reasons, microseconds},
};
use crate::{
    course::shed::Shed,
    model::{
        connection::Connection,
        event::{Event, EventName},
        fields::{FIELDS, Field, Value, field},
        report::Loss,
    },
};

/// Widths of the time and of the longest event name.
const TIME: usize = 12;
const EVENT: usize = 14;

/// Field, width that an IPv4 connection needs, and rank: as rows are not known
/// in advance, columns are chosen by these; the highest rank goes first.
const COLUMNS: [(&str, usize, u8); 7] = [
    ("comm", COMM, 0),
    ("pid", 7, 0),
    ("fd", 4, 2),
    ("role", 8, 4),
    ("local", 21, 3),
    ("remote", 21, 0),
    ("state", 11, 0),
];

/// A name in a narrow terminal, and in full.
const COMM: usize = 10;
const COMM_FULL: usize = 15;

/// Room for what the columns do not say, which is worth more than an address.
const DETAIL: usize = 44;

/// Columns of a CSV that only a loss fills.
const LOSS_COLUMNS: [&str; 6] = [
    "events_lost",
    "ring_full",
    "hook_missed",
    "undecodable",
    "unrecorded",
    "unwritten",
];

/// And one that only a change of what is left out fills.
const SHED_COLUMN: &str = "left_out";

/// Writes a stream of events in one format.
#[derive(Clone, Debug)]
pub struct Trace {
    format: Format,
    style: Style,
    columns: Vec<(&'static Field, usize)>,
    lines: Lines,
}

impl Trace {
    /// For this format and style.
    #[must_use]
    pub fn new(format: Format, style: Style) -> Self {
        let mut columns = COLUMNS.to_vec();
        let width = |columns: &[(&str, usize, u8)]| {
            let columns = columns.iter().map(|&(_, width, _)| width + 1);
            TIME + 1 + EVENT + columns.sum::<usize>() + 1 + DETAIL
        };
        while width(&columns) > style.width {
            let worst = columns.iter().map(|&(.., rank)| rank).max().unwrap_or(0);
            if worst == 0 {
                break;
            }
            columns.retain(|&(.., rank)| rank < worst);
        }
        let spare = style.width.saturating_sub(width(&columns));
        columns[0].1 += spare.min(COMM_FULL - COMM);
        let columns = columns
            .into_iter()
            .filter_map(|(name, width, _)| field(name).map(|field| (field, width)))
            .collect();
        Self {
            format,
            style,
            columns,
            lines: Lines::default(),
        }
    }

    /// What comes before the first event.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let titles = self.columns.iter().map(|(field, _)| field.title.to_owned());
                self.line(out, "TIME (UTC)", "EVENT", titles.collect(), "DETAIL", None)
            }
            Format::Json | Format::Jsonl => Ok(()),
            Format::Csv => {
                let names = ["event", "at"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(csv::header());
                let after = LOSS_COLUMNS.into_iter().chain([SHED_COLUMN]);
                csv::record(out, names.chain(after.map(str::to_owned)))
            }
        }
    }

    /// An event.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn event(&mut self, out: &mut dyn Write, event: &Event) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let cells = self
                    .columns
                    .iter()
                    .map(|(field, _)| shown(field, &event.connection));
                let colour = (event.name == EventName::ConnectFailed).then_some(Colour::Yellow);
                let detail = detail(event);
                self.line(
                    out,
                    &clock(event.at),
                    event.name.name(),
                    cells.collect(),
                    &detail,
                    colour,
                )
            }
            Format::Json | Format::Jsonl => {
                let name = ("event", Value::Text(event.name.name()));
                let first = [name, ("at", Value::Time(event.at))];
                out.write_all(self.lines.of(&first, &event.connection)?)
            }
            Format::Csv => {
                let before = [event.name.name().to_owned(), json::time(event.at)];
                let after = LOSS_COLUMNS.iter().chain([&SHED_COLUMN]);
                let after = after.map(|_| String::new());
                csv::record(
                    out,
                    before
                        .into_iter()
                        .chain(csv::row(&event.connection))
                        .chain(after),
                )
            }
        }
    }

    /// That events were lost since the last such line.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn loss(&self, out: &mut dyn Write, at: Timestamp, loss: &Loss) -> io::Result<()> {
        let counts = [
            loss.events_lost,
            loss.ring_full,
            loss.hook_missed,
            loss.undecodable,
            loss.unrecorded,
            loss.unwritten,
        ];
        match self.format {
            Format::Table => {
                let text = format!(
                    "{} loss           {} lost ({})",
                    clock(at),
                    count(loss.events_lost, "event"),
                    loss_reasons(loss),
                );
                Page::new(out, self.style).hanging("", TIME + 1, Some(Colour::Red), text)
            }
            Format::Json | Format::Jsonl => json::line(out, &LossLine { at, counts }),
            Format::Csv => {
                let before = ["loss".to_owned(), json::time(at)];
                let between = FIELDS.iter().map(|_| String::new());
                let after = counts.map(|count| count.to_string());
                let after = after.into_iter().chain([String::new()]);
                csv::record(out, before.into_iter().chain(between).chain(after))
            }
        }
    }

    /// That so much is left out from now on.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn shed(&self, out: &mut dyn Write, at: Timestamp, shed: Shed) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let text = format!("{} shed           {}", clock(at), shed.sentence());
                Page::new(out, self.style).hanging("", TIME + 1, Some(Colour::Yellow), text)
            }
            Format::Json | Format::Jsonl => json::line(out, &ShedLine { at, shed }),
            Format::Csv => {
                let before = ["shed".to_owned(), json::time(at)].into_iter();
                let between = FIELDS.iter().map(|_| String::new());
                let between = between.chain(LOSS_COLUMNS.map(|_| String::new()));
                csv::record(out, before.chain(between).chain([shed.names().join(" ")]))
            }
        }
    }

    /// One line; one too long goes on below its event's name.
    fn line(
        &self,
        out: &mut dyn Write,
        time: &str,
        event: &str,
        cells: Vec<String>,
        detail: &str,
        colour: Option<Colour>,
    ) -> io::Result<()> {
        let mut text = format!("{time:TIME$} {event:EVENT$}");
        for ((field, width), cell) in self.columns.iter().zip(cells) {
            let cell = if field.name == "comm" {
                clip(&cell, *width)
            } else {
                cell
            };
            text.push(' ');
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(display_width(&cell)),
            ));
        }
        text.push(' ');
        text.push_str(detail);
        Page::new(out, self.style).hanging("", TIME + 1, colour, text)
    }
}

/// What the columns do not say.
fn detail(event: &Event) -> String {
    let connection = &event.connection;
    match event.name {
        EventName::Open => String::new(),
        EventName::Established => {
            let handshake = connection.opened_at.zip(connection.established_at);
            handshake.map_or_else(String::new, |(from, to)| {
                let us = to.duration_since(from).as_micros();
                format!("after {}", microseconds(u64::try_from(us).unwrap_or(0)))
            })
        }
        EventName::State => match connection.history.as_slice() {
            [.., (before, _), _] => format!("was {before}"),
            _ => String::new(),
        },
        EventName::AppClose => traffic(connection),
        EventName::TimeWait => connection
            .lingers
            .map(|state| format!("lingers in {state}"))
            .unwrap_or_default(),
        EventName::Gone => {
            let by = connection.closed_by.map(|by| format!("closed by {by} "));
            by.unwrap_or_default() + &traffic(connection)
        }
        EventName::ConnectFailed => connection
            .connect_errno
            .or(connection.error)
            .map(|errno| Errno::from_raw(errno).desc().to_owned())
            .unwrap_or_default(),
    }
}

fn traffic(connection: &Connection) -> String {
    let age = connection
        .age_ms
        .map(|ms| format!("after {}, ", duration(ms)));
    let (tx, rx) = (bytes(connection.tx_bytes), bytes(connection.rx_bytes));
    format!("{}tx {tx} rx {rx}", age.unwrap_or_default())
}

struct LossLine {
    at: Timestamp,
    counts: [u64; LOSS_COLUMNS.len()],
}

impl Serialize for LossLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "loss")?;
        map.serialize_entry("at", &Value::Time(self.at))?;
        for (name, count) in LOSS_COLUMNS.iter().zip(self.counts) {
            map.serialize_entry(name, &count)?;
        }
        map.end()
    }
}

struct ShedLine {
    at: Timestamp,
    shed: Shed,
}

impl Serialize for ShedLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "shed")?;
        map.serialize_entry("at", &Value::Time(self.at))?;
        map.serialize_entry(SHED_COLUMN, self.shed.names())?;
        map.end()
    }
}
