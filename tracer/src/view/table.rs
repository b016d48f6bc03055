//! Tables of connections that fit the width they are given.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};

use super::{
    Style,
    text::{self, Page},
};
use crate::{
    model::{
        connection::Connection,
        fields::{Field, Unit, Value, field, holders_text},
        untrusted::spelled_out,
    },
    tcp::State,
};

/// Columns between two columns.
const GAP: u16 = 2;

/// A name of 15 bytes with some escapes in it; one with more is cut, so that a
/// process cannot push the other columns out of sight.
pub(super) const COMM_WIDTH: usize = 20;

/// An IPv4 address and port need 21; in this, any IPv6 one takes two lines.
const ENDPOINT_WIDTH: usize = 26;

/// What is shown for what is not known.
pub(super) const MISSING: &str = "-";

/// A column by its field's name, and its rank: where not all fit, those of the
/// highest rank go first. Rank 0 stays and folds.
pub(super) type Columns = &'static [(&'static str, u8)];

/// A value in the words of a table.
pub(super) fn shown(field: &Field, connection: &Connection) -> String {
    match ((field.get)(connection), field.unit) {
        (Value::Missing, _) => MISSING.to_owned(),
        (Value::Bool(truth), _) => truth.to_string(),
        (Value::Uint(ms), Some(Unit::Milliseconds)) => text::duration(ms),
        (Value::Uint(us), Some(Unit::Microseconds)) => text::microseconds(us),
        (Value::Uint(size), Some(Unit::Bytes)) => text::bytes(size),
        (Value::Uint(number), _) => number.to_string(),
        (Value::Int(number), _) => number.to_string(),
        (Value::Text(words), _) => spelled_out(words).into_owned(),
        (Value::Untrusted(words), _) => text::clip(&words.to_string(), COMM_WIDTH),
        (Value::Time(at), _) => clock(at),
        (Value::History(history), _) => {
            let states: Vec<_> = history.iter().map(|(state, _)| state.name()).collect();
            states.join(" ")
        }
        (Value::Holders(holders), _) => holders_text(holders),
    }
}

/// Time of day, in UTC.
pub(super) fn clock(at: jiff::Timestamp) -> String {
    at.strftime("%H:%M:%S%.3f").to_string()
}

/// Rows of connections. Where they are too wide, addresses fold first, then
/// columns go.
pub(super) fn connections(
    page: &mut Page<'_>,
    indent: usize,
    columns: Columns,
    rows: &[Connection],
) -> io::Result<()> {
    let style = Style {
        width: page.style.width - indent,
        ..page.style
    };
    let mut columns: Vec<_> = columns
        .iter()
        .filter_map(|&(name, rank)| field(name).map(|field| (field, rank)))
        .collect();
    let mut table = table_of(&columns, rows, style, usize::MAX);
    if needed(&table.column_max_content_widths()) > style.width {
        table = table_of(&columns, rows, style, ENDPOINT_WIDTH);
        let mut widths = table.column_max_content_widths();
        while needed(&widths) > style.width {
            let worst = columns.iter().map(|&(_, rank)| rank).max().unwrap_or(0);
            if worst == 0 {
                break;
            }
            let mut ranks = columns.iter();
            widths.retain(|_| ranks.next().is_some_and(|&(_, rank)| rank < worst));
            columns.retain(|&(_, rank)| rank < worst);
        }
        if columns.len() < table.column_count() {
            table = table_of(&columns, rows, style, ENDPOINT_WIDTH);
        }
    }
    lines(page.out, indent, &table)
}

fn table_of(
    columns: &[(&Field, u8)],
    rows: &[Connection],
    style: Style,
    endpoint_width: usize,
) -> Table {
    let mut table = empty(style, columns.iter().map(|(field, _)| field.title));
    for row in rows {
        table.add_row(columns.iter().map(|(field, _)| {
            let text = shown(field, row);
            match field.name {
                "state" => coloured(Cell::new(text), row.state),
                "local" | "remote" => Cell::new(fold(&text, endpoint_width)),
                _ => Cell::new(text),
            }
        }));
    }
    for (column, (field, _)) in table.column_iter_mut().zip(columns) {
        let is_number = |row| matches!((field.get)(row), Value::Int(_) | Value::Uint(_));
        if rows.iter().any(is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// An address in lines of at most `width`, each but the last ending in a colon.
fn fold(endpoint: &str, width: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for part in endpoint.split_inclusive(':') {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + part.len() <= width => {
                line.push_str(part)
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines.join("\n")
}

/// Waiting for a program or a peer, which may wait for ever.
fn coloured(cell: Cell, state: State) -> Cell {
    match state {
        State::CloseWait => cell.fg(Color::Red),
        State::FinWait1 | State::FinWait2 | State::LastAck | State::Closing | State::SynSent => {
            cell.fg(Color::Yellow)
        }
        _ => cell,
    }
}

/// A table without lines, in this width.
pub(super) fn empty<'a>(style: Style, titles: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(style.width).unwrap_or(u16::MAX))
        .set_header(titles)
        // Whether standard output is a terminal is not this module's to ask.
        .force_no_tty();
    if style.color {
        table.enforce_styling();
    }
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { GAP }));
    }
    table
}

/// The width of columns side by side.
fn needed(widths: &[u16]) -> usize {
    let gaps = widths.len().saturating_sub(1) * usize::from(GAP);
    widths.iter().copied().map(usize::from).sum::<usize>() + gaps
}

/// The table's lines, without the blanks that fill the last column.
pub(super) fn lines(out: &mut dyn Write, indent: usize, table: &Table) -> io::Result<()> {
    for line in table.lines() {
        writeln!(out, "{:indent$}{}", "", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{COMM_WIDTH, ENDPOINT_WIDTH, fold, shown};
    use crate::{
        model::{fields::FIELDS, untrusted::Untrusted},
        view::fixture::close_wait,
    };

    #[test]
    fn an_address_folds_at_a_colon_into_two_lines_at_most() {
        let longest = "[2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let folded = fold(longest, ENDPOINT_WIDTH);
        assert_eq!(folded, "[2001:0db8:ffff:ffff:ffff:\nffff:ffff:ffff]:65535");
        assert_eq!(
            fold("255.255.255.255:65535", ENDPOINT_WIDTH),
            "255.255.255.255:65535"
        );
    }

    #[test]
    fn no_value_is_blank_or_has_lines() {
        let mut connection = close_wait("\n", 7);
        connection.comm = Some(Untrusted::from("a\nb".repeat(30).as_str()));
        for field in FIELDS {
            let text = shown(field, &connection);
            assert!(
                !text.is_empty() && !text.contains('\n'),
                "{}: {text}",
                field.name
            );
        }
        assert!(shown(&FIELDS[3], &connection).chars().count() <= COMM_WIDTH);
    }
}
