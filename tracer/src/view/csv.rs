//! CSV that is safe to print to a terminal and to open in a spreadsheet.

use std::{
    fmt::Display,
    io::{self, Write},
};

use csv::WriterBuilder;

use crate::model::{
    connection::Connection,
    fields::{FIELDS, Value, holders_text},
    untrusted::spelled_out,
};

/// One record. Does not flush `out`, which streams would pay for.
pub(super) fn record<T: AsRef<[u8]>>(
    out: &mut dyn Write,
    cells: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    let mut line = WriterBuilder::new()
        .buffer_capacity(1024)
        .from_writer(Vec::new());
    line.write_record(cells)?;
    out.write_all(&line.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// The names of a connection's fields.
pub(super) fn header() -> impl Iterator<Item = String> {
    FIELDS.iter().map(|field| field.name.to_owned())
}

/// A connection's fields.
pub(super) fn row(connection: &Connection) -> impl Iterator<Item = String> {
    FIELDS.iter().map(|field| cell((field.get)(connection)))
}

/// One value.
pub(super) fn cell(value: Value<'_>) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Text(words) => text(words),
        Value::Untrusted(words) => text(words),
        Value::Time(at) => super::json::time(at),
        Value::Missing => String::new(),
        Value::History(history) => {
            let entries: Vec<_> = history
                .iter()
                .map(|(state, at)| format!("{state}@{at:.6}"))
                .collect();
            entries.join(" ")
        }
        Value::Holders(holders) => holders_text(holders),
    }
}

/// Text with control characters spelled out, that no spreadsheet takes for a formula.
pub(super) fn text(words: impl Display) -> String {
    let words = words.to_string();
    let words = spelled_out(&words);
    // The last four are the full-width forms, which some spreadsheets take too.
    let formula = words.starts_with([
        '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    if formula {
        format!("'{words}")
    } else {
        words.into_owned()
    }
}

/// As `text`; nothing where nothing is known.
pub(super) fn maybe(words: Option<impl Display>) -> String {
    words.map(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::model::untrusted::Untrusted;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(
            text(Untrusted::from("=cmd|' /C calc'!A0")),
            "'=cmd|' /C calc'!A0"
        );
        assert_eq!(text(Untrusted::from("@SUM(1)")), "'@SUM(1)");
        assert_eq!(text(Untrusted::from("\t=1")), "\\t=1");
        assert_eq!(text("nginx"), "nginx");
    }
}
