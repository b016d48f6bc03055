//! `tcpleak ps`: connections open now.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Format, Style, csv, json,
    table::{self, Columns},
    text::{Page, count, loss_sentence},
};
use crate::{
    model::{connection::Connection, report::Loss},
    tcp::State,
};

const COLUMNS: Columns = &[
    ("pid", 0),
    ("comm", 0),
    ("fd", 0),
    ("role", 5),
    ("local", 1),
    ("remote", 0),
    ("state", 0),
    ("age_ms", 0),
    ("idle_ms", 2),
    ("recv_q", 3),
    ("send_q", 4),
    ("tx_bytes", 6),
    ("rx_bytes", 6),
    ("retransmits", 7),
    ("srtt_us", 8),
    ("known", 9),
];

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    loss: &'a Loss,
    connections: json::Rows<'a>,
}

/// Writes the connections in the order given.
///
/// # Errors
/// As `out` fails.
pub fn ps(
    out: &mut dyn Write,
    connections: &[Connection],
    loss: &Loss,
    format: Format,
    style: Style,
) -> io::Result<()> {
    match format {
        Format::Table => people(&mut Page::new(out, style), connections, loss),
        Format::Json => {
            let connections = json::Rows(connections);
            json::document(
                out,
                &Document {
                    schema: "tcpleak.ps/1",
                    loss,
                    connections,
                },
            )
        }
        Format::Jsonl => connections
            .iter()
            .try_for_each(|connection| json::line(out, &json::Row(connection))),
        Format::Csv => {
            csv::record(out, csv::header())?;
            connections
                .iter()
                .try_for_each(|connection| csv::record(out, csv::row(connection)))
        }
    }
}

fn people(page: &mut Page<'_>, connections: &[Connection], loss: &Loss) -> io::Result<()> {
    if connections.is_empty() {
        return page.text("No connection is open, as far as the filters and this user can see.");
    }
    table::connections(page, 0, COLUMNS, connections)?;
    page.blank()?;
    let mut states: BTreeMap<State, u64> = BTreeMap::new();
    for connection in connections {
        *states.entry(connection.state).or_default() += 1;
    }
    let states: Vec<_> = states
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    let total = u64::try_from(connections.len()).unwrap_or(u64::MAX);
    page.text(format_args!(
        "{}: {}.",
        count(total, "socket"),
        states.join(", ")
    ))?;
    let ownerless = connections
        .iter()
        .filter(|connection| hides_its_owner(connection))
        .count();
    if let Ok(n @ 1..) = u64::try_from(ownerless) {
        let verb = if n == 1 { "has" } else { "have" };
        page.text(format_args!(
            "{} {verb} no visible owner: `tcpleak doctor` says what is needed to see it.",
            count(n, "socket")
        ))?;
    }
    page.text(loss_sentence(loss))
}

/// Whether some process ought to hold it, and none was seen to.
fn hides_its_owner(connection: &Connection) -> bool {
    let ours = matches!(
        connection.state,
        State::Established | State::SynSent | State::CloseWait | State::Listen
    );
    ours && connection.pid.is_none() && connection.app_closed_at.is_none()
}
