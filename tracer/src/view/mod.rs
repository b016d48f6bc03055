//! From `model` to text, JSON and CSV. Pure: each view writes to what it is
//! handed, in a width and with or without colour as it is told.
//!
//! Nothing that another process chose reaches a terminal as it is: tables and
//! CSV spell control characters out, JSON escapes them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod check;
mod csv;
mod doctor;
mod drawn;
mod json;
mod leaks;
mod lines;
mod page;
mod perfetto;
mod picture;
mod ps;
mod table;
mod tables;
mod text;
mod timeline;
mod trace;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

pub use self::{
    check::{CheckFormat, check},
    doctor::doctor,
    leaks::{LeaksOptions, leaks},
    page::{Leads, page},
    perfetto::perfetto,
    picture::picture,
    ps::ps,
    tables::{Rows, Table, TableFile, TableFormat, Tables, catalog, document},
    text::{bytes, duration},
    timeline::{TimelineFormat, timeline},
    trace::Trace,
};

#[cfg(feature = "query")]
pub use self::tables::answer;
#[cfg(feature = "tables")]
pub use self::tables::{Batches, schema};

/// How to write a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: tables and sentences.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

/// What the reader's terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Whether colour codes may be written.
    pub color: bool,
}
